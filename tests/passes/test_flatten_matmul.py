"""Products of matrices get a single batch axis where the profile prefers that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, rewrite

FLAT = NO_LIMITS.model_copy(update={"flat_matmul": True})


def test_equal_batch_axes_become_one() -> None:
    done = rewrite("flatten_matmul", Net(lambda net, x, y: x @ y), noise(2, 3, 4, 5), noise(2, 3, 5, 6), profile=FLAT)
    assert done.changed == 1
    assert done.calls == ["reshape", "reshape", "bmm", "reshape"]


def test_operands_of_any_memory_layout_are_taken() -> None:
    """As attention over several images makes them: heads moved in front of the tokens."""
    net = Net(lambda net, q, k: q.transpose(1, 2) @ k.transpose(1, 2).transpose(2, 3))
    assert rewrite("flatten_matmul", net, noise(2, 5, 3, 4), noise(2, 6, 3, 4), profile=FLAT).changed == 1


def test_operands_that_broadcast_are_refused() -> None:
    done = rewrite("flatten_matmul", Net(lambda net, x, y: x @ y), noise(2, 3, 4, 5), noise(1, 3, 5, 6), profile=FLAT)
    done.assert_refused("its operands differ in their batch axes")


def test_products_with_one_batch_axis_or_none_stay() -> None:
    for left, right in (((2, 4, 5), (2, 5, 6)), ((4, 5), (5, 6))):
        assert rewrite("flatten_matmul", Net(lambda net, x, y: x @ y), noise(*left), noise(*right), profile=FLAT).changed == 0


def test_other_runtimes_keep_theirs() -> None:
    assert rewrite("flatten_matmul", Net(lambda net, x, y: x @ y), noise(2, 3, 4, 5), noise(2, 3, 5, 6)).changed == 0


@given(st.data())
def test_random_products_keep_their_outputs_or_are_refused(data: st.DataObject) -> None:
    sizes = st.integers(1, 4)
    batch = data.draw(st.lists(sizes, max_size=3))
    kept = data.draw(st.integers(0, len(batch)))
    other = [data.draw(st.sampled_from([1, size])) for size in batch[len(batch) - kept :]]
    rows, inner, columns = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    turned = data.draw(st.booleans())
    net = Net(lambda net, x, y: x @ (y.transpose(-1, -2) if turned else y))
    right = (columns, inner) if turned else (inner, columns)
    done = rewrite("flatten_matmul", net, noise(*batch, rows, inner), noise(*other, *right, seed=2), profile=FLAT)
    if len(batch) < 2:
        assert (done.changed, done.reasons) == (0, [])
    elif batch == other:
        assert done.changed == 1
    else:
        done.assert_refused("its operands differ in their batch axes")

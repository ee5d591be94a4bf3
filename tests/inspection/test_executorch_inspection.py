"""ExecuTorch programs: delegates, what is outside them, and weights on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit.errors import ArtifactError
from edgekit.inspection import Weight
from edgekit.quiet import quiet
from edgekit.runtimes import TensorSpec

pytestmark = pytest.mark.slow


class Net(nn.Module):
    """A convolution that XNNPACK takes, an argmax that it does not, and rows of a table picked by it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.table = nn.Parameter(torch.randn(4, 8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x).relu().mean((2, 3), keepdim=True).flatten(1)
        return y, torch.index_select(self.table, 0, y.argmax(1))


def _lowered(path: Path, *, delegated: bool) -> Path:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet():
        exported = torch.export.export(Net().eval(), (torch.ones(1, 3, 8, 8),))
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()] if delegated else [])
        path.write_bytes(edge.to_executorch().buffer)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _lowered(tmp_path_factory.mktemp("pte") / "net.pte", delegated=True)


def test_delegates_and_what_is_outside_them(program: Path) -> None:
    report = edgekit.inspect(program)
    assert report.format == "executorch"
    assert report.delegation is not None
    assert dict(report.delegation.delegates) == {"XnnpackBackend": 1}
    assert dict(report.delegation.outside) == {"argmax": 1, "index_select": 1}
    assert report.operators["Conv2d"] == 1
    inside = sum(report.operators.values()) - 2
    assert report.delegation.inside == inside
    assert report.delegation.share == inside / (inside + 2)
    assert report.as_dict()["delegation"]["share"] == report.delegation.share
    assert set(report.unknown) == {"findings", "placement"}


def test_weights_of_both_sides_are_weighed(program: Path) -> None:
    report = edgekit.inspect(program)
    assert [(w.shape, w.dtype, w.size_bytes) for w in report.weights] == [
        ((4, 3, 3, 3), "float32", 4 * 27 * 4),
        ((4, 8), "float32", 4 * 8 * 4),
        ((4,), "float32", 4 * 4),
    ]
    assert report.weights[0].name.startswith("delegate 0: Conv2d ")
    assert report.weights[0].name.endswith(", filter")
    assert report.weights[2].name.endswith(", bias")
    assert report.activation_dtypes["int64"] == 1


def test_the_planned_arena_is_the_memory(program: Path) -> None:
    memory = edgekit.inspect(program).memory
    assert memory is not None
    assert memory.activations_bytes >= 4 * (3 * 8 * 8 + 4 + 8)  # input and outputs have their places in it
    assert memory.at is None
    assert "what a delegate holds while it runs is not in the file" in memory.method


def test_borders_are_numbered(program: Path) -> None:
    report = edgekit.inspect(program)
    assert report.inputs == (TensorSpec("input", (1, 3, 8, 8), "float32"),)
    assert [spec.name for spec in report.outputs] == ["output_0", "output_1"]
    assert report.largest_rank == 4


def test_without_delegates_everything_is_outside(tmp_path: Path) -> None:
    report = edgekit.inspect(_lowered(tmp_path / "plain.pte", delegated=False))
    assert report.delegation is not None
    assert report.delegation.share == 0
    assert report.operators == report.delegation.outside
    assert report.operators["convolution"] == 1
    assert Weight("constant", "float32", (4, 3, 3, 3), 432) in [
        Weight(weight.name.split()[0], weight.dtype, weight.shape, weight.size_bytes) for weight in report.weights
    ]


def test_another_backend_s_operators_are_not_known(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.inspection import executorch

    monkeypatch.setattr(executorch, "_XNNPACK", "OtherBackend")
    report = edgekit.inspect(program)
    assert report.delegation is not None
    assert report.delegation.inside is None
    assert report.delegation.share is None
    assert "not those of XnnpackBackend" in report.unknown["delegation.inside"]


def test_a_damaged_part_is_told(program: Path, tmp_path: Path) -> None:
    content = program.read_bytes()
    assert content.count(b"XH00") == 1  # how XNNPACK's part begins
    (tmp_path / "bad.pte").write_bytes(content.replace(b"XH00", b"XH99"))
    with pytest.raises(ArtifactError, match="not a sound ExecuTorch program") as caught:
        edgekit.inspect(tmp_path / "bad.pte")
    assert "XNNPACK's part 0 cannot be read: Invalid XNNHeader" in caught.value.cause


@pytest.mark.parametrize("keep", [0, 20, 1000])
def test_a_damaged_program_is_told(program: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.pte").write_bytes(program.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"cut\.pte is not a sound ExecuTorch program") as caught:
        edgekit.inspect(tmp_path / "cut.pte")
    assert caught.value.cause
    assert "export it again" in caught.value.next_step

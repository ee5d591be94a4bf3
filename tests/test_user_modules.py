"""A module of one's own: names at its borders, any batch where the target takes it, what is told of one that will not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit import borders, models, passes, profiles, sources
from edgekit.errors import EdgekitError, ModelError, UnknownName, Unsupported, UsageError
from edgekit.program import Program, capture
from edgekit.recipe import Recipe
from edgekit.runtimes import Session, TensorSpec

FILE = Path(__file__).parent / "user_module.py"
OUTPUTS = ["logits", "features_0", "features_1_0", "features_1_1", "label", "sure", "scale", "output_image"]


class Net(nn.Module):
    """A module whose forward is set."""

    def __init__(self, forward: Callable[..., Any], **buffers: Tensor) -> None:
        super().__init__()
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)
        self.forward = forward


@dataclass
class Record:
    logits: Tensor
    hidden: Tensor
    loss: Tensor | None = None


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


def _captured(forward: Callable[..., Any], inputs: dict[str, Tensor], max_batch: int | None = None) -> Program:
    return capture(Net(forward), inputs, max_batch=max_batch)


def _x(*shape: int) -> Tensor:
    return torch.randn(shape or (2, 3), generator=torch.Generator().manual_seed(0))


# --- names


@pytest.mark.parametrize(
    ("forward", "names"),
    [
        (lambda x: {"logits": x + 1}, ["logits"]),
        (lambda x: {"logits": x + 1, "loss": None}, ["logits"]),
        (lambda x: (x + 1, None, x + 2), ["output_0", "output_2"]),
        (lambda x: ({"a": x + 1}, x + 2), ["output_0_a", "output_1"]),
        (lambda x: {"x": x + 1}, ["output_x"]),
        (lambda x: {"cls/logits": x + 1, "2": x}, ["cls_logits", "output_2"]),
        (lambda x: {"a": [x + 1], "a_0": x + 2}, ["a_0", "output_a_0"]),
        (lambda x: Record(x + 1, x + 2), ["logits", "hidden"]),
        (lambda x: Pair(x + 1, x + 2), ["left", "right"]),
    ],
    ids=["key", "none", "tuple", "nested", "taken", "punctuation", "twice", "dataclass", "named tuple"],
)
def test_outputs_are_called_by_their_keys_and_fields(forward: Callable[..., Any], names: list[str]) -> None:
    function = _captured(forward, {"x": _x()}).functions["forward"]
    assert list(function.output_names) == names
    expected = borders.leaves(forward(_x()))
    for found, reference in zip(function.run({"x": _x()}).values(), expected, strict=True):
        assert torch.equal(found, reference)


def test_inputs_go_by_name_whatever_their_order() -> None:
    def forward(a: Tensor, b: Tensor, *, c: Tensor, scale: float = 2.0) -> Tensor:
        return a * scale - b + c

    inputs = {"c": _x() * 3, "b": _x() * 2, "a": _x()}
    function = _captured(forward, inputs).functions["forward"]
    assert list(function.example_inputs) == ["a", "b", "c"]
    assert torch.equal(function.run(function.example_inputs)["output"], forward(**inputs))


def test_an_argument_before_it_may_be_left_at_its_default() -> None:
    def forward(a: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        assert mask is None
        assert bias is not None
        return a + bias

    function = _captured(forward, {"bias": _x(), "a": _x()}).functions["forward"]
    assert list(function.example_inputs) == ["a", "bias"]


def test_names_that_are_none_of_forward_s_are_labels() -> None:
    function = _captured(lambda a, b: a - b, {"left": _x(), "right": _x() * 2}).functions["forward"]
    assert list(function.example_inputs) == ["left", "right"]
    assert torch.equal(function.run(function.example_inputs)["output"], -_x())


def _pair(image: Tensor, mask: Tensor) -> Tensor:
    return image * mask


def test_a_misspelt_input_is_offered_the_near_names() -> None:
    with pytest.raises(UnknownName, match=r"input of Net\.forward 'imgae'") as caught:
        _captured(_pair, {"imgae": _x(), "mask": _x()})
    assert caught.value.next_step == "did you mean image?"


def test_a_missing_input_is_named() -> None:
    with pytest.raises(ModelError, match="needs its argument 'mask' too") as caught:
        _captured(_pair, {"image": _x()})
    assert "example of every argument" in caught.value.next_step


def test_an_input_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match="input 'mask' is no tensor") as caught:
        _captured(_pair, {"image": _x(), "mask": 3})  # type: ignore[dict-item]  # the very thing that is refused
    assert caught.value.cause == "it is a int"


# --- factories


def _recipe(text: str, path: Path, **options: Any) -> Recipe:
    path.write_text("import torch\nfrom torch import nn\n" + text)
    return Recipe(model=f"{path}:build", target="onnx", **options)


def test_a_factory_may_give_its_inputs(tmp_path: Path) -> None:
    text = 'def build(): return nn.Embedding(9, 2), {"input": torch.tensor([[1, 8]])}\n'
    loaded = sources.load(_recipe(text, tmp_path / "net.py"))
    assert loaded.inputs["input"].tolist() == [[1, 8]]
    with pytest.raises(UsageError, match="gives its own example inputs") as caught:
        sources.load(_recipe(text, tmp_path / "net.py", input_shapes=((1, 2),)))
    assert caught.value.next_step == "leave --input-shape out"


@pytest.mark.parametrize("inputs", ["[torch.ones(1)]", "{}", "torch.ones(1)", "{0: torch.ones(1)}"])
def test_inputs_without_names_are_refused(inputs: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="returned no inputs beside its module") as caught:
        sources.load(_recipe(f"def build(): return nn.ReLU(), {inputs}\n", tmp_path / "net.py"))
    assert '{"image": ' in caught.value.next_step


def test_two_factories_of_one_file_make_two_artifacts() -> None:
    assert [sources.display_name(f"net.py:{name}") for name in ("small", "large")] == ["net_small", "net_large"]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: nn.Linear(2, 2).half(), ("Linear is in half precision", "weight is torch.float16", "module.float()")),
        (lambda: nn.Linear(2, 2, dtype=torch.bfloat16), ("Linear is in half precision", "torch.bfloat16", "--precision")),
        (lambda: nn.Linear(2, 2, device="meta"), ("Linear is not on the CPU", "weight is on meta", "has none")),
    ],
)
def test_a_module_in_half_precision_or_elsewhere_is_refused(module: Callable[[], nn.Module], words: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        sources.from_module(module(), {"x": _x(1, 2)}, name="linear")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_hash_of_a_module_takes_any_dtype() -> None:
    one, other = (Net(lambda x: x, table=torch.tensor([1.0, value]).to(torch.bfloat16)) for value in (2.0, 3.0))
    assert sources.state_hash(one) != sources.state_hash(other)


def test_a_module_keeps_its_mode_and_its_state(tmp_path: Path) -> None:
    def forward(x: Tensor) -> Tensor:
        module.seen += 1
        return x * 2

    module = Net(forward, seen=torch.zeros(()))
    module.part = nn.Dropout().eval()
    module.train()
    module.part.eval()
    edgekit.export(module, "onnx", inputs={"x": _x()}, name="counting", output=tmp_path)
    assert (module.training, module.part.training, module.seen.item()) == (True, False, 0)


# --- what cannot be captured


def _branches(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def _refused(forward: Callable[..., Any], inputs: dict[str, Tensor], *words: str, max_batch: int | None = None) -> None:
    with pytest.raises(EdgekitError) as caught:
        _captured(forward, inputs, max_batch)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert caught.value.next_step


def test_control_flow_by_data_is_told_with_its_line() -> None:
    _refused(_branches, {"x": _x()}, "cannot capture Net", "data-dependent", "aten.item", "if x.sum() > 0:", FILE.parent.name)


def test_shapes_that_the_module_refuses_are_told_with_its_line() -> None:
    _refused(lambda x: x @ x, {"x": _x()}, "does not run on inputs of x [2, 3]", "x @ x")


def test_outputs_that_are_no_tensors_are_named() -> None:
    _refused(lambda x: {"y": x, "n": 3}, {"x": _x()}, "not all tensors", "dict with int in it", "dataclass of tensors")


# --- dynamic batch


def test_a_batch_taken_for_a_number_is_told_with_its_line() -> None:
    _refused(lambda x: x.reshape(int(x.shape[0]), 3), {"x": _x()}, "takes one batch only", "int(x.shape[0])", max_batch=4)
    table = _x()
    _refused(lambda x: x + table, {"x": _x()}, "takes one batch only", "x + table", "--max-batch", max_batch=4)


def test_a_batch_that_cannot_be_told_is_refused() -> None:
    _refused(lambda t, x: t * x, {"t": torch.tensor(2.0), "x": _x()}, "the batch cannot be told", "first", max_batch=4)


def test_inputs_without_the_batch_stay_as_they_are() -> None:
    program = _captured(lambda x, table: x @ table, {"x": _x(), "table": _x(3, 5)}, max_batch=6)
    inputs, outputs = program.functions["forward"].border()
    assert [spec.max_shape for spec in (*inputs, *outputs)] == [(6, 3), None, (6, 5)]
    (axes, other) = (node.meta["val"].shape for node in program.export().graph.find_nodes(op="placeholder"))
    assert not isinstance(axes[0], int)
    assert tuple(other) == (3, 5)


def _profile(target: str) -> profiles.RuntimeProfile:
    return profiles.for_target(profiles.load("host"), target)


def _assert_same_in_every_batch(model: str, target: str) -> None:
    loaded = sources.load(Recipe(model=model, target=target))
    static, dynamic = (capture(loaded.module, loaded.inputs, loaded.output_names, most) for most in (None, 8))
    done, changes = passes.run(static, _profile(target)), passes.run(dynamic, _profile(target))
    assert [(c.name, c.changed) for c in changes] == [(c.name, c.changed) for c in done]
    nodes = [str(node.target) for graph_module in dynamic for node in graph_module.graph.nodes]
    assert not [target for target in nodes if "sym_size" in target], "a shape is read where it could be inferred"
    function = dynamic.functions["forward"]
    for size in (1, 2, 5, 8):
        inputs = {name: (t if len(t) == size else torch.cat([t] * size)) for name, t in loaded.inputs.items()}
        inputs = {name: t + 0.1 * torch.randn(t.shape) if t.is_floating_point() else t for name, t in inputs.items()}
        expected = borders.leaves(borders.call(loaded.module, inputs))
        for found, reference in zip(function.run(inputs).values(), expected, strict=True):
            torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-3)
    symbols = dynamic.export().range_constraints
    assert [(int(found.lower), int(found.upper)) for found in symbols.values()] == [(1, 8)]


@pytest.mark.parametrize("target", ["onnx", "executorch"])
def test_every_pass_keeps_the_batch_of_a_user_s_module(target: str) -> None:
    _assert_same_in_every_batch(f"{FILE}:build", target)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "executorch"])
@pytest.mark.parametrize("family", sorted(models.families()))
def test_every_pass_keeps_the_batch_of_our_models(family: str, target: str) -> None:
    _assert_same_in_every_batch(models.find(family).name, target)


def test_a_pass_that_needs_the_batch_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.passes import Changes, _graph, lower_softshrink

    def apply(program: Program, profile: profiles.RuntimeProfile) -> Changes:
        for graph_module in program:
            [node] = _graph.calls(graph_module, _graph.aten.relu.default)
            made = _graph.add_call(node, _graph.aten.neg.default, node.args[0])
            _graph.replace(node, made)
            list(range(_graph.shape(made)[0]))
        return Changes(1)

    monkeypatch.setattr(lower_softshrink, "apply", apply)
    program = _captured(lambda x: x.relu(), {"x": _x()}, max_batch=4)
    [changes] = passes.run(program, _profile("onnx"), ["lower_softshrink"])
    assert changes.changed == 0
    assert "depends on the batch, which is dynamic" in changes.refusals[0].reason
    assert torch.equal(program.functions["forward"].run({"x": _x()})["output"], _x().relu())


class _Echo(Session):
    runtime = "echo"
    outputs = (TensorSpec("y", (1, 3), "float32", (4, 3)),)
    inputs = (TensorSpec("x", (1, 3), "float32", (4, 3)), TensorSpec("z", (1, 3), "float32", (4, 3)))

    def execute(self, arrays: Any) -> list[Any]:
        return [arrays[0]]

    def set_threads(self, count: int) -> None: ...


def test_a_session_takes_the_batches_it_says() -> None:
    def batch(size: int) -> Any:
        return np.zeros((size, 3), np.float32)

    assert _Echo().run({"x": batch(3), "z": batch(3)})["y"].shape == (3, 3)
    with pytest.raises(UsageError, match="does not fit") as caught:
        _Echo().run({"x": batch(5), "z": batch(5)})
    assert "float32 [1 to 4, 3]" in caught.value.cause
    with pytest.raises(UsageError, match="differ in their batch"):
        _Echo().run({"x": batch(1), "z": batch(2)})


def test_a_runtime_that_wants_static_shapes_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="coreml on iphone takes no dynamic batch") as caught:
        edgekit.export(f"{FILE}:build", "coreml", max_batch=4, output=tmp_path)
    assert "--max-batch" in caught.value.next_step


# --- the whole way


@pytest.mark.slow
@pytest.mark.parametrize("max_batch", [None, 6])
@pytest.mark.parametrize("target", ["onnx", "executorch"])
def test_everything_goes_the_whole_way(target: str, max_batch: int | None, tmp_path: Path) -> None:
    made = edgekit.export(f"{FILE}:build", target, max_batch=max_batch, output=tmp_path)
    assert made.directory == tmp_path / f"user_module_build-{target}"
    assert [tensor.name for tensor in made.manifest.inputs] == ["image", "task", "mask"]
    assert [tensor.dtype for tensor in made.manifest.inputs] == ["float32", "int64", "bool"]
    assert [tensor.name for tensor in made.manifest.outputs] == OUTPUTS
    assert made.manifest.inputs[0].max_shape == (max_batch and (max_batch, 3, 32, 32))
    parity = edgekit.verify(made.directory).conversion
    assert parity.sqnr_db is not None
    assert parity.sqnr_db > 100
    module, inputs = sources.load(Recipe(model=f"{FILE}:build", target=target)), {}
    for size in (1, max_batch or 1):
        inputs = {name: torch.cat([t] * size) for name, t in module.inputs.items()}
        with edgekit.open(made.directory) as session:
            found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        assert list(found) == OUTPUTS
        for array, reference in zip(found.values(), borders.leaves(borders.call(module.module, inputs)), strict=True):
            assert array.shape == tuple(reference.shape)
            np.testing.assert_allclose(array, reference.numpy(force=True), rtol=1e-3, atol=1e-4)
    [measured] = edgekit.profile(made.directory, duration_s=0.1)
    assert measured.p50_s.value > 0


@pytest.mark.slow
def test_core_ml_has_numbers_at_its_borders(tmp_path: Path) -> None:
    import coremltools

    made = edgekit.export(f"{FILE}:build", "coreml", output=tmp_path)
    description = coremltools.models.MLModel(str(made.model_file), skip_model_load=True).get_spec().description
    assert [feature.name for feature in description.input] == ["image", "task", "mask"]
    assert [feature.name for feature in description.output] == OUTPUTS
    kinds = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType
    types = [feature.type.multiArrayType.dataType for feature in (*description.input, *description.output)]
    whole, real = kinds.INT32, kinds.FLOAT32
    assert types == [real, whole, whole, real, real, real, real, whole, whole, real, real]

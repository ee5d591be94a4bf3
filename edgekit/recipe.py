"""A recipe: everything that decides what an artifact is, in one frozen record.

The command line, the Python API and the YAML files in `recipes/` all become this record, and the manifest keeps it whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from edgekit import data_files, typed_yaml
from edgekit.errors import UsageError


def _static_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape or any(size < 1 for size in shape):
        raise ValueError("a shape is one or more positive sizes, such as 1,3,224,224")
    return shape


Shape = Annotated[tuple[int, ...], AfterValidator(_static_shape)]


class Quantize(typed_yaml.Frozen):
    """How to quantize. In a recipe, `quantize: int8` means a scheme with all else as usual."""

    scheme: str
    """The name of a file in `edgekit/quantize/schemes`, or a plan's YAML file."""
    calibration: Path | None = None
    """A folder of images or an .npz, of the kind the model will see."""
    samples: Annotated[int, Field(gt=0)] = 128
    """The most samples of it to look at, spread evenly."""
    ranges: Literal["min-max", "percentile", "mse"] = "percentile"
    """How the range of an activation is told from what it was in calibration."""
    equalize: Literal["none", "weights", "activations"] = "none"
    """By what channels are scaled beforehand, between the layers that make and read them, so that one scale fits them all."""
    correct_bias: bool = True
    """Whether biases make up for what quantizing a weight shifts the mean of its layer's result by, where there are samples."""
    least_sqnr_db: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Of the outputs, for the scheme `mixed`, which takes one of three bounds."""
    most_latency_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of all operators together, as they are measured one by one."""
    most_size_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of the weights, in millions of bytes."""

    @property
    def is_plan(self) -> bool:
        """Whether `scheme` is a plan's file."""
        return self.scheme.endswith((".yaml", ".yml"))


def _scheme_alone(given: Any) -> Any:
    return {"scheme": given} if isinstance(given, str) else given


class Recipe(typed_yaml.Frozen):
    """What to export, for what, and within which bounds."""

    model: str
    """A variant's name, or `file.py:factory`."""
    target: str
    """The name of a file in `edgekit/targets`."""
    device: str | None = None
    """The name of a device profile, or a profile file; None takes the target's usual one."""
    weights: Path | None = None
    """A `.pth` or `.safetensors` checkpoint; None initialises deterministically."""
    input_size: Annotated[int, Field(gt=0)] | None = None
    """Height and width of the input image in pixels; None takes what the checkpoint says it was trained on, or the variant's
    own."""
    input_shapes: tuple[Shape, ...] = ()
    """The input shapes of a `file.py:factory` module, in the order of its forward's arguments."""
    max_batch: Annotated[int, Field(gt=1)] | None = None
    """The artifact takes any batch from 1 to this one; None makes it take the example's alone."""
    precision: Literal["fp32", "fp16"] | None = None
    """What the artifact computes in; None takes the target's usual one."""
    passes: tuple[str, ...] | None = None
    """The exact passes to run, in this order; None runs the default list."""
    approximations: tuple[str, ...] = ()
    """What may be computed approximately to be faster, such as `gelu`; the precision bound judges what it costs."""
    quantize: Annotated[Quantize | None, BeforeValidator(_scheme_alone)] = None
    """How to quantize; None leaves floating point."""
    conversion_sqnr_db: float = 60.0
    """Least SQNR of the artifact's graph computed in fp32 against eager fp32 (is the conversion right?)."""
    precision_sqnr_db: float = 30.0
    """Least SQNR of the artifact computed as declared against eager fp32 (is the precision enough?)."""

    @property
    def precision_bound_db(self) -> float:
        """That which holds: what `mixed` is asked to keep, where that is an SQNR."""
        asked = None if self.quantize is None else self.quantize.least_sqnr_db
        return self.precision_sqnr_db if asked is None else asked


def load(path: Path) -> Recipe:
    """The recipe in a YAML file; relative paths (weights, factory, device profile, calibration, plan) are taken from the file's
    folder."""
    recipe = typed_yaml.read(path, Recipe)
    beside: dict[str, Any] = {}
    if recipe.weights is not None:
        beside["weights"] = path.parent / recipe.weights
    if ":" in recipe.model:
        beside["model"] = str(path.parent / recipe.model)
    if recipe.device is not None and recipe.device.endswith((".yaml", ".yml")):
        beside["device"] = str(path.parent / recipe.device)
    if recipe.quantize is not None:
        beside["quantize"] = _beside(recipe.quantize, path.parent)
    return recipe.model_copy(update=beside)


def _beside(quantize: Quantize, folder: Path) -> Quantize:
    """The same with its files taken from `folder`."""
    found: dict[str, Any] = {} if quantize.calibration is None else {"calibration": folder / quantize.calibration}
    if quantize.is_plan:
        found["scheme"] = str(folder / quantize.scheme)
    return quantize.model_copy(update=found)


def find(model: str) -> Recipe | None:
    """The recipe that `model` names: a YAML file's path or the name of a shipped recipe; None for anything else."""
    if model.endswith((".yaml", ".yml")):
        return load(Path(model))
    if model in data_files.names("recipes"):
        return load(data_files.folder("recipes") / f"{model}.yaml")
    return None


def from_request(**request: Any) -> Recipe:
    """The recipe for options as a user gave them; what is None is left to the recipe named by `model`, if it names one,
    and then to the defaults. Raises UsageError for a value that does not fit."""
    given = {key: value for key, value in request.items() if value is not None}
    named = find(str(given["model"]))
    if named is not None:
        given = {**named.model_dump(exclude_unset=True), **given, "model": named.model}
    if "target" not in given:
        raise UsageError("no target was given", next_step="add --target onnx, coreml or executorch")
    return typed_yaml.check(given, Recipe, where="the request")

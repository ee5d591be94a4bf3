"""Where a model comes from: one of edgekit's variants, a user's `file.py:factory`, or a module already built."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import cache, checkpoint, models, python_files
from edgekit.artifact import Preprocessing, sha256_of
from edgekit.errors import EdgekitError, ModelError, UsageError
from edgekit.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from edgekit.program import Program


@dataclass(frozen=True)
class LoadedModel:
    """A module with what is known of its borders."""

    name: str
    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    """Example inputs, by the names of forward's arguments."""
    output_names: tuple[str, ...]
    """Empty when only running it can tell."""
    weights: str
    weights_sha256: str
    preprocessing: Preprocessing | None = None
    labels: str | None = None
    source: str = ""

    def captured(self, recipe: Recipe) -> Program:
        """The model's graph, before any pass, in the recipe's precision. Raises ModelError when it cannot be captured."""
        from edgekit.program import capture

        program = capture(self.module, self.inputs, self.output_names, recipe.max_batch)
        program.precision = recipe.precision or "fp32"
        return program


def identity(recipe: Recipe) -> str | None:
    """What stands for the model's graph and weights when that can be told without building it; None otherwise.

    A variant's graph is edgekit's own code, and its weights are a file's content or follow from the code. Raises as
    loading would for an unknown name or a missing checkpoint.
    """
    if is_factory(recipe.model):
        return None
    if models.family_of(recipe.model) is None:
        _refuse_file(recipe.model)
        models.find(recipe.model)  # raises, with near names
    if recipe.weights is None:
        return "seeded"
    checkpoint.require_file(recipe.weights)
    return sha256_of(recipe.weights)


def _refuse_file(model: str) -> None:
    if Path(model).is_file():
        raise UsageError(
            f"{model} is a file, not a model's name",
            next_step="give a checkpoint to --weights beside a model's name, a recipe as FILE.yaml, a module as FILE.py:NAME",
        )


def is_factory(model: str) -> bool:
    """Whether `model` is written as `file.py:factory`."""
    return ".py:" in model or model.endswith(".py")


def canonical(model: str) -> str:
    """`model` with a family's name replaced by its smallest variant's.

    That is remembered from one run to the next: asking a family's file imports torch, and a cached export has no need to.
    """
    if model not in models.families():
        return model
    return cache.recall(f"smallest-{model}", lambda: models.find(model).name)


def display_name(model: str) -> str:
    """The name artifacts of `model` carry: the variant's, or the factory file's stem and the factory's own."""
    if not is_factory(model):
        return model
    file, _, factory = model.rpartition(":")
    return f"{Path(file).stem}_{factory}" if file else Path(model).stem


def load(recipe: Recipe) -> LoadedModel:
    """The model that `recipe` names, with its weights."""
    return _load_factory(recipe) if is_factory(recipe.model) else _load_variant(recipe)


def _load_variant(recipe: Recipe) -> LoadedModel:
    import torch

    from edgekit import weights

    if recipe.input_shapes:
        raise UsageError("--input-shape is for a file.py:factory", next_step=f"give {recipe.model} an --input-size instead")
    variant = models.find(recipe.model)
    if recipe.weights is None:
        variant = variant.at_size(recipe.input_size)
        module = models.build(variant)
        weights.initialise(module, variant.input_shape)
    else:
        loaded = checkpoint.read(recipe.weights)
        variant = weights.with_classes_of(loaded, variant.at_size(recipe.input_size or loaded.input_size))
        module = models.build(variant)
        weights.load_into(module, loaded, variant)
    return LoadedModel(
        name=variant.name,
        module=module,
        inputs={"image": torch.randn(variant.input_shape, generator=torch.Generator().manual_seed(0))},
        output_names=variant.output_names,
        weights=weights.SEEDED if recipe.weights is None else recipe.weights.name,
        weights_sha256=state_hash(module) if recipe.weights is None else sha256_of(recipe.weights),
        preprocessing=variant.preprocessing,
        labels=variant.labels,
        source=variant.source,
    )


def _load_factory(recipe: Recipe) -> LoadedModel:
    if recipe.weights is not None or recipe.input_size is not None:
        option, instead = (
            ("--weights", "load them in the factory") if recipe.weights is not None else ("--input-size", "give --input-shape")
        )
        raise UsageError(
            f"{option} is for edgekit's own models", cause=f"{recipe.model} builds its module itself", next_step=instead
        )
    module, inputs = _built(recipe.model)
    if inputs is not None and recipe.input_shapes:
        raise UsageError(
            f"{recipe.model} gives its own example inputs",
            cause=f"it returned {', '.join(inputs)} beside the module",
            next_step="leave --input-shape out",
        )
    if inputs is None:
        inputs = _noise(recipe, module)
    return from_module(module, inputs, name=display_name(recipe.model))


def _noise(recipe: Recipe, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Standard normal float32 inputs of the recipe's shapes."""
    import torch

    from edgekit import borders

    if not recipe.input_shapes:
        raise UsageError(
            f"{recipe.model} needs the shape of its inputs",
            next_step="add --input-shape 1,3,224,224, once for each argument of forward; or let it return (module, inputs), "
            'inputs such as {"image": torch.randn(1, 3, 224, 224)}',
        )
    names = borders.input_names(module, len(recipe.input_shapes))
    example = torch.Generator().manual_seed(0)
    return {n: torch.randn(s, generator=example) for n, s in zip(names, recipe.input_shapes, strict=True)}


def from_module(module: torch.nn.Module, inputs: dict[str, torch.Tensor], *, name: str) -> LoadedModel:
    """A module the user has built. Raises ModelError unless it computes in float32 or wider, on the CPU."""
    import torch

    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers()), **inputs}
    for path, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor) and tensor.device.type != "cpu":
            raise ModelError(
                f"{type(module).__name__} is not on the CPU",
                cause=f"{path} is on {tensor.device}",
                next_step="move the module and its inputs there first: module.cpu()"
                if tensor.device.type != "meta"
                else "give its weights values first: what is on meta has none",
            )
    for path, tensor in {**dict(module.named_parameters()), **inputs}.items():
        if isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.float16, torch.bfloat16):
            raise ModelError(
                f"{type(module).__name__} is in half precision",
                cause=f"{path} is {tensor.dtype}; parity is proved against float32",
                next_step="give it and its inputs as float32 (module.float()): --precision says what the artifact computes in",
            )
    return LoadedModel(
        name=name, module=module.eval(), inputs=inputs, output_names=(), weights="module", weights_sha256=state_hash(module)
    )  # fmt: skip


def state_hash(module: torch.nn.Module) -> str:
    """The hash of a module's parameters and buffers, with their names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            continue  # what a module keeps besides, by get_extra_state
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        # As bytes: numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _built(model: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor] | None]:
    """The module that `file.py:factory` returns, and the example inputs if it returns them too. Raises ModelError naming the
    file, the factory and the line."""
    import torch

    file, _, factory_name = model.rpartition(":")
    path = Path(file or model)
    if not file or not factory_name:
        raise UsageError(f"{model} names no factory", next_step=f"write {path}:NAME, NAME a function without arguments")
    if not path.is_file():
        raise ModelError(f"{path} does not exist", next_step="check the path before the colon")
    with _beside(path), _blamed_on(path, model):
        factory = _factory(path, factory_name)
        returned = factory()
    module, inputs = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{model} returned no module",
            cause=f"it returned {type(returned).__name__}",
            next_step="return an instance of torch.nn.Module, or (module, inputs)",
        )
    if inputs is not None and not (isinstance(inputs, dict) and inputs and all(isinstance(name, str) for name in inputs)):
        raise ModelError(
            f"{model} returned no inputs beside its module",
            cause=f"it returned {type(inputs).__name__}",
            next_step='return (module, inputs), inputs such as {"image": torch.randn(1, 3, 224, 224)}',
        )
    return module, inputs


def _factory(path: Path, name: str) -> Callable[[], object]:
    """The callable `name` that the file at `path` defines, the file executed."""
    source = python_files.load(path)
    factory: Callable[[], object] | None = getattr(source, name, None)
    if not callable(factory):
        defined = [n for n, v in vars(source).items() if callable(v) and getattr(v, "__module__", "") == source.__name__]
        near = difflib.get_close_matches(name, defined, n=3, cutoff=0.5)
        raise ModelError(
            f"{path} defines no factory {name!r}",
            cause=f"it defines {', '.join(defined) or 'no functions'}",
            next_step=f"did you mean {' or '.join(near)}?" if near else "give the name of a function that returns an nn.Module",
        )
    try:
        inspect.signature(factory).bind()
    except ValueError:
        pass  # a builtin without a signature: calling it tells
    except TypeError as error:
        raise ModelError(
            f"{path}:{name} needs arguments",
            cause=f"calling {name}() fails: {error}",
            next_step="give a function that takes none: wrap it in one that calls it with the arguments you want",
        ) from error
    return factory


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let the file import what lies beside it."""
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextlib.contextmanager
def _blamed_on(path: Path, model: str) -> Iterator[None]:
    """Turn whatever the user's code raises into a ModelError with the line of their file."""
    try:
        yield
    except EdgekitError:
        raise
    except SyntaxError as error:
        where = f"{error.filename or path}, line {error.lineno}" if error.lineno else str(path)
        raise ModelError(
            f"{where} is no Python",
            cause=": ".join(filter(None, (error.msg, (error.text or "").strip()))),
            next_step="correct it",
        ) from error
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == path.resolve()]
        line = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
        what = f"{model} ended the program" if isinstance(error, SystemExit) else f"{model} raised {type(error).__name__}"
        cause = f"sys.exit({error})" if isinstance(error, SystemExit) else str(error)
        if isinstance(error, ModuleNotFoundError):
            step = f"install {error.name}, or put it beside {path.name}"
        else:
            step = "make it return an nn.Module, or (module, inputs), when it is called without arguments"
        raise ModelError(what, cause=f"{cause}{line}", next_step=step) from error

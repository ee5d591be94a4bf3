"""Reads YAML into a typed, frozen model; an unknown key is refused with the near names."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.errors import UsageError

_SHOWN = 60
"""Characters of a refused value that an error repeats."""


class Frozen(BaseModel):
    """A typed record that refuses unknown keys and later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=Frozen)


class _Loader(yaml.SafeLoader):
    """The safe loader, which takes no key twice: YAML's own takes the last and drops the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.value != "<<"]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path, model: type[Model]) -> Model:
    """The file at `path` as a `model`. Raises UsageError naming the key, the line's problem and the near names."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", next_step="check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path} is not readable YAML", cause=" ".join(str(error).split()), next_step="correct it there"
        ) from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no mapping of keys to values", next_step="start it with `key: value` lines")
    return check(data, model, where=str(path))


def check(data: dict[str, Any], model: type[Model], *, where: str) -> Model:
    """`data` as a `model`. Raises UsageError for the first key that does not fit; `where` names their origin."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # An unknown key first: a misspelt one makes another missing as well.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        location = tuple(part for part in first["loc"] if part != "[key]")
        key = ".".join(str(part) for part in location)
        if first["type"] == "extra_forbidden":
            options = _keys_beside(model, location)
            near = difflib.get_close_matches(str(location[-1]), options, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(sorted(options))}"
            raise UsageError(f"{where}: unknown key {key!r}", cause="no such key exists", next_step=hint) from None
        if first["type"] == "missing":
            raise UsageError(f"{where}: {key!r} is missing", next_step=f"add a line `{location[-1]}: VALUE`") from None
        raise UsageError(
            f"{where}: {key!r} cannot be {_shown(first['input'])}",
            cause=first["msg"].removeprefix("Value error, "),
            next_step="correct the value, or leave it out where there is a default",
        ) from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys known where `location` ends, following nested models as far as they are typed as such."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # a key of a dictionary or an index of a list: the model inside is that of the field
        inner = [t for t in _arguments(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _arguments(annotation: Any) -> list[Any]:
    found = [annotation]
    for argument in getattr(annotation, "__args__", ()):
        found += _arguments(argument)
    return found

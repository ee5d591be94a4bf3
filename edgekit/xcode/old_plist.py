"""Old-style property lists, the text in which Xcode keeps its projects: `{ key = value; }`, `( a, b, )`, quoted strings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Value = str | Sequence["Value"] | Mapping[str, "Value"]

_PLAIN = re.compile(r"[A-Za-z0-9_./]+")
"""What may stand without quotes."""
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dumps(value: Mapping[str, Value]) -> str:
    """The text of a project file, in UTF-8 as its first line says."""
    return f"// !$*UTF8*$!\n{_text(value, '')}\n"


def _text(value: Value, indent: str) -> str:
    inner = f"{indent}\t"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        lines = [f"{inner}{_string(key)} = {_text(entry, inner)};\n" for key, entry in value.items()]
        return f"{{\n{''.join(lines)}{indent}}}"
    return f"(\n{''.join(f'{inner}{_text(entry, inner)},' + chr(10) for entry in value)}{indent})"


def _string(text: str) -> str:
    # "//" would begin a comment
    if _PLAIN.fullmatch(text) and "//" not in text:
        return text
    return '"' + "".join(_ESCAPED.get(character, character) for character in text) + '"'

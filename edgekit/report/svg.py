"""Figures as SVG that can stand in a page with others: no metadata, ids of their own, the reader's fonts."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from edgekit.report.content import Picture

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_FAMILY = re.compile(r"(font: [^;']*?[0-9.]+px )[^;]*")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def render(picture: Picture) -> str:
    """The figure as one `<svg>` element, described for whoever cannot see it."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag not in _KEPT:
                parent.remove(child)
    for element in root.iter():
        _own(element, picture.name)
    root.set("role", "img")
    root.set("aria-label", picture.description)
    for size in ("width", "height"):
        del root.attrib[size]  # the page sets it; the viewBox keeps the proportions
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


_KEPT = {f"{{{_SVG}}}{name}" for name in ("g", "defs", "clipPath", "path", "rect", "use", "text", "tspan", "circle", "line")}
"""Not style, which would be the whole page's, nor metadata."""


def _own(element: ElementTree.Element, name: str) -> None:
    """Prefix the element's ids and references with the figure's name."""
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.attrib['id']}")
    target = element.attrib.pop(f"{{{_XLINK}}}href", None)
    if target is not None:
        element.set("href", f"#{name}-{target[1:]}")
    for key, value in element.attrib.items():
        if "url(#" in value:
            element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
    if element.tag == f"{{{_SVG}}}text" and "style" in element.attrib:
        element.set("style", _FAMILY.sub(rf"\1{_FONTS}", element.attrib["style"]))

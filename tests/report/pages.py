"""A report's HTML as a reader's parser sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img"}


@dataclass
class Table:
    """A table's titles and its rows of (text, what it sorts by)."""

    label: str
    titles: list[str] = field(default_factory=list)
    rows: list[list[tuple[str, str | None]]] = field(default_factory=list)

    def column(self, title: str) -> list[tuple[str, str | None]]:
        """The cells below a title."""
        index = self.titles.index(title)
        return [row[index] for row in self.rows]


class Page(HTMLParser):
    """Collects tables by section, ids, links, text by section, and whatever reaches beyond the page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[Table]] = {}
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text: dict[str, str] = {}
        self._open: list[str] = []
        self._section = ""
        self._cell: list[str] | None = None
        self._value: str | None = None
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.references += [str(given[key]) for key in ("href", "src", "xlink:href", "action", "data") if given.get(key)]
        assert not [key for key in given if key.startswith("on")], given
        if tag == "section":
            self._section = str(given["id"])
        elif tag == "table":
            self.tables.setdefault(self._section, []).append(Table(str(given["aria-label"])))
        elif tag == "tr" and "tbody" in self._open:
            self.tables[self._section][-1].rows.append([])
        elif tag in ("td", "th"):
            self._cell, self._value = [], given.get("data-value")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open.pop() == tag
        if tag in ("td", "th") and self._cell is not None:
            text = " ".join("".join(self._cell).split())
            table = self.tables[self._section][-1]
            if tag == "th":
                table.titles.append(text)
            else:
                table.rows[-1].append((text, self._value))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)
        if not {"script", "style"} & set(self._open):
            self.text[self._section] = self.text.get(self._section, "") + data

"""What a run leaves behind when it is cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import InputError, OutputError
from edgekit.evaluation.journal import Journal, Row, beside
from edgekit.evaluation.scores import Score

_ABOUT = {"the data": "1", "net": "2"}
_ROWS = [Row(7, (Score(1, 0), Score(None))), Row(3, (Score(1, 0, 0.125, 2.5, 1e-9), Score(0)))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return beside(tmp_path / "results.json")


@pytest.fixture
def kept(path: Path) -> Path:
    """One of a run that was cut short after two images."""
    with Journal(path, _ABOUT, resume=False) as journal:
        journal.append(_ROWS)
    return path


def test_it_lies_beside_the_results() -> None:
    assert beside(Path("out/results.json")) == Path("out/results.images.jsonl")


def test_going_on_finds_what_was_kept_and_adds_to_it(kept: Path) -> None:
    with Journal(kept, _ABOUT, resume=True) as journal:
        assert journal.rows == _ROWS
        journal.append([Row(1, (Score(5), Score(5)))])
    with Journal(kept, _ABOUT, resume=True) as journal:
        assert [row.image for row in journal.rows] == [7, 3, 1]


def test_a_line_half_written_is_dropped(kept: Path) -> None:
    whole = kept.read_bytes()
    kept.write_bytes(whole + b'{"image": 1, "sco')
    with Journal(kept, _ABOUT, resume=True) as journal:
        assert journal.rows == _ROWS
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("left", [b"", b'{"the da'])
def test_with_not_even_a_first_line_it_begins_anew(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    with Journal(path, _ABOUT, resume=True) as journal:
        journal.append(_ROWS)
    with Journal(path, _ABOUT, resume=True) as journal:
        assert journal.rows == _ROWS


def test_a_finished_one_is_begun_anew_or_gone_on_with_for_more_images(kept: Path) -> None:
    with Journal(kept, _ABOUT, resume=True) as journal:
        journal.finish()
    with Journal(kept, _ABOUT, resume=True) as journal:
        assert journal.rows == _ROWS
        journal.finish()
    with Journal(kept, _ABOUT, resume=False) as journal:
        assert journal.rows == []


def test_what_was_cut_short_is_not_lost_by_forgetting_to_resume(kept: Path) -> None:
    before = kept.read_bytes()
    with pytest.raises(OutputError, match="2 images") as caught:
        Journal(kept, _ABOUT, resume=False)
    assert "--resume" in caught.value.next_step
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    ("about", "changed"),
    [({**_ABOUT, "net": "3"}, "net"), ({"the data": "9", "net": "2"}, "the data"), ({"the data": "1"}, "net")],
)
def test_that_of_another_run_is_refused(kept: Path, about: dict[str, str], changed: str) -> None:
    before = kept.read_bytes()
    with pytest.raises(InputError, match="another evaluation") as caught:
        Journal(kept, about, resume=True)
    assert caught.value.cause.endswith(f": {changed}")
    assert kept.read_bytes() == before


@pytest.mark.parametrize("content", [b"no JSON\n", b'{"the data": "1"}\n[]\n', b'{"the data": "1"}\n{"image": 1}\n'])
def test_what_is_no_journal_is_said_to_be_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="no journal"):
        Journal(path, _ABOUT, resume=True)


def test_where_it_cannot_be_written_that_is_said_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        Journal(tmp_path / "nowhere" / "a.jsonl", _ABOUT, resume=False)


def test_without_a_file_it_keeps_rows_all_the_same() -> None:
    with Journal(None, _ABOUT, resume=False) as journal:
        journal.append(_ROWS)
        journal.finish()
    assert journal.rows == _ROWS

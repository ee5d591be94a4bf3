"""Energy and conditions in a whole job: when they are taken, what a lost meter costs, and that a replay says the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from counters import Machine

from edgekit.devices import Block, Device, Facts, Opened, Trial
from edgekit.devices.link.tape import Live, Recording, Replay, Tape, TapedShell
from edgekit.errors import DeviceError, Interrupted
from edgekit.profiling import energy, job, plan, table
from edgekit.profiling.measurement import Energy, Measurement, Memory, Model
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject
from edgekit.profiling.timing import WarmUp


class _Board(Device):
    """A machine with counters; everything asked of it goes through its tape."""

    def __init__(self, machine: Machine | None, tape: Tape | None = None) -> None:
        self.name, self.tape, self.machine = "board", tape or Live(), machine
        self.shell = TapedShell(machine, self.tape) if machine else None
        self.asked: list[str] = []
        self.lost = False

    def facts(self) -> Facts:
        return Facts(os="Linux", hardware="a board")

    def plan(self, settings: Settings) -> plan.Plan:
        return plan.of(settings)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> Trial:
        return _Turn(self, subject.name)


@dataclass
class _Turn(Trial):
    board: _Board
    subject: str

    def __post_init__(self) -> None:
        self.opened = Opened(runtime="a runtime", inputs="none", io_bytes=1, input_shapes={}, threads=1)
        self.board.asked.append(f"start {self.subject}")

    def warm_up(self) -> WarmUp | None:
        return None

    def block(self, duration_s: float) -> Block:
        self.board.asked.append(f"block {self.subject}")
        return Block((0.02,) * 4)

    def run_for(self, duration_s: float) -> int:
        self.board.asked.append(f"energy {self.subject}")
        if self.board.lost:
            raise DeviceError("the board is gone", next_step="plug it in")
        assert self.board.machine is not None
        return int(self.board.tape.exchange({"run": self.subject}, lambda: self.board.machine.run_for(duration_s)))

    def finish(self) -> Memory:
        return Memory()


def _measure(board: _Board, *names: str, **settings: Any) -> list[Measurement]:
    subjects = [Subject(name, name, Model(name=name, target="eager")) for name in names]
    return job.measure(board, subjects, Settings(**settings), progress=lambda done, total: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "package-0", watts=10.0)
    return machine


def test_a_device_that_loads_anew_says_what_its_window_includes(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    [plain] = _measure(_Board(machine), "a", energy=True)
    monkeypatch.setattr(_Turn, "loads_anew", True)
    [made] = _measure(_Board(machine), "a", energy=True)
    assert plain.energy.reason is None
    assert made.energy.reason is not None
    assert made.energy.reason.startswith("the 5.0 s that were measured include a load, whose energy the runs share")
    said = energy.with_a_load(Energy("measured", reason="drift", gross_j=1.0, window_s=5.0), 0.21)
    assert said.reason is not None
    assert said.reason.startswith("drift; the 5.0 s that were measured include a load of 0.21 s, ")
    assert energy.with_a_load(Energy("no_counter", reason="none"), 0.21).reason == "none"


def test_each_subject_runs_its_window_alone_after_all_timed_blocks(machine: Machine) -> None:
    board = _Board(machine)
    steps: list[tuple[int, int]] = []
    subjects = [Subject(name, name, Model(name=name, target="eager")) for name in "ab"]
    made = job.measure(board, subjects, Settings(energy=True), progress=lambda *step: steps.append(step))
    assert board.asked[-2:] == ["energy a", "energy b"]
    assert board.asked.count("energy a") == 1
    assert [one.energy.gross_j for one in made] == pytest.approx([0.6, 0.6], rel=1e-3)
    assert [one.energy.net_j for one in made] == pytest.approx([0.4, 0.4], rel=1e-3)
    assert steps[-1] == (len(steps), len(steps))
    assert {one.runs for one in made} == {one.runs for one in _measure(_Board(machine), "a", "b")}


def test_nothing_is_read_that_was_not_asked_for(machine: Machine) -> None:
    board = _Board(machine)
    (made,) = _measure(board, "a")
    assert made.energy.status == "not_requested"
    assert not [asked for asked in board.asked if asked.startswith("energy")]
    assert "energy mJ" not in table.rows([made])[0]


def test_sustained_each_subject_has_its_window_before_the_next_starts(machine: Machine) -> None:
    board = _Board(machine)
    _measure(board, "a", "b", energy=True, mode="sustained", duration_s=5)
    assert board.asked.index("energy a") < board.asked.index("start b") < board.asked.index("energy b")


def test_the_table_has_energy_where_it_was_asked_for(machine: Machine) -> None:
    (made,) = _measure(_Board(machine), "a", energy=True)
    (row,) = table.rows([made])
    assert (row["energy mJ"], row["net"]) == ("600", "400")
    assert table.warnings(made) == []


def test_a_board_without_a_counter_is_measured_all_the_same_and_says_why(tmp_path: Path) -> None:
    (made,) = _measure(_Board(Machine(tmp_path)), "a", energy=True)
    assert (made.energy.status, made.energy.gross_j) == ("no_counter", None)
    assert made.runs
    assert table.rows([made])[0]["energy mJ"] == "-"
    assert table.warnings(made) == [f"no energy (no_counter): {made.energy.reason}"]


def test_a_device_without_a_shell_has_neither_energy_nor_conditions() -> None:
    (made,) = _measure(_Board(None), "a", energy=True)
    assert made.energy.status == "no_counter"
    assert (made.conditions.before, made.conditions.after, made.conditions.mean_clock_hz) == (None, None, None)


def test_the_condition_is_told_before_and_after(machine: Machine) -> None:
    (made,) = _measure(_Board(machine), "a")
    assert made.conditions.before is not None
    assert made.conditions.before.load_1min is not None
    assert made.conditions.after is not None
    assert Measurement.from_json(made.to_json()) == made


def test_a_device_lost_in_its_energy_window_keeps_every_sample(machine: Machine) -> None:
    board = _Board(machine)
    board.lost = True
    with pytest.raises(Interrupted) as ended:
        _measure(board, "a", "b", energy=True)
    whole = _measure(_Board(machine), "a", "b")
    assert [one.runs for one in ended.value.partial] == [one.runs for one in whole]
    assert {(one.energy.status, one.energy.gross_j) for one in ended.value.partial} == {("window_too_short", None)}
    assert {one.interrupted for one in ended.value.partial} == {"the board is gone"}


def test_a_replay_gives_the_same_energy_without_the_board(machine: Machine, tmp_path: Path) -> None:
    kept = tmp_path / "session.jsonl"
    tape = Recording(kept, {"device": "board"})
    (measured,) = _measure(_Board(machine, tape), "a", energy=True)
    tape.close()
    machine.watts.clear()
    (machine.folder / "intel-rapl:0/energy_uj").unlink()
    (replayed,) = _measure(_Board(machine, Replay(kept)), "a", energy=True)
    assert replayed.energy == measured.energy
    assert replayed.conditions == measured.conditions
    assert replayed.provenance == "replayed"

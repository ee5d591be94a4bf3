"""Seconds of `edgekit export`, nothing cached, beside a script that converts the same model by hand: each a fresh process,
taken in turns, the median of each."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgekit import artifact

REPORT = Path(__file__).parent.parent / "reports" / "overhead.md"
BY_HAND = {"onnx": ("onnxruntime_default", {"simplify": True}), "executorch": ("executorch_default", {})}
"""By target: the file in `rivals/` that converts as its documentation says, and the options closest to edgekit's target."""
ROUNDS = 3
CONVERT = "convert-by-hand"


def seconds(command: Sequence[str]) -> float:
    """What the command takes from start to end. Raises CalledProcessError, its words shown, when it fails."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - started


def convert_by_hand(model: str, target: str, folder: str) -> None:
    """Import PyTorch, build the module, `torch.export`, the converter, the file: in a process that does nothing else."""
    import rival

    from edgekit import recipe

    name, options = BY_HAND[target]
    rival.convert(recipe.from_request(model=model, target=target), rival.RIVALS / f"{name}.py", Path(folder), options)


def export_s(model: str, target: str, folder: Path) -> tuple[float, float]:
    """The whole command, and of it the parity runs."""
    command = ["edgekit", "export", model, "--target", target, "--output", str(folder), "--no-cache"]
    taken = seconds([str(Path(sys.executable).with_name(command[0])), *command[1:]])
    [made] = folder.iterdir()
    return taken, artifact.load(made).manifest.stages_s["verify"]


def line(target: str, by_hand: Sequence[float], whole: Sequence[float], parity: Sequence[float]) -> str:
    """A row of the table; the last figure is what is left of the export without parity and without the conversion."""
    hand_s, whole_s, parity_s = (statistics.median(taken) for taken in (by_hand, whole, parity))
    figures = (hand_s, whole_s, parity_s, whole_s - parity_s - hand_s)
    return f"| {target} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |"


def main(model: str = "lsnet_t") -> None:
    """Take turns, then print the table and keep it."""
    rows = []
    for target in BY_HAND:
        hand, whole, parity = [], [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                hand.append(seconds([sys.executable, __file__, CONVERT, model, target, folder]))
            with tempfile.TemporaryDirectory() as folder:
                taken_s, parity_s = export_s(model, target, Path(folder))
            whole.append(taken_s)
            parity.append(parity_s)
        rows.append(line(target, hand, whole, parity))
    text = [
        f"# What an export of {model} costs beside its conversion\n",
        f"Made by `scripts/overhead {model}`: seconds, the median of {ROUNDS} fresh processes each, taken in turns. *By hand*",
        "imports PyTorch, builds the module, exports it and runs the converter on it, as the converter's documentation says.",
        "*edgekit* is the whole command: the same and the passes, the proof, the manifest, the hashes and the copies.\n",
        "| target | by hand | edgekit | of it parity | beside conversion and parity |",
        "|---|---|---|---|---|",
        *rows,
    ]
    REPORT.write_text("\n".join(text) + "\n")
    print(REPORT.read_text())


if __name__ == "__main__":
    if sys.argv[1:2] == [CONVERT]:
        convert_by_hand(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

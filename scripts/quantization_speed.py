"""edgekit's int8 and mixed in ONNX Runtime beside its fp32, and beside ONNX Runtime's own static quantization of the plain
export."""

from __future__ import annotations

import argparse
import math
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rival
import torch

import edgekit
from edgekit import datasets, metrics, models, python_files, rebuild, runtimes
from edgekit.artifact import Artifact
from edgekit.checkpoint import read
from edgekit.errors import ConversionError
from edgekit.profiling import Measurement, ratio, table
from edgekit.profiling.measurement import Estimate, OperatorTime
from edgekit.quantize import sensitivity
from edgekit.quiet import quiet
from edgekit.runtimes import Array

REPORT = Path(__file__).parent.parent / "reports" / "quantization_speed.md"
MODELS = ("casvit_xs", "lsnet_t", "spartan_s", "affnet_et")
COLUMNS = ("model", "artifact", "size", "p50 ms [95 %]", "edgekit fp32 takes", "SQNR to it, dB")
DURATION_S = 3.0
LEAST_SQNR_DB = 25.0
NOISE_DB = 40.0
"""Of photographs, by what is disturbed: about what rounding a map to eight bits gives."""
NOISIEST = 3
"""Photographs, of which the report tells."""
SHOWN = 0.02
"""Of a run's time, or of the noise, by the operators of a kind that the report shows."""
INT8 = "edgekit int8"
MIXED = f"edgekit mixed, at least {LEAST_SQNR_DB:g} dB"


@dataclass(frozen=True)
class Subject:
    """A file that computes a model, and how near its outputs for the photographs are to the fp32 artifact's."""

    model: str
    title: str
    file: Path
    sqnr_db: float | None = None
    artifact: Artifact | None = None
    """Where edgekit quantized it."""
    disturbed_sqnr_db: float | None = None
    """Of the fp32 artifact: how near its outputs for photographs with noise are to those without."""
    photographs: str = ""
    """Which of them have how much of the noise."""

    @property
    def is_near(self) -> bool:
        """Whether nobody need ask where its noise comes from."""
        return self.sqnr_db is None or self.sqnr_db >= LEAST_SQNR_DB


@dataclass(frozen=True)
class Refusal:
    """Why a model has no such artifact."""

    model: str
    title: str
    why: str

    def __str__(self) -> str:
        return f"{self.model}, {self.title}: {self.why}"


def main() -> None:
    """Make the subjects of each model, measure them, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="a folder of photographs: all of them calibrate, and judge")
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--checkpoints", type=Path, help="a folder with MODEL/weights.pth, for models that are trained")
    asked = parser.parse_args()
    rows, refusals, told = [" | ".join(COLUMNS), " | ".join(["---"] * len(COLUMNS))], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for model in asked.models:
            made = list(subjects(model, checkpoint(asked.checkpoints, model), asked.images, Path(scratch)))
            found = [one for one in made if isinstance(one, Subject)]
            refusals += [f"- {one}" for one in made if isinstance(one, Refusal)]
            rows += measured(found)
            told += [f"## Where {found[0].model} spends its time\n", *(f"| {line} |" for line in by_operator(*found[:2])), ""]
            if not found[1].is_near:
                told += [f"## Where the noise of {found[0].model} comes from\n", *noise(*found[:2]), ""]
            text = report(rows, refusals, told, command(asked))
            REPORT.write_text(text)
    print(text)


def checkpoint(folder: Path | None, model: str) -> Path | None:
    """A model's trained weights, where the folder has some."""
    file = None if folder is None else folder / model / "weights.pth"
    return file if file is not None and file.exists() else None


def command(asked: argparse.Namespace) -> str:
    """What makes the report, without where the data lie."""
    models_asked = asked.models if tuple(asked.models) != MODELS else ()
    checkpoints = () if asked.checkpoints is None else ("--checkpoints", asked.checkpoints.name)
    return shlex.join(["scripts/quantization_speed", asked.images.name, *models_asked, *checkpoints])


def subjects(model: str, weights: Path | None, images: Path, folder: Path) -> Iterator[Subject | Refusal]:
    """edgekit's fp32 artifact, its quantized ones, mixed where int8 is not near enough, and what ONNX Runtime's quantizer makes
    of the plain export; all of the model's own input size, whatever the weights were trained on."""
    common: dict[str, Any] = {"weights": weights and at_own_size(weights, model, folder), "output": folder}
    common["input_size"] = models.find(model).input_shape[-1]
    original = edgekit.export(model, "onnx", **common)
    photographs = inputs_of(original, images)
    expected = outputs(original.model_file, photographs)
    named = model if weights else f"{model}, seeded"
    disturbed = metrics.sqnr_db(expected, outputs(original.model_file, list(with_noise(photographs))))
    yield Subject(named, "edgekit fp32", original.model_file, disturbed_sqnr_db=disturbed)

    def quantized(title: str, **scheme: Any) -> Subject:
        artifact = edgekit.export(model, "onnx", quantize={**scheme, "calibration": images}, **common)
        found = outputs(artifact.model_file, photographs)
        near, single = metrics.sqnr_db(expected, found), by_photograph(expected, found)
        return Subject(named, title, artifact.model_file, near, artifact, photographs=single)

    yield (integers := quantized(INT8, scheme="int8"))
    if not integers.is_near:
        try:
            yield quantized(MIXED, scheme="mixed", least_sqnr_db=LEAST_SQNR_DB)
        except ConversionError as error:
            yield Refusal(named, MIXED, f"{error.what}: {error.cause}")
    file = by_runtime(original, photographs, folder)
    yield Subject(named, "ONNX Runtime's quantize_static", file, metrics.sqnr_db(expected, outputs(file, photographs)))


def at_own_size(weights: Path, model: str, folder: Path) -> Path:
    """The weights for the model's own input size: LSNet's biases of attention by offset, [heads, rows x columns], are resized,
    which is how such models go from one size to another."""
    state = read(weights).state
    own = models.build(models.find(model)).state_dict()
    for name in own.keys() & state.keys():
        if name.endswith("attention_biases"):
            of, to = (math.isqrt(tensor.shape[1]) for tensor in (state[name], own[name]))
            grid = state[name].reshape(1, -1, of, of)
            state[name] = torch.nn.functional.interpolate(grid, (to, to), mode="bilinear", align_corners=True)[0].flatten(1)
        elif name.endswith("attention_bias_idxs"):
            state[name] = own[name]
    torch.save(state, resized := folder / f"{model}.pth")
    return resized


def inputs_of(artifact: Artifact, images: Path) -> list[dict[str, Array]]:
    """Every photograph as the artifact takes it."""
    data = datasets.open(images, "train")
    return [datasets.inputs_of(data[place], artifact.manifest.inputs) for place in range(len(data))]


def with_noise(photographs: Sequence[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    """The photographs with white noise, `NOISE_DB` below each."""
    generator = np.random.default_rng(0)
    for inputs in photographs:
        powers = {name: float(np.square(values).mean()) * 10 ** (-NOISE_DB / 10) for name, values in inputs.items()}
        yield {
            name: (values + generator.normal(0.0, powers[name] ** 0.5, values.shape)).astype(values.dtype)
            for name, values in inputs.items()
        }


def by_photograph(expected: Array, found: Array) -> str:
    """How the noise of outputs, [photographs, elements], is spread over them."""
    each = [metrics.sqnr_db(*pair) for pair in zip(expected, found, strict=True)]
    powers = np.square(found - expected).sum(1)
    noisiest = np.argsort(-powers)[:NOISIEST]
    shown, share = ", ".join(f"{each[place]:.1f}" for place in noisiest), powers[noisiest].sum() / powers.sum()
    beside = f"have {percent(share)} of the noise, the median has {np.median(each):.1f} dB"
    return f"{len(noisiest)} photographs ({shown} dB) {beside}"


def outputs(file: Path, inputs: Sequence[dict[str, Array]]) -> Array:
    """What a file gives for them: [inputs, elements]."""
    with runtimes.open(str(file)) as session:
        session.set_threads(1)
        return np.stack([session.execute(list(given.values()))[0].ravel() for given in inputs])


def by_runtime(artifact: Artifact, photographs: Sequence[dict[str, Array]], folder: Path) -> Path:
    """The plain export, quantized as ONNX Runtime's documents say it should be for such a processor: its pre-processing,
    activations uint8, weights int8 with a scale for each channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime states no types
        def __init__(self, names: Sequence[str]) -> None:
            self.given = (dict(zip(names, inputs.values(), strict=True)) for inputs in photographs)

        def get_next(self) -> dict[str, Array] | None:
            return next(self.given, None)

    plain = folder / f"{artifact.manifest.model.name}-plain"
    plain.mkdir()
    with quiet():
        python_files.load(rival.RIVALS / "onnxruntime_default.py").convert(
            rival.source(artifact.manifest.recipe), plain, simplify=False
        )
        quant_pre_process(str(plain / "model.onnx"), str(plain / "prepared.onnx"), skip_symbolic_shape=True)
        with runtimes.open(str(plain / "prepared.onnx")) as session:
            reader = Reader([spec.name for spec in session.inputs])
        quantization.quantize_static(
            str(plain / "prepared.onnx"),
            str(plain / "quantized.onnx"),
            reader,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    return plain / "quantized.onnx"


def measured(found: Sequence[Subject]) -> list[str]:
    """The rows of one model's subjects, the fp32 artifact first, measured interleaved on one core."""
    took = edgekit.profile([subject.file for subject in found], duration_s=DURATION_S)
    return [row(subject, measurement, took[0]) for subject, measurement in zip(found, took, strict=True)]


def row(subject: Subject, took: Measurement, original: Measurement) -> str:
    """One line of the table."""
    cells = [
        subject.model,
        subject.title,
        f"{subject.file.stat().st_size / 1e6:.1f} MB",
        table.milliseconds(took.p50_s),
        "-" if took is original else times(ratio(original, took)),
        "-" if subject.sqnr_db is None else f"{subject.sqnr_db:.1f}",
    ]
    return " | ".join(cells)


def by_operator(original: Subject, integers: Subject) -> Iterator[str]:
    """A line for each kind of operator, what takes the most time first: microseconds of a run in fp32, and with integers."""
    profiles = [one.operators for one in edgekit.profile([original.file, integers.file], operators=True, duration_s=DURATION_S)]
    taken = [time_by_kind(profile.operators if profile else ()) for profile in profiles]
    yield "operator | fp32, us | int8, us"
    yield "--- | ---: | ---:"
    wholes = [sum(kinds.values()) for kinds in taken]
    for kind in sorted(taken[0] | taken[1], key=lambda kind: -max(kinds.get(kind, 0.0) for kinds in taken)):
        if any(kinds.get(kind, 0.0) > SHOWN * whole for kinds, whole in zip(taken, wholes, strict=True)):
            yield " | ".join([kind, *(f"{kinds.get(kind, 0.0) * 1e6:.0f}" for kinds in taken)])
    yield " | ".join(["all, traced", *(f"{whole * 1e6:.0f}" for whole in wholes)])


def time_by_kind(operators: Sequence[OperatorTime]) -> dict[str, float]:
    """Seconds; an operator counts to the same kind with integers and without."""
    found: dict[str, float] = {}
    for one in operators:
        kind = one.operator.removeprefix("QLinear")
        kind = {"QGemm": "Gemm", "QuantizeLinear": "conversions", "DequantizeLinear": "conversions"}.get(kind, kind)
        found[kind] = found.get(kind, 0.0) + one.time_s
    return found


def noise(original: Subject, integers: Subject) -> Iterator[str]:
    """What the operators of a kind, one by one and all else in floating point, leave of the outputs; the noisiest first."""
    assert integers.artifact is not None
    found = sensitivity.measure(*rebuild.quantization_of(integers.artifact))
    yield (
        f"All together leave {found.sqnr_db:.1f} dB on the {found.samples} noisiest photographs, {integers.sqnr_db:.1f} on\n"
        f"all. Were noise to add up, those would have {found.sum_sqnr_db:.1f}. {integers.photographs}.\n"
        f"White noise {NOISE_DB:g} dB below the photographs leaves {original.disturbed_sqnr_db:.1f} dB of the outputs, all in\n"
        "floating point. A tensor counts to what makes it. Outliers: a tensor's largest magnitude over that within which all\n"
        "but one in ten thousand values lie, at most.\n"
    )
    yield "| operator | of them | alone, dB | share of the noise | outliers | the noisiest | its own share |"
    yield "| --- | ---: | ---: | ---: | ---: | --- | ---: |"
    kinds: dict[str, list[sensitivity.SiteSensitivity]] = {}
    for site in found.sites:
        kinds.setdefault(site.operator, []).append(site)
    shares = {kind: sum(site.noise_share for site in sites) for kind, sites in kinds.items()}
    for kind in sorted(shares, key=lambda kind: -shares[kind]):
        if shares[kind] > SHOWN:
            alone = found.sum_sqnr_db + metrics.decibels(1.0, shares[kind])
            worst = max(kinds[kind], key=lambda site: site.noise_share)
            outliers = max((one.outlier_ratio for site in kinds[kind] for one in site.ranges), default=1.0)
            cells = [kind, str(len(kinds[kind])), f"{alone:.1f}", percent(shares[kind]), f"{outliers:.1f}x"]
            yield f"| {' | '.join((*cells, worst.module, percent(worst.noise_share)))} |"


def percent(share: float) -> str:
    """Of one."""
    return f"{100 * share:.0f} %"


def times(estimate: Estimate) -> str:
    """A ratio with its interval."""
    interval = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}x{interval}"


def report(rows: Sequence[str], refusals: Sequence[str], told: Sequence[str], command: str) -> str:
    """The report in Markdown."""
    return "\n".join(
        [
            "# Integers in ONNX Runtime on one core\n",
            f"Made by `{command}`: one thread, the same module and weights (trained on small",
            "images by scripts/train_classifier, LSNet's biases by offset resized; or seeded), at the model's own size,",
            "its subjects interleaved in one run. All photographs calibrate, and judge: SQNR is over the outputs for all of",
            f"them, against edgekit's fp32 artifact; mixed is for what int8 leaves below {LEAST_SQNR_DB:g} dB.\n",
            *(f"| {line} |" for line in rows),
            "",
            *(["Refused, with nothing written:\n", *refusals, ""] if refusals else []),
            "Below, runs were traced, which adds to every operator: shares tell more than sums. Integers gain what their",
            "kernels save, less what conversions between them and floating point take. Where int8 is not near enough, each",
            "operator was also quantized alone.\n",
            *told,
        ]
    )


if __name__ == "__main__":
    main()

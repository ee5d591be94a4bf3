"""`edgekit evaluate`, from artifacts and data to results."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from commands import Command, assert_error
from evaluated_models import SAMPLES, samples
from PIL import Image

import edgekit as package
from edgekit import artifact
from edgekit.errors import Interrupted
from edgekit.evaluation import results, subjects
from edgekit.evaluation.accuracy import Accuracy
from edgekit.evaluation.journal import beside
from edgekit.evaluation.lineup import Lineup, line_up

_Labels = npt.NDArray[np.int64]


def _found(done: Any) -> list[Accuracy]:
    assert done.code == 0, done
    return [Accuracy.from_json(json.dumps(one)) for one in done.json]


def test_it_tells_accuracy_and_what_was_lost(edgekit: Command, models: Path, labelled: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    names = [models / name for name in ("exact.onnx", "close.onnx", "worse.onnx")]
    found = _found(edgekit("evaluate", *names, "--data", labelled, "--output", output, "--json"))
    exact, close, worse = found
    assert [one.subject for one in found] == list(map(str, names))
    assert exact.against is None
    assert exact.top1_percent is not None
    assert exact.top1_percent.value == pytest.approx(90)
    assert exact.top5_percent is not None
    assert close.against is not None
    assert worse.against is not None
    assert close.against.reference == worse.against.reference == str(names[0])
    drop = worse.against.accuracy_drop_points
    assert drop is not None
    assert worse.top1_percent is not None
    assert drop.value == pytest.approx(90 - worse.top1_percent.value)
    assert drop.low is not None
    assert drop.low > 0
    assert worse.against.mcnemar_p is not None
    assert worse.against.mcnemar_p < 1e-3
    assert worse.against.only_reference_right is not None
    assert worse.against.only_subject_right is not None
    lost = worse.against.only_reference_right - worse.against.only_subject_right
    assert drop.value == pytest.approx(100 * lost / SAMPLES)
    assert worse.against.shifts
    assert {one.data.images for one in found} == {SAMPLES}
    assert results.read(output) == found


def test_distances_are_those_of_the_outputs(edgekit: Command, models: Path, unlabelled: Path) -> None:
    names = [models / "exact.onnx", models / "worse.onnx"]
    _, worse = _found(edgekit("evaluate", *names, "--data", unlabelled, "--json"))
    outputs = []
    for name in names:
        with package.open(name) as session:
            outputs.append(np.concatenate([session.run({"x": one[None]})["logits"] for one in samples()]).astype(float))
    expected, other = outputs
    p, q = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) for logits in outputs)
    assert worse.against is not None
    assert worse.against.kl_nats is not None
    assert worse.against.sqnr_db is not None
    assert worse.against.kl_nats.value == pytest.approx((p * np.log(p / q)).sum(1).mean())
    noise = np.square(expected - other).sum()
    assert worse.against.sqnr_db.value == pytest.approx(10 * np.log10(np.square(expected).sum() / noise))
    assert worse.against.agreement_percent.value == pytest.approx(100 * (expected.argmax(1) == other.argmax(1)).mean())


def test_without_labels_there_is_no_accuracy(edgekit: Command, models: Path, unlabelled: Path) -> None:
    exact, close = _found(edgekit("evaluate", models / "exact.onnx", models / "close.onnx", "--data", unlabelled, "--json"))
    assert exact.top1_percent is exact.top5_percent is None
    assert close.against is not None
    assert close.against.accuracy_drop_points is close.against.mcnemar_p is close.against.shifts is None
    shown = edgekit("evaluate", models / "exact.onnx", models / "close.onnx", "--data", unlabelled).out
    assert "top-1" not in shown
    assert "SQNR dB" in shown


def test_it_says_plainly_what_was_lost(edgekit: Command, models: Path, labelled: Path) -> None:
    worse = edgekit("evaluate", models / "exact.onnx", models / "worse.onnx", "--data", labelled).out
    assert "worse.onnx against" in worse
    assert ": loses " in worse
    assert "confusions that changed most: " in worse
    close = edgekit("evaluate", models / "exact.onnx", models / "close.onnx", "--data", labelled).out
    assert "no loss shown: " in close
    gains = edgekit("evaluate", models / "exact.onnx", "--reference", models / "worse.onnx", "--data", labelled).out
    assert ": gains " in gains


def test_an_artifact_is_compared_with_the_model_it_was_made_from(
    edgekit: Command, tiny_artifact: Path, tiny_file: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).standard_normal((8, 3, 32, 32)), labels=np.arange(8))
    eager, artifact = _found(edgekit("evaluate", tiny_artifact, "--data", data, "--json"))
    assert eager.subject == f"{tiny_file}:build"
    assert eager.model.target == "eager"
    assert eager.runtime.startswith("torch ")
    assert artifact.against is not None
    assert artifact.against.reference == eager.subject
    assert artifact.against.sqnr_db is not None
    assert artifact.against.sqnr_db.value > 100
    assert artifact.model.sha256


def test_where_that_is_another_one_it_says_so(edgekit: Command, tiny_artifact: Path, tiny_file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((3, 3, 32, 32)))
    kept = tiny_file.read_text(encoding="utf-8")
    tiny_file.write_text(kept.replace("manual_seed(0)", "manual_seed(1)"), encoding="utf-8")
    try:
        done = edgekit("evaluate", tiny_artifact, tiny_artifact / "model.onnx", "--data", data)
    finally:
        tiny_file.write_text(kept, encoding="utf-8")
    assert done.code == 0, done
    assert f"{tiny_artifact} is not compared with the model it was made from: its weights are others" in done.out
    assert f"model.onnx computes the same as {tiny_artifact}" in done.out


def test_batches_change_nothing(edgekit: Command, models: Path, labelled: Path) -> None:
    _, one = _found(edgekit("evaluate", models / "exact.onnx", models / "worse.onnx", "--data", labelled, "--json"))
    _, seven = _found(edgekit("evaluate", models / "exact.onnx", models / "batched.onnx", "--data", labelled, "--json"))
    assert one.top1_percent == seven.top1_percent
    assert one.against is not None
    assert seven.against is not None
    assert one.against.shifts == seven.against.shifts
    assert one.against.sqnr_db is not None
    assert seven.against.sqnr_db is not None
    assert one.against.sqnr_db.value == pytest.approx(seven.against.sqnr_db.value, rel=1e-4)


def test_a_limit_draws_from_all_of_them(edgekit: Command, models: Path, labelled: Path) -> None:
    [some] = _found(edgekit("evaluate", models / "exact.onnx", "--data", labelled, "--limit", 30, "--json"))
    assert (some.data.images, some.data.of) == (30, SAMPLES)
    assert some.top1_percent is not None
    assert 70 < some.top1_percent.value < 100  # the first thirty alone hold no label of the last classes


@pytest.fixture
def cut_short(models: Path, labelled: Path, tmp_path: Path) -> Callable[..., Interrupted]:
    """Evaluates, and is interrupted at the 50th image."""

    def interrupt(done: int, total: int) -> None:
        if done == 50:
            raise KeyboardInterrupt

    def run(**options: Any) -> Interrupted:
        names = [models / "exact.onnx", models / "worse.onnx"]
        with pytest.raises(Interrupted) as caught:
            package.evaluate(names, labelled, progress=interrupt, **options)
        return caught.value

    return run


def test_what_was_cut_short_goes_on_to_the_same_result(
    edgekit: Command, models: Path, labelled: Path, tmp_path: Path, cut_short: Callable[..., Interrupted]
) -> None:
    whole, output = tmp_path / "whole.json", tmp_path / "again.json"
    command = ["evaluate", models / "exact.onnx", models / "worse.onnx", "--data", labelled, "--output"]
    assert edgekit(*command, whole).code == 0
    error = cut_short(output=output)
    assert [one.data.images for one in error.partial] == [50, 50]
    assert error.exit_code == 130
    assert "50 of 120 images were done" in error.next_step
    assert "--resume" in error.next_step
    assert not output.exists()
    assert_error(edgekit(*command, output), 2, "50 images of an evaluation that was cut short", "--resume")
    assert edgekit(*command, output, "--resume").code == 0
    [expected, found] = [
        [{**one.as_dict(), "job": "", "started_at": ""} for one in results.read(path) or ()] for path in (whole, output)
    ]
    assert found == expected
    assert beside(output).read_text() == beside(whole).read_text()


def test_it_refuses_to_go_on_with_other_models_or_data(
    edgekit: Command, models: Path, labelled: Path, unlabelled: Path, tmp_path: Path, cut_short: Callable[..., Interrupted]
) -> None:
    output = tmp_path / "results.json"
    cut_short(output=output)
    again = ["--output", output, "--resume"]
    other = edgekit("evaluate", models / "exact.onnx", models / "worse.onnx", "--data", unlabelled, *again)
    assert_error(other, 2, "another evaluation", "the data")
    copy = Path(shutil.copy(models / "close.onnx", tmp_path / "close.onnx"))
    assert_error(edgekit("evaluate", models / "exact.onnx", copy, "--data", labelled, *again), 2, str(copy))
    assert beside(output).exists()


def test_without_an_output_there_is_nothing_to_go_on_with(
    edgekit: Command, models: Path, labelled: Path, cut_short: Callable[..., Interrupted]
) -> None:
    assert "with --output, --resume could go on" in cut_short().next_step
    assert_error(edgekit("evaluate", models / "exact.onnx", "--data", labelled, "--resume"), 2, "--output")


def test_outputs_that_are_not_finite_count_as_wrong(edgekit: Command, models: Path, labelled: Path, labels: _Labels) -> None:
    bad = int((samples()[:, 0, 0, 0] > 1).sum())
    assert bad
    done = edgekit("evaluate", models / "exact.onnx", models / "broken.onnx", "--data", labelled)
    assert f"NaN or infinity for {bad} of {SAMPLES} samples" in done.out
    _, broken = _found(edgekit("evaluate", models / "exact.onnx", models / "broken.onnx", "--data", labelled, "--json"))
    assert broken.not_finite == bad
    assert broken.against is not None
    assert broken.against.agreement_percent.value == pytest.approx(100 * (1 - bad / SAMPLES))
    assert broken.against.sqnr_db is not None
    assert broken.against.sqnr_db.value > 100


def test_a_reference_that_is_not_finite_is_an_error(edgekit: Command, models: Path, labelled: Path) -> None:
    done = edgekit("evaluate", models / "exact.onnx", "--reference", models / "broken.onnx", "--data", labelled, "--json")
    assert done.code == 2
    assert "broken.onnx gives NaN or infinity for" in done.json["what"]
    assert "sample" in done.json["what"]


@pytest.mark.parametrize(
    ("subjects", "words"),
    [
        (["ten.onnx"], ("made for other classes", "it scores 10 classes; the data have 6")),
        (["exact.onnx", "ten.onnx"], ("cannot be compared", "one scores 10 classes, the other 6")),
        (["absent.onnx"], ("absent.onnx does not exist",)),
    ],
)
def test_models_that_do_not_fit_are_an_error(
    edgekit: Command, models: Path, labelled: Path, subjects: list[str], words: tuple[str, ...]
) -> None:
    assert_error(edgekit("evaluate", *(models / name for name in subjects), "--data", labelled), 2, *words)


def test_data_that_do_not_fit_are_an_error(edgekit: Command, models: Path, tmp_path: Path) -> None:
    def evaluated_on(**arrays: Any) -> Any:
        np.savez(tmp_path / "data.npz", **arrays)
        return edgekit("evaluate", models / "exact.onnx", models / "close.onnx", "--data", tmp_path / "data.npz", "--json")

    assert_error(edgekit("evaluate", models / "exact.onnx", "--data", tmp_path / "none"), 2, "does not exist")
    spoilt = samples()
    spoilt[17] = np.nan
    for arrays, words in (
        ({"x": np.zeros((2, 3, 5, 5), np.float32)}, "x is [3, 5, 5]"),
        ({"y": samples()}, "does not fit the model's inputs"),
        ({"x": samples()[:0]}, "it has no samples"),
        ({"x": spoilt}, "sample 17"),
    ):
        done = evaluated_on(**arrays)
        assert done.code == 2
        assert words in " ".join(map(str, done.json.values()))


def test_without_labels_and_reference_there_is_nothing_to_tell(edgekit: Command, models: Path, unlabelled: Path) -> None:
    done = edgekit("evaluate", models / "exact.onnx", "--data", unlabelled)
    assert_error(done, 2, "nothing to tell of", "no labels", "--reference")


def test_two_models_of_one_name_are_told_apart(tiny_artifact: Path, tiny_file: Path) -> None:
    with contextlib.ExitStack() as held:
        source = subjects.made_from(artifact.load(tiny_artifact))
        held.callback(source.session.close)
        other = dataclasses.replace(source, identity="trained longer")
        made = Lineup()
        names = [made.add(one, None).subject.name for one in (source, other)]
    assert names[0] == f"{tiny_file}:build"
    assert names[1].startswith(f"{names[0]} (")


def test_a_model_that_is_a_reference_too_runs_once(tiny_artifact: Path, tiny_file: Path) -> None:
    with contextlib.ExitStack() as held:
        made = line_up([str(tiny_artifact), str(tiny_artifact / "model.onnx"), str(tiny_artifact)], None, held)
    assert [lane.subject.name for lane in made.lanes] == [
        f"{tiny_file}:build",
        str(tiny_artifact),
        str(tiny_artifact / "model.onnx"),
    ]
    assert [lane.reference for lane in made.lanes] == [None, made.lanes[0], made.lanes[0]]


def test_what_does_not_classify_is_an_error(edgekit: Command, tmp_path: Path, labelled: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 3, 4, 4]
    names = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", names[:1], names[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "relu.onnx")
    done = edgekit("evaluate", tmp_path / "relu.onnx", "--data", labelled)
    assert_error(done, 2, "relu.onnx does not classify", "y [1, 3, 4, 4]")


@pytest.mark.slow
def test_photographs_in_folders_of_imagenet_s_classes(edgekit: Command, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("n01440764/a", "n01440764/b", "n02099712/a"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (80, 64, 3), np.uint8)).save(path)
    done = edgekit("evaluate", "lsnet_t", "--data", tmp_path)
    assert done.code == 0, done
    assert "3 of 3 samples" in done.out
    assert "weights were initialised deterministically (no --weights), not trained: lsnet_t" in done.out
    damaged = tmp_path / "n01440764" / "b.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    output = tmp_path / "results.json"
    done = edgekit("evaluate", "lsnet_t", "--data", tmp_path, "--output", output, "--json")
    assert done.code == 2
    assert str(damaged) in done.json["what"]
    assert not output.exists()

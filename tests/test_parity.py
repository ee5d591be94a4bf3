"""Parity metrics on arrays whose values are known, and the verdicts drawn from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit import metrics, parity
from edgekit.artifact import Parity, ParityRecord
from edgekit.errors import ParityError


def _row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


_NAN, _ZEROS = _row(math.nan, 1), _row(0, 0)


@pytest.mark.parametrize(
    ("reference", "other", "decibels"),
    [
        (_row(3, 4), _row(3, 4.5), 20.0),  # 25 of signal to 0.25 of noise
        (_row(1, 0), _row(0, 0), 0.0),
        (_row(1, 0), _row(11, 0), -20.0),
        (_row(3, 4), _row(3, 4), 200.0),
        (_ZEROS, _ZEROS, 200.0),
        (_ZEROS, _row(0, 1e-30), -200.0),
        (_row(3, 4), _NAN, -200.0),
        (_row(3, 4), _row(math.inf, 4), -200.0),
        (_NAN, _row(3, 4), -200.0),
        (_NAN, _NAN, -200.0),
    ],
)
def test_sqnr_is_the_ratio_of_signal_to_noise(reference: np.ndarray, other: np.ndarray, decibels: float) -> None:
    assert metrics.sqnr_db(reference, other) == pytest.approx(decibels, abs=1e-4)


def test_sqnr_of_whole_numbers_does_not_overflow() -> None:
    assert metrics.sqnr_db(np.array([200], np.uint8), np.array([202], np.uint8)) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("reference", "other", "error"),
    [(_row(1, 3), _row(1, 3.5), 0.5), (_row(0, 4), _row(1, 4), 0.5), (_row(2, 2), _row(2, 5), 3.0), (_ZEROS, _ZEROS, 0.0)],
    ids=["spread of one", "spread of two", "constant reference", "zeros"],
)
def test_the_largest_error_is_told_in_spreads_of_the_reference(reference: np.ndarray, other: np.ndarray, error: float) -> None:
    assert metrics.max_error_over_spread(reference, other) == pytest.approx(error)


@pytest.mark.parametrize(
    ("reference", "other", "value"),
    [
        (_row(1, 0), _row(5, 0), 1.0),
        (_row(1, 0), _row(0, 2), 0.0),
        (_row(1, 1), _row(1, 0), 0.5**0.5),
        (_row(1, 0), _row(-1, 0), -1.0),
    ],
)
def test_cosine_is_that_of_the_angle(reference: np.ndarray, other: np.ndarray, value: float) -> None:
    assert metrics.cosine(reference, other) == pytest.approx(value)


def test_cosine_of_zeros_is_one_only_with_zeros() -> None:
    assert metrics.cosine(_ZEROS, _ZEROS) == 1.0
    assert metrics.cosine(_ZEROS, _row(1, 0)) == 0.0


def test_top1_agreement_is_the_share_of_rows() -> None:
    reference = np.array([[1, 2], [2, 1], [0, 1]])
    assert metrics.top1_agreement(reference, np.array([[0, 9], [0, 9], [0, 9]])) == pytest.approx(2 / 3)
    assert metrics.top1_agreement(reference[0], reference[0]) is None
    assert metrics.top1_agreement(reference[:, :1], reference[:, :1]) is None


def test_compare_tells_the_worst_over_inputs_and_outputs() -> None:
    references = [{"a": _row(3, 4), "b": _row(1, 0)}, {"a": _row(3, 4), "b": _row(0, 1)}]
    others = [{"a": _row(3, 4.5), "b": _row(1, 0)}, {"a": _row(3, 4), "b": _row(1, 0)}]
    found = parity.compare(references, others, 10.0)
    assert found.sqnr_db == pytest.approx(-10 * math.log10(2))
    assert found.max_error_over_spread == pytest.approx(2.0)
    assert found.cosine == 0.0
    assert found.top1_agreement == 0.75
    assert found.passed is False
    assert found.reason is None


@pytest.mark.parametrize(("bound_db", "passed"), [(19.9, True), (20.1, False)])
def test_compare_judges_by_the_bound(bound_db: float, passed: bool) -> None:
    found = parity.compare([{"a": _row(3, 4)}], [{"a": _row(3, 4.5)}], bound_db)
    assert found.passed is passed
    assert found.bound_sqnr_db == bound_db


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (_row(math.nan, 4), "the artifact's outputs hold NaN or infinity"),
        (np.array([3, 4], np.float32), "the artifact's output has shape [2], not [1, 2]"),
        (np.array([[3, 4], [3, 4]], np.float32), "the artifact's output has shape [2, 2], not [1, 2]"),
    ],
    ids=["not finite", "without its rows", "of other rows"],
)
def test_outputs_that_cannot_be_compared_fail_with_the_reason(other: np.ndarray, reason: str) -> None:
    found = parity.compare([{"a": _row(3, 4)}], [{"a": other}], 10.0)
    assert (found.passed, found.reason) == (False, reason)
    assert (found.max_error_over_spread, found.cosine) == (None, None)


def test_an_output_that_is_missing_is_no_parity() -> None:
    with pytest.raises(KeyError):
        parity.compare([{"a": _row(1, 2), "b": _row(1, 2)}], [{"a": _row(1, 2)}], 10.0)


def _record(conversion: Parity, precision: Parity) -> ParityRecord:
    return ParityRecord(reference="tests", runtime="tests", conversion=conversion, precision=precision)


def _judged(decibels: float, bound_db: float) -> Parity:
    noise = math.sqrt(25 / 10 ** (decibels / 10))
    return parity.compare([{"a": _row(3, 4)}], [{"a": _row(3, 4 + noise)}], bound_db)


def _unasked() -> str:
    raise AssertionError("nothing to diagnose")


def test_require_accepts_what_passed_and_what_could_not_be_asked() -> None:
    parity.require(_record(_judged(70, 60), _judged(70, 30)), _unasked)
    parity.require(_record(parity.not_run(60, "no Mac"), parity.not_run(30, "no Mac")), _unasked)


def test_require_names_the_question_the_figure_and_the_cause() -> None:
    with pytest.raises(ParityError) as raised:
        parity.require(_record(parity.not_run(60, "fp16 only"), _judged(20, 30)), lambda: "the softmax lost it")
    assert raised.value.what == "the artifact misses the precision bound: SQNR 20.0 dB, 30 dB needed"
    assert raised.value.cause == "the softmax lost it"
    assert "precision_sqnr_db" in raised.value.next_step
    assert raised.value.exit_code == 1


def test_require_does_not_diagnose_what_is_known() -> None:
    broken = parity.compare([{"a": _row(3, 4)}], [{"a": _NAN}], 60)
    with pytest.raises(ParityError) as raised:
        parity.require(_record(broken, broken), _unasked)
    assert raised.value.cause == "the artifact's outputs hold NaN or infinity"


def test_require_names_the_operation_that_lost_what_a_right_conversion_had() -> None:
    with pytest.raises(ParityError) as raised:
        parity.require(_record(_judged(70, 60), _judged(20, 30)), _unasked, lambda: "mul at scores is 12 dB from fp32")
    assert raised.value.cause == "mul at scores is 12 dB from fp32"
    overflowed = parity.compare([{"a": _row(3, 4)}], [{"a": _NAN}], 30)
    with pytest.raises(ParityError) as raised:
        parity.require(_record(_judged(70, 60), overflowed), _unasked, lambda: "mul at scores overflows")
    assert raised.value.cause == "the artifact's outputs hold NaN or infinity; mul at scores overflows"
    with pytest.raises(ParityError) as raised:
        parity.require(_record(_judged(70, 60), _judged(20, 30)), _unasked)
    assert raised.value.cause.startswith("the conversion is right")


def test_a_tolerated_precision_is_recorded_with_the_operation_that_lost_it() -> None:
    record = _record(_judged(70, 60), _judged(20, 30))
    told = parity.require(record, _unasked, lambda: "mul at scores is 12 dB from fp32", tolerant=True)
    assert told.precision.passed is False
    assert told.precision.reason == "mul at scores is 12 dB from fp32"
    with pytest.raises(ParityError, match="conversion"):
        parity.require(_record(_judged(50, 60), _judged(20, 30)), lambda: "found", tolerant=True)

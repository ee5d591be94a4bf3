"""`quantize: fp16` is a precision, and no second way to ask for it."""

from __future__ import annotations

import pytest

from edgekit.errors import Unsupported, UsageError
from edgekit.quantize import admission
from edgekit.recipe import Quantize, Recipe

_FP16 = Quantize(scheme="fp16")


def test_fp16_is_what_the_target_computes_in() -> None:
    recipe = admission.half_precision(Recipe(model="lsnet_t", target="coreml", quantize=_FP16))
    assert recipe == Recipe(model="lsnet_t", target="coreml", precision="fp16")
    other = Recipe(model="lsnet_t", target="onnx", quantize=Quantize(scheme="int8"))
    assert admission.half_precision(other) is other


def test_a_target_without_it_and_another_precision_beside_it_are_refused() -> None:
    with pytest.raises(Unsupported, match="target onnx does not compute in fp16") as raised:
        admission.half_precision(Recipe(model="lsnet_t", target="onnx", quantize=_FP16))
    assert "--target coreml" in raised.value.next_step
    with pytest.raises(UsageError, match="exclude each other"):
        admission.half_precision(Recipe(model="lsnet_t", target="coreml", precision="fp32", quantize=_FP16))

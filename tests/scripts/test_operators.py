"""Where the time goes, as the report tells it."""

from __future__ import annotations

from operators import by_module, openvino_macs, section

from edgekit.profiling.measurement import OperatorProfile, OperatorTime

_CONV = "1x8x4x4, 16x8x3x3, 16 -> 1x16x4x4"
_PROFILE = OperatorProfile(
    (
        OperatorTime("relu", "Relu", 2e-6, module="stem.act", macs=0, shapes="1x16x4x4 -> 1x16x4x4"),
        *(OperatorTime(f"conv{i}", "Conv", (30 + i) * 1e-6, "stem.conv", macs=18432, shapes=_CONV) for i in range(2)),
    ),
    runs=3,
)


def test_nodes_of_equal_shapes_are_one_line_and_the_longest_comes_first() -> None:
    lines = section("tiny", _PROFILE)
    assert "0.06 ms in 3 nodes, 0.000 G multiply-adds: Conv 97%, Relu 3%.\n" in lines
    conv, relu = lines[4:6]
    assert conv == "| Conv | 2 | 1x8x4x4, 16x8x3x3, 16 -> 1x16x4x4 | 0.061 | 96.8% | 0.0 | 1 |"
    assert relu == "| Relu | 1 | 1x16x4x4 -> 1x16x4x4 | 0.002 | 3.2% |  |  |"


def test_modules_are_the_outermost() -> None:
    assert by_module(_PROFILE)[3:] == ["| stem | 3 | 0.063 | 100.0% | 0.0 | 1 |"]


def test_multiply_adds_of_openvino_s_nodes_are_those_of_the_products() -> None:
    assert openvino_macs("Convolution", ((1, 8, 4, 4), (16, 8, 3, 3)), (1, 16, 4, 4)) == 16 * 16 * 8 * 9
    assert openvino_macs("GroupConvolution", ((1, 8, 4, 4), (8, 1, 1, 3, 3)), (1, 8, 4, 4)) == 8 * 16 * 9
    assert openvino_macs("MatMul", ((49, 32, 9), (49, 9, 49)), (49, 32, 49)) == 49 * 32 * 9 * 49
    assert openvino_macs("FullyConnected", ((1, 384), (1000, 384), (1000,)), (1, 1000)) == 384_000
    assert openvino_macs("Add", ((1, 8), (1, 8)), (1, 8)) == 0

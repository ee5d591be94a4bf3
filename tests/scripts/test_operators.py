"""Nodes of one operator and shapes are one line, with their multiply-adds."""

from __future__ import annotations

from operators import Group, grouped, nodes_of, section


def _event(name: str, operator: str, micros: int, inputs: list[list[int]], output: list[int]) -> dict[str, object]:
    shapes = {"input_type_shape": [{"float": shape} for shape in inputs], "output_type_shape": [{"float": output}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": micros, "args": {"op_name": operator, **shapes}}


def test_nodes_of_equal_shapes_are_one_group_and_the_longest_comes_first() -> None:
    conv = [[1, 8, 4, 4], [16, 8, 3, 3], [16]]
    events = [
        _event("relu", "Relu", 2, [[1, 16, 4, 4]], [1, 16, 4, 4]),
        *(_event(f"conv{index}", "Conv", 30 + index, conv, [1, 16, 4, 4]) for index in range(2)),
        {"cat": "Session", "name": "model_run", "dur": 90},
    ]
    convs, relu = grouped(nodes_of(events))
    assert (convs.operator, convs.nodes, relu.operator) == ("Conv", 2, "Relu")
    assert abs(convs.time_s - 61e-6) < 1e-12
    assert "| Conv | 2 | 1x8x4x4, 16x8x3x3, 16 -> 1x16x4x4 | 0.061 | 96.8% | 0.0 | 1 |" in section("tiny", [convs, relu])


def test_multiply_adds_are_those_of_the_products() -> None:
    assert Group("Conv", ((1, 8, 4, 4), (16, 8, 3, 3)), (1, 16, 4, 4), 2).macs == 2 * 16 * 16 * 8 * 9
    assert Group("GroupConvolution", ((1, 8, 4, 4), (8, 1, 1, 3, 3)), (1, 8, 4, 4), 1).macs == 8 * 16 * 9
    assert Group("FusedMatMul", ((8, 32, 49), (20, 32, 49)), (32, 8, 20), 1).macs == 32 * 8 * 49 * 20
    assert Group("MatMul", ((49, 32, 9), (49, 9, 49)), (49, 32, 49), 2).macs == 2 * 49 * 32 * 9 * 49
    assert Group("Gemm", ((1, 384), (1000, 384), (1000,)), (1, 1000), 1).macs == 384_000
    assert Group("Add", ((1, 8), (1, 8)), (1, 8), 3).macs == 0
    assert Group("FusedMatMul", ((1, 64, 64, 17),), (1, 64, 17, 64), 4).macs == 0

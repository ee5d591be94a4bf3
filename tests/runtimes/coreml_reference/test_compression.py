"""Compressed weights: models made with coremltools.optimize against coremltools' own decompression, and the operators by
hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
import torch
from coremltools.optimize import coreml as optimize
from single import compute, noise
from torch import nn

from edgekit.quiet import quiet
from edgekit.runtimes import coreml_reference
from edgekit.runtimes.coreml_reference.ops import quantization

pytestmark = pytest.mark.slow

_CONFIG = {
    "int8 channels": lambda: optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0),
    "uint8 tensor": lambda: optimize.OpLinearQuantizerConfig(
        mode="linear", dtype="uint8", granularity="per_tensor", weight_threshold=0
    ),
    "int4 blocks": lambda: optimize.OpLinearQuantizerConfig(
        mode="linear", dtype="int4", granularity="per_block", block_size=8, weight_threshold=0
    ),
    "palette of 4 bits": lambda: optimize.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=0),
    "palette of 6 bits": lambda: optimize.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0),
    "palettes of groups": lambda: optimize.OpPalettizerConfig(
        mode="kmeans", nbits=2, granularity="per_grouped_channel", group_size=8, weight_threshold=0
    ),
    "palette of vectors": lambda: optimize.OpPalettizerConfig(mode="kmeans", nbits=4, cluster_dim=2, weight_threshold=0),
    "pruned": lambda: optimize.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0),
}


def _compress(model: Any, name: str) -> Any:
    config = optimize.OptimizationConfig(global_config=_CONFIG[name]())
    if "palette" in name:
        return optimize.palettize_weights(model, config)
    return optimize.prune_weights(model, config) if name == "pruned" else optimize.linear_quantize_weights(model, config)


@pytest.fixture(scope="module", params=[17, 18], ids=["iOS 17", "iOS 18"])
def convert(request: pytest.FixtureRequest) -> Callable[[], Any]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(16, 32, 3, bias=False), nn.ReLU(), nn.Flatten(1), nn.Linear(32 * 4, 24)).eval()
    traced = torch.jit.trace(module, torch.zeros(1, 16, 4, 4))

    def made() -> Any:
        return coremltools.convert(
            traced,
            inputs=[coremltools.TensorType(name="x", shape=(1, 16, 4, 4), dtype=np.float32)],
            outputs=[coremltools.TensorType(name="y", dtype=np.float32)],
            minimum_deployment_target=getattr(coremltools.target, f"iOS{request.param}"),
            compute_precision=coremltools.precision.FLOAT32,
            skip_model_load=True,
        )

    made.ios = request.param  # type: ignore[attr-defined]  # a function carries it beside what it makes
    return made


def _run(model: Any, path: Path) -> np.ndarray:
    model.save(str(path))
    return coreml_reference.open(path, mode="fp32").run({"x": noise(1, 16, 4, 4)})["y"]


@pytest.mark.parametrize("name", _CONFIG)
def test_a_compressed_model_computes_what_its_decompression_does(convert: Any, name: str, tmp_path: Path) -> None:
    if convert.ios == 17 and name in ("int4 blocks", "palettes of groups", "palette of vectors"):
        pytest.skip("needs iOS 18")
    with quiet():
        compressed = _compress(convert(), name)
        decompressed = optimize.decompress_weights(compressed)
    found = _run(compressed, tmp_path / "compressed.mlpackage")
    size = sum(file.stat().st_size for file in (tmp_path / "compressed.mlpackage").rglob("weight.bin"))
    np.testing.assert_allclose(found, _run(decompressed, tmp_path / "decompressed.mlpackage"), rtol=1e-5, atol=1e-6)
    whole = sum(file.stat().st_size for file in (tmp_path / "decompressed.mlpackage").rglob("weight.bin"))
    assert size < 0.6 * whole  # it was compressed indeed


@pytest.mark.parametrize("second", ["palette of 4 bits", "int8 channels"])
def test_a_pruned_model_can_be_compressed_again(convert: Any, second: str, tmp_path: Path) -> None:
    if convert.ios == 17:
        pytest.skip("needs iOS 18")
    with quiet():
        pruned = _compress(convert(), "pruned")
        config = optimize.OptimizationConfig(global_config=_CONFIG[second]())
        again = (optimize.palettize_weights if "palette" in second else optimize.linear_quantize_weights)(
            pruned, config, joint_compression=True
        )
        decompressed = optimize.decompress_weights(again)
    found, expected = (_run(model, tmp_path / f"{i}.mlpackage") for i, model in enumerate((again, decompressed)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --- by hand


def test_affine_dequantization_is_along_its_axis() -> None:
    data = np.int8([[1, 2], [3, 4]])
    found = compute(
        "constexpr_affine_dequantize", quantized_data=data, zero_point=np.int8([1, 2]), scale=np.float32([10, 100]), axis=1
    )
    np.testing.assert_array_equal(found, [[0, 0], [20, 200]])
    found = compute("constexpr_affine_dequantize", quantized_data=data, zero_point=np.int8(1), scale=np.float32(2), axis=0)
    np.testing.assert_array_equal(found, [[0, 2], [4, 6]])


def test_packed_indices_of_any_width() -> None:
    lut = np.float32([10, 20, 30, 40])
    packed = np.uint8([0b01101100, 0b11])  # from the documentation: 0, 3, 2, 1 and 3
    found = compute("constexpr_lut_to_dense", indices=packed, lut=lut, shape=[5], ios=16)
    np.testing.assert_array_equal(found, [10, 40, 30, 20, 40])
    wide = np.arange(64, dtype=np.float32)
    bits = "".join(f"{index:06b}"[::-1] for index in (63, 1, 32, 7))
    packed = np.uint8([int(bits[i : i + 8][::-1], 2) for i in range(0, 24, 8)])
    np.testing.assert_array_equal(
        compute("constexpr_lut_to_dense", indices=packed, lut=wide, shape=[2, 2], ios=16), [[63, 1], [32, 7]]
    )
    mask = np.uint8([0b00001100])
    found = compute("constexpr_sparse_to_dense", nonzero_data=np.float32([5, 6]), mask=mask, shape=[5], ios=16)
    np.testing.assert_array_equal(found, [0, 0, 5, 6, 0])


def test_the_documented_look_up_tables() -> None:
    indices = np.uint8([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3]).reshape(6, 2)
    lut = np.float16([1, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)
    found = compute("constexpr_lut_to_dense", indices=indices, lut=lut, ios=18)
    np.testing.assert_array_equal(found, [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]])
    vectors = np.float32([[1, 2, 3], [4, 5, 6]]).reshape(1, 1, 1, 2, 3)
    indices = np.uint8([0, 0, 1, 0, 1, 1, 0, 0]).reshape(2, 2, 2)
    found = compute("constexpr_lut_to_dense", indices=indices, lut=vectors, vector_axis=1, ios=18)
    np.testing.assert_array_equal(found[0], [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]])
    found = compute("constexpr_lut_to_dense", indices=indices, lut=vectors, vector_axis=2, ios=18)
    np.testing.assert_array_equal(found[1], [[4, 5, 6, 4, 5, 6], [1, 2, 3, 1, 2, 3]])


def test_the_documented_sparse_scales() -> None:
    mask = np.uint8([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    given: dict[str, Any] = {"scale": np.float32([[0.1, 0.2, 0.3, 0.4]]), "offset": np.int8([[1, 2, 3, 4]])}
    found_mask, values = compute(
        "constexpr_sparse_blockwise_shift_scale", data_mask=mask, nonzero_data=np.int8([10, 11, 3, 4, 5, 6, 7, 8, 9]), **given
    )
    np.testing.assert_array_equal(found_mask, mask)
    np.testing.assert_allclose(values, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-6)
    indices = np.uint8([0, 1, 1, 0, 1, 1, 0, 0, 1])
    found_mask, values = compute(
        "constexpr_lut_to_sparse", indices_mask=mask, indices_nonzero_data=indices, lut=np.float32([2, 3]).reshape(1, 1, 2, 1)
    )
    np.testing.assert_array_equal(values, [2, 3, 3, 2, 3, 3, 2, 2, 3])
    pairs = np.float32([[2, 20], [3, 30]]).reshape(1, 1, 2, 2)
    found_mask, values = compute(
        "constexpr_lut_to_sparse", indices_mask=mask[:1, :2], indices_nonzero_data=indices[:2], lut=pairs, vector_axis=0
    )
    np.testing.assert_array_equal(found_mask, [[1, 1], [1, 1]])
    np.testing.assert_array_equal(values, [2, 3, 20, 30])


def test_blocks_share_their_scale_and_offset() -> None:
    data = np.arange(8, dtype=np.int8).reshape(2, 4)
    found = compute("constexpr_blockwise_shift_scale", data=data, scale=np.float32([[1, 10]]), offset=np.int8([[0, 2]]))
    np.testing.assert_array_equal(found, [[0, 1, 0, 10], [4, 5, 40, 50]])


def test_activations_are_quantized_and_back() -> None:
    x = np.float32([[0.1, -0.26], [300, 0.05]])
    given: dict[str, Any] = {"scale": np.float32([0.1, 0.2]), "zero_point": np.uint8([10, 20]), "axis": 1}
    levels = compute("quantize", input=x, output_dtype="uint8", **given)
    np.testing.assert_array_equal(levels, [[11, 19], [255, 20]])
    back = compute("dequantize", input=levels.astype(np.uint8), **given)
    np.testing.assert_allclose(back, [[0.1, -0.2], [24.5, 0]], atol=1e-6)
    np.testing.assert_allclose(compute("dequantize", input=np.int8([-3]), scale=np.float32(0.5)), [-1.5])


def test_what_is_quantized_is_kept_within_its_range_where_rounding_is_left_out() -> None:
    x = torch.tensor([-400.0, -1.3, 0.26, 2.5, 400.0])
    grid = {"scale": torch.tensor(0.5), "zero_point": torch.tensor(3)}
    kept = quantization.quantize(x, output_dtype="int8", rounded=False, **grid)
    torch.testing.assert_close(kept, torch.tensor([-128.0, 0.4, 3.52, 8.0, 127.0]))
    back = quantization.dequantize(kept, **grid)
    torch.testing.assert_close(back, torch.tensor([-65.5, -1.3, 0.26, 2.5, 62.0]))

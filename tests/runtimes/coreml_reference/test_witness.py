"""Operators against coremltools' own evaluation of the same operation on constants."""

from __future__ import annotations

import copy
from typing import Any

import coremltools
import numpy as np
import pytest
from coremltools.converters import mil
from coremltools.converters.mil.mil import Function
from single import compute, noise

from edgekit.runtimes.coreml_reference import ops

_X = noise(2, 3, 4)
_Y = noise(2, 3, 4, seed=1)
_POSITIVE = np.abs(_X) + 0.1
_UNIT = np.tanh(_X)
_WHOLE = np.array([[7, -7, 0, 3], [-3, 2, 5, -1]], np.int32)
_OTHER = np.array([[2, 3, -4, 5], [-2, 1, 2, 3]], np.int32)
_TRUE = _WHOLE > 0
_TIES = np.array([[3.0, 1, 3, 2], [2, 2, 2, 2]], np.float32)
_ROW = noise(4, seed=2)

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"x": _X}) for name in ("abs", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "round", "sign", "sin")),
    *((name, {"x": _X}) for name in ("sinh", "square", "tan", "tanh", "atan", "identity", "relu", "relu6", "sigmoid")),
    *((name, {"x": _X}) for name in ("softplus", "softsign", "shape", "gelu")),
    *((name, {"x": _UNIT}) for name in ("acos", "asin", "atanh")),
    *((name, {"x": _POSITIVE}) for name in ("sqrt", "log", "rsqrt", "inverse")),
    ("log", {"x": _POSITIVE, "epsilon": 0.5}),
    ("rsqrt", {"x": _POSITIVE, "epsilon": 0.5}),
    ("inverse", {"x": _X, "epsilon": 0.25}),
    ("round", {"x": np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)}),
    ("clip", {"x": _X, "alpha": -0.5, "beta": 0.75}),
    ("threshold", {"x": _X, "alpha": 0.25}),
    *((name, {"x": _X, "y": _Y}) for name in ("add", "sub", "mul", "real_div", "maximum", "minimum", "floor_div", "mod")),
    *(
        (name, {"x": _X, "y": _ROW})
        for name in ("add", "sub", "mul", "real_div", "maximum", "minimum", "greater", "less_equal")
    ),
    *((name, {"x": _WHOLE, "y": _OTHER}) for name in ("add", "sub", "mul", "floor_div", "mod", "maximum", "minimum", "equal")),
    *((name, {"x": _WHOLE, "y": np.int32(2)}) for name in ("not_equal", "greater", "greater_equal", "less", "less_equal")),
    ("pow", {"x": _POSITIVE, "y": _Y}),
    ("pow", {"x": _WHOLE, "y": np.int32(3)}),
    *((name, {"x": _TRUE, "y": ~_TRUE}) for name in ("logical_and", "logical_or", "logical_xor")),
    ("logical_not", {"x": _TRUE}),
    ("select", {"cond": _TRUE, "a": _WHOLE.astype(np.float32), "b": _ROW}),
    *(("cast", {"x": _X * 3, "dtype": dtype}) for dtype in ("int32", "bool", "fp32", "int8", "int16")),
    ("cast", {"x": np.abs(_X) * 3, "dtype": "uint8"}),
    ("cast", {"x": _WHOLE, "dtype": "fp32"}),
    ("clamped_relu", {"x": _X, "alpha": -0.3, "beta": 0.8}),
    ("elu", {"x": _X, "alpha": 0.7}),
    ("leaky_relu", {"x": _X, "alpha": 0.1}),
    ("linear_activation", {"x": _X, "alpha": 2.0, "beta": -0.5}),
    ("prelu", {"x": _X[..., None], "alpha": np.array([0.1, 0.2, 0.3], np.float32)}),
    ("scaled_tanh", {"x": _X, "alpha": 1.5, "beta": 0.4}),
    ("sigmoid_hard", {"x": _X, "alpha": 0.4, "beta": 0.5}),
    ("thresholded_relu", {"x": _X, "alpha": 0.5}),
    ("softplus_parametric", {"x": _X[..., None], "alpha": _ROW[:3], "beta": _ROW[1:]}),
    *(("gelu", {"x": _X, "mode": mode}) for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")),
    *(("softmax", {"x": _X, "axis": axis}) for axis in (0, -1, 1)),
    *((f"reduce_{kind}", {"x": _X, "axes": [0, -1], "keep_dims": True}) for kind in ("sum", "mean", "max", "min", "prod")),
    *((f"reduce_{kind}", {"x": _X}) for kind in ("sum", "mean", "max", "min", "prod", "l1_norm", "l2_norm", "sum_square")),
    *((f"reduce_{kind}", {"x": _WHOLE, "axes": [1]}) for kind in ("sum", "max", "min", "prod")),
    ("reduce_log_sum", {"x": _POSITIVE, "axes": [1]}),
    ("reduce_log_sum_exp", {"x": _X, "axes": [1, 2]}),
    *((f"reduce_{kind}", {"x": _X, "axis": 1, "keep_dims": keep}) for kind in ("argmax", "argmin") for keep in (True, False)),
    *((f"reduce_{kind}", {"x": _TIES, "axis": -1}) for kind in ("argmax", "argmin")),
    ("linear", {"x": _X, "weight": noise(5, 4), "bias": noise(5)}),
    ("matmul", {"x": _X, "y": noise(2, 4, 5)}),
    ("matmul", {"x": _X, "y": noise(5, 4), "transpose_y": True}),
    ("matmul", {"x": _X, "y": _Y, "transpose_x": True}),
    ("einsum", {"values": (noise(2, 3, 4, 5), noise(2, 5, 4, 6)), "equation": "nchw,nwhu->nchu"}),
    ("einsum", {"values": (noise(3, 4, 5), noise(5, 4, 6)), "equation": "chw,whr->chr"}),
    ("layer_norm", {"x": _X, "axes": [-1], "gamma": _ROW, "beta": _ROW, "epsilon": 1e-3}),
    ("layer_norm", {"x": _X, "axes": [1, 2]}),
    ("argsort", {"x": _X, "axis": 1}),
    ("argsort", {"x": _X, "axis": -1, "ascending": True}),
    *(("cumsum", {"x": _X, "axis": 1, "reverse": reverse}) for reverse in (False, True)),
    *(("cumsum", {"x": _WHOLE, "axis": 1, "reverse": reverse}) for reverse in (False, True)),
    ("topk", {"x": _X, "k": 2, "axis": 1}),
    ("topk", {"x": _X, "k": 3, "axis": -1, "ascending": True}),
    ("topk", {"x": _X, "k": 2, "axis": 0, "return_indices": False}),
    ("non_zero", {"x": _WHOLE}),
    *(("band_part", {"x": noise(4, 5), "lower": low, "upper": up}) for low, up in ((-1, 0), (0, -1), (0, 0), (1, 2), (-1, -1))),
    ("fill", {"shape": [2, 3], "value": np.float32(1.5)}),
    ("fill", {"shape": [2, 3], "value": np.int32(-2)}),
    ("range_1d", {"start": np.int32(1), "end": np.int32(10), "step": np.int32(3)}),
    ("range_1d", {"start": np.float32(1), "end": np.float32(-1), "step": np.float32(-0.5)}),
    ("tile", {"x": _X, "reps": [1, 2, 3]}),
    ("flatten2d", {"x": _X, "axis": 2}),
    ("flatten2d", {"x": _X, "axis": -1}),
    ("expand_dims", {"x": _X, "axes": [0, -1, 2]}),
    ("squeeze", {"x": _X[:1, :, :1], "axes": [0, 2]}),
    ("squeeze", {"x": _X[:1, :, :1]}),
    ("reshape", {"x": _X, "shape": [4, -1]}),
    ("reshape", {"x": _X, "shape": [2, 0, 0]}),
    ("transpose", {"x": _X, "perm": [2, 0, 1]}),
    ("transpose", {"x": _X, "perm": [-1, 0, -2]}),
    ("reverse", {"x": _X, "axes": [0, -1]}),
    ("reverse", {"x": _X}),
    ("concat", {"values": (_X, _Y), "axis": 1}),
    ("stack", {"values": (_X, _Y), "axis": 1}),
    ("stack", {"values": (_X, _Y), "axis": -1}),
    ("split", {"x": _X, "num_splits": 2, "axis": -1}),
    ("split", {"x": _X, "split_sizes": [1, 2], "axis": 1}),
    ("pad", {"x": _X, "pad": [1, 2, 0, 3], "mode": "constant", "constant_val": 0.5}),
    *(("pad", {"x": _X, "pad": [1, 2, 3, 0], "mode": mode, "constant_val": 0.0}) for mode in ("reflect", "replicate")),
    ("slice_by_index", {"x": _X, "begin": [0, 1, 0], "end": [2, 3, 4], "stride": [1, 1, 2]}),
    ("slice_by_index", {"x": _X, "begin": [1, 2, 3], "end": [0, 0, 0], "stride": [-1, -1, -2]}),
    ("slice_by_index", {"x": _X, "begin": [0, -2, 0], "end": [0, -1, 0], "end_mask": [True, False, True]}),
    ("slice_by_index", {"x": _X, "begin": [1, 0, -1], "end": [0, 2, 0], "squeeze_mask": [True, False, True]}),
    (
        "slice_by_index",
        {"x": _X, "begin": [0] * 3, "end": [0] * 3, "stride": [-1] * 3, "begin_mask": [True] * 3, "end_mask": [True] * 3},
    ),
    ("slice_by_index", {"x": _X, "begin": [0, 2, 0], "end": [2, 2, 4]}),
    ("slice_by_size", {"x": _X, "begin": [0, 1, 2], "size": [2, -1, 1]}),
    ("gather", {"x": _X, "indices": np.array([2, 0], np.int32), "axis": 1}),
    ("gather", {"x": _X, "indices": np.array([[1, 0], [0, 1]], np.int32), "axis": 0}),
    ("gather", {"x": _X, "indices": np.int32(1), "axis": 2}),
    ("gather", {"x": _ROW, "indices": np.int32(1), "axis": 0}),
    ("gather_along_axis", {"x": _X, "indices": np.array([[[2, 0, 1, 1]], [[0, 0, 2, 1]]], np.int32), "axis": 1}),
    (
        "quantize",
        {"input": _X * 3, "scale": _ROW[:3] ** 2 + 0.01, "zero_point": np.int8([1, -2, 3]), "output_dtype": "int8", "axis": 1},
    ),
    ("quantize", {"input": np.float32([0.05, 0.15, 0.25, -9, 99]), "scale": np.float32(0.1), "output_dtype": "uint8"}),
]


@pytest.mark.parametrize(("operator", "arguments"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_an_operator_agrees_with_coremltools(operator: str, arguments: dict[str, Any]) -> None:
    found = compute(operator, **arguments)
    for mine, theirs in zip(
        *(value if isinstance(value, list) else [value] for value in (found, _witness(operator, arguments))), strict=True
    ):
        assert np.shape(mine) == np.shape(theirs)
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6)


def _witness(operator: str, arguments: dict[str, Any]) -> Any:
    """What coremltools' builder finds the operation's value to be."""
    # copies, because its evaluation of some operators writes into its input
    given = {name: list(value) if isinstance(value, tuple) else copy.copy(value) for name, value in arguments.items()}
    with Function({}, opset_version=coremltools.target.iOS17):
        found = getattr(mil.Builder, operator)(**given)
        return [var.val for var in found] if isinstance(found, list | tuple) else found.val


def test_every_operator_has_the_parameters_of_its_definitions() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    for name, function in ops.operators().items():
        if name in ("write_state", "cond", "while_loop"):
            continue
        known = set(function.__annotations__) - {"return", "opset", "rounded"}
        asked = {key for d in SSAOpRegistry.core_ops[name].values() for key in d.input_spec.input_types}
        assert known == asked, name

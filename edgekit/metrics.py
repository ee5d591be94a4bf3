"""How far one output is from another. Both are arrays of the same shape, of any real dtype; computed in float64."""

from __future__ import annotations

import numpy as np

from edgekit.runtimes import Array

SQNR_CAP_DB = 200.0
"""Stands for "identical": JSON has no infinity."""


def sqnr_db(reference: Array, other: Array) -> float:
    """Signal to quantization-noise ratio, 10 log10(sum r^2 / sum (r - o)^2), capped at +-200 dB; -200 when not finite."""
    r, o = reference.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(r).all() and np.isfinite(o).all()):
        return -SQNR_CAP_DB
    return decibels(float(np.square(r).sum()), float(np.square(r - o).sum()))


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers, capped at +-200 dB."""
    if noise == 0:
        return SQNR_CAP_DB
    if signal == 0:
        return -SQNR_CAP_DB
    return float(np.clip(10 * np.log10(signal / noise), -SQNR_CAP_DB, SQNR_CAP_DB))


def max_error_over_spread(reference: Array, other: Array) -> float:
    """max |r - o| / std(r); the plain maximum where the reference is constant."""
    r, o = reference.astype(np.float64), other.astype(np.float64)
    spread = float(r.std())
    error = float(np.abs(r - o).max(initial=0.0))
    return error / spread if spread > 0 else error


def cosine(reference: Array, other: Array) -> float:
    """Cosine of the angle between the flattened outputs; 1 when both are zero."""
    r, o = reference.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    norms = float(np.linalg.norm(r) * np.linalg.norm(o))
    return float(r @ o / norms) if norms > 0 else float(np.array_equal(r, o))


def top1_agreement(reference: Array, other: Array) -> float | None:
    """The share of rows whose largest entry agrees; None unless the output is [rows, scores]."""
    if reference.ndim != 2 or reference.shape[1] < 2:
        return None
    return float((reference.argmax(1) == other.argmax(1)).mean())

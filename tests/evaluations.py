"""Evaluations, made up: what the tests of the gate and of reports read."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgekit.evaluation.accuracy import Accuracy, Against, Data, Shift
from edgekit.profiling.measurement import Estimate, Model
from edgekit.quantize.sensitivity import Sensitivity, SiteSensitivity, TensorRange


def beside(drop: Estimate | None, **changes: Any) -> Against:
    """A subject beside its reference, with this drop; without labels where there is none."""
    fields: dict[str, Any] = {
        "reference": "lsnet_t with lsnet_t.pth",
        "agreement_percent": Estimate(98.2, 97.9, 98.5),
        "kl_nats": Estimate(0.012, 0.011, 0.013),
        "sqnr_db": Estimate(27.4, 27.1, 27.7),
        "accuracy_drop_points": drop,
        "only_reference_right": drop and 61,
        "only_subject_right": drop and 30,
        "mcnemar_p": drop and 0.0015,
        "shifts": drop and (Shift("cat", "dog", 40, 52), Shift("<deer>", "horse", 9, 5)),
    }
    return Against(**{**fields, **changes})


def accuracy(subject: str, against: Against | None, *, model: Model | None = None, **changes: Any) -> Accuracy:
    """One of 10,000 images of ten classes."""
    labelled = against is None or against.accuracy_drop_points is not None
    made = Accuracy(
        subject=subject,
        model=model or Model("net", "onnx", precision="fp32", sha256="ab" * 32, size_bytes=10**6),
        runtime="onnxruntime 1.31.1",
        job="a",
        started_at="2026-11-20T20:00:00+00:00",
        edgekit="0.1.0",
        data=Data("cifar10.npz", 10_000, 10_000, labelled, "cd" * 32),
        top1_percent=Estimate(91.4, 90.8, 91.9) if labelled else None,
        top5_percent=Estimate(99.5, 99.3, 99.6) if labelled else None,
        not_finite=0,
        against=against,
    )
    return dataclasses.replace(made, **changes)


def layers(*modules: str) -> Sensitivity:
    """Of layers that make half the noise of the one before; the first of them is saturated, the last is dead."""
    count = len(modules)
    shares = [2.0**-place / (2 - 2.0 ** (1 - count)) for place in range(count)]
    sites = tuple(
        SiteSensitivity(
            node=f"conv2d_{place}",
            operator="conv2d",
            module=module,
            sqnr_db=24 + 3 * place,
            noise_share=share,
            weight_sqnr_db=None if place == 1 else 30 + 3 * place,
            activation_sqnr_db=25 + 3 * place,
            stored_sqnr_db=None if place == 1 else 41.5,
            ranges=(
                TensorRange(
                    tensor=f"relu_{place}",
                    low=0.0,
                    high=0.0 if place == count - 1 else 6.0,
                    covered_low=0.0,
                    covered_high=4.5,
                    saturated=0.021 if place == 0 else 0.0,
                    outlier_ratio=1.0 + place,
                    counts=tuple(int(10_000 * 0.8**bin) for bin in range(32)),
                ),
            ),
        )
        for place, (module, share) in enumerate(zip(modules, shares, strict=True))
    )
    return Sensitivity("int8", 4, 21.3, 20.9, sites)

"""What an evaluation holds, and its JSON."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edgekit.errors import InputError
from edgekit.profiling.measurement import Estimate, Model
from edgekit.quantize.sensitivity import Sensitivity

SCHEMA_VERSION: Final = 1
_NO_OTHER_KEYS: ConfigDict = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class Data:
    """On what it was evaluated."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    name: str
    """The folder or file, as it was given."""
    images: int
    """Samples evaluated, drawn without regard to their order."""
    of: int
    """Samples there are."""
    labelled: bool
    sha256: str
    """Of the data, so that evaluations on the same show."""


@dataclass(frozen=True)
class Shift:
    """A confusion of two classes, and how often each model makes it."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    label: str
    """What the image shows."""
    predicted: str
    """What it is taken for."""
    reference: int
    """Images for which the reference says so."""
    subject: int
    """Images for which the subject says so."""


@dataclass(frozen=True)
class Against:
    """A subject beside its reference, on the same images."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    reference: str
    """The subject it is compared with, as it was given, or what an artifact was made from."""
    agreement_percent: Estimate
    """Images for which both find the same class likeliest."""
    kl_nats: Estimate | None
    """Mean over the images of the Kullback-Leibler divergence of the subject's softmax from the reference's. Null, as is the
    next, where every output holds NaN or infinity."""
    sqnr_db: Estimate | None
    """10 log10(sum of squared logits of the reference / sum of squared differences), over all images; capped at 200."""
    accuracy_drop_points: Estimate | None
    """Percentage points of top-1 lost, image by image; negative where it gained. Null, as all below, without labels."""
    only_reference_right: int | None
    only_subject_right: int | None
    mcnemar_p: float | None
    """How probable it is, were both equally accurate, that these two counts differ so much or more (exact, two-sided)."""
    shifts: tuple[Shift, ...] | None
    """The confusions whose counts changed most."""
    median_sqnr_db: float | None = None
    """That of the median image; null where `sqnr_db` is. Far above that one, the noise is uneven: some images are lost on."""


@dataclass(frozen=True)
class Accuracy:
    """One subject, evaluated. Intervals are of 95 %, for images drawn as these were."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    subject: str
    """The artifact directory, model file or model name, as it was given."""
    model: Model
    runtime: str
    """Name and version."""
    job: str
    """Random id of the call. Subjects of one job saw the same images."""
    started_at: str
    """ISO 8601, UTC."""
    edgekit: str
    """The version that evaluated."""
    data: Data
    top1_percent: Estimate | None
    """Null without labels."""
    top5_percent: Estimate | None
    """Null without labels, and with five classes or fewer."""
    not_finite: int
    """Images whose output holds NaN or infinity: counted as wrong and as disagreeing, left out of divergence and SQNR."""
    against: Against | None
    """Null for what others are compared with."""
    sensitivity: Sensitivity | None = None
    """Of a quantized artifact's layers, where it was asked for."""
    schema_version: Literal[1] = SCHEMA_VERSION

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as JSON holds it."""
        return dict(_adapter().dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, text: str, *, where: str = "the evaluation") -> Accuracy:
        """The evaluation that `as_dict` gave; `where` names it in errors. Raises InputError for anything else."""
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{where} is not one that this edgekit reads (schema version {SCHEMA_VERSION})",
                cause=f"{key}: {first['msg']}" if key else first["msg"],
                next_step="give what `edgekit evaluate --output` of this version wrote, or evaluate again",
            ) from None


@functools.cache
def _adapter() -> TypeAdapter[Accuracy]:
    return TypeAdapter(Accuracy)

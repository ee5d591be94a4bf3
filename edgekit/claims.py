"""What papers say their models cost, each figure with its place and its settings. Never edgekit's own results."""

from __future__ import annotations

from typing import Literal

from edgekit import data_files, typed_yaml

Evidence = Literal["paper", "paper and code", "abstract", "quoted elsewhere"]


class Settings(typed_yaml.Frozen):
    """Under what a figure was measured; null is what the source does not say."""

    device: str
    compute_unit: str | None = None
    runtime: str | None = None
    precision: str | None = None
    batch: int | str | None = None
    """A number, or what is said in its place."""
    input_size: int | None = None
    """Height and width of the image in pixels."""
    note: str | None = None


class Claim(typed_yaml.Frozen):
    """One figure of one model."""

    model: str
    quantity: Literal["latency_s", "images_per_s", "tokens_per_s", "memory_bytes"]
    value: float
    table: str
    """Where in the paper."""
    settings: Settings


class Paper(typed_yaml.Frozen):
    """A source and what it claims: one YAML file."""

    title: str
    reference: str
    """Such as arXiv 2503.23135."""
    evidence: Evidence
    """What was read of it when the figures were taken down."""
    claims: tuple[Claim, ...]


def papers() -> list[Paper]:
    """Every paper on record."""
    return [typed_yaml.read(data_files.folder("claims") / f"{name}.yaml", Paper) for name in data_files.names("claims")]

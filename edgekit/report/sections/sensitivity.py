"""What each layer of a quantized model costs: its noise alone, and what its tensors were in calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.evaluation import table as wording
from edgekit.quantize.sensitivity import Sensitivity, SiteSensitivity, TensorRange
from edgekit.report import style
from edgekit.report.collection import Collection, printable
from edgekit.report.content import Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Evaluated
from edgekit.report.quantities import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTOGRAMS = 6
_COLUMNS = (
    Column("layer"),
    Column("operator"),
    Column("alone dB", number=True),
    Column("share of the noise", number=True),
    Column("weight dB", number=True),
    Column("tensors dB", number=True),
    Column("stored weight dB", number=True),
    Column("saturated", number=True),
    Column("outliers", number=True),
    Column("remarks"),
)


def section(collection: Collection) -> Section:
    """Every quantized artifact whose layers were looked at: a figure of its layers, one of its ranges, and a table."""
    told = [(one, one.accuracy.sensitivity) for one in collection.evaluated if one.accuracy.sensitivity is not None]
    if not told:
        how = "what each layer of a quantized artifact costs is told by `edgekit evaluate --sensitivity --output`"
        return Section("sensitivity", "What quantizing each layer costs", absent=how)
    return Section(
        "sensitivity",
        "What quantizing each layer costs",
        sentences=(
            "Each layer's weight and tensors are quantized alone, all else being in floating point, and the outputs compared: "
            "the lower its SQNR, the more it costs. A tensor between two layers counts to the one that makes it. Noise adds up "
            "roughly, so that shares tell what leaving a layer in floating point would win (`--quantize mixed` does that).",
            *(f"{one.label}: {wording.sensitivity(found)}." for one, found in told),
        ),
        pictures=tuple(
            picture
            for index, (one, found) in enumerate(told[: style.MOST_FIGURES // 2], start=1)
            for picture in _pictures(one, found, index)
        ),
        tables=tuple(Table(f"{one.label}: layers", _COLUMNS, tuple(map(_row, found.sites))) for one, found in told),
    )


def _row(site: SiteSensitivity) -> tuple[Cell, ...]:
    saturated = max((one.saturated for one in site.ranges), default=None)
    outliers = max((one.outlier_ratio for one in site.ranges), default=None)
    return (
        words(_name(site)),
        words(site.operator),
        _db(site.sqnr_db),
        number(site.noise_share, f"{site.noise_share:.1%}"),
        _db(site.weight_sqnr_db),
        _db(site.activation_sqnr_db),
        _db(site.stored_sqnr_db),
        number(saturated, "" if saturated is None else f"{saturated:.2%}"),
        number(outliers, "" if outliers is None else f"{outliers:.1f}x"),
        words("; ".join(printable(remark) for remark in wording.remarks(site))),
    )


def _db(value: float | None) -> Cell:
    return number(value, "" if value is None else f"{value:.1f}")


def _name(site: SiteSensitivity) -> str:
    return printable(site.module or site.node)


def _pictures(one: Evaluated, found: Sensitivity, index: int) -> list[Picture]:
    ranges = [(site, seen) for site in found.sites for seen in site.ranges if not seen.is_dead][:_HISTOGRAMS]
    return [_layers(one, found, index), *([_ranges(one, ranges, index)] if ranges else [])]


def _layers(one: Evaluated, found: Sensitivity, index: int) -> Picture:
    """Of the most sensitive layers the SQNR that each leaves: by its weight, by its tensors, by both."""
    shown = found.sites[: style.MOST_DRAWN]
    figure, axes = style.rows_figure(len(shown))
    for row, site in enumerate(shown):
        both = [value for value in (site.weight_sqnr_db, site.activation_sqnr_db) if value is not None]
        axes.plot([site.sqnr_db, max(both)], [row, row], color=style.RULE, zorder=1)
        for value, color, marker, label in (
            (site.weight_sqnr_db, style.BLUE, "o", "its weight alone"),
            (site.activation_sqnr_db, style.VERMILLION, "s", "its tensors alone"),
            (site.sqnr_db, style.INK, "|", "both"),
        ):
            if value is not None:
                axes.plot([value], [row], marker, color=color, markersize=11 if marker == "|" else 6, label=label)
        style.at_right(axes, row, f"{site.noise_share:.1%}")
    axes.axvline(found.sqnr_db, color=style.MUTED, linewidth=1, linestyle="--", zorder=1, label="all layers")
    style.name_rows(axes, [_short(f"{_name(site)} {site.operator}") for site in shown])
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False)
    axes.margins(x=0.06)
    axes.set_xlabel("SQNR of the outputs with this layer alone quantized, dB (left is worse)")
    return Picture(
        f"sensitivity-{index}",
        figure,
        f"SQNR that each of {counted(len(shown), 'layer')} of {one.label} leaves when it alone is quantized.",
        f"{one.label}, on the {counted(found.samples, 'noisiest calibration sample')}; at the right, the shares of the noise. "
        f"The dashed line is the SQNR with all quantized.{style.left_out(len(shown), len(found.sites), 'most sensitive')}",
    )


def _ranges(one: Evaluated, ranges: Sequence[tuple[SiteSensitivity, TensorRange]], index: int) -> Picture:
    """Histograms of the tensors of the most sensitive layers, with what their integers represent."""
    rows = (len(ranges) + 1) // 2
    figure = style.figure(0.4 + 1.35 * rows, gap_in=0.06)
    panels = figure.subplots(rows, 2, squeeze=False).flatten()
    for panel in panels[len(ranges) :]:
        panel.set_axis_off()
    for panel, (site, seen) in zip(panels, ranges, strict=False):
        _histogram(panel, site, seen)
    return Picture(
        f"ranges-{index}",
        figure,
        f"Histograms of {counted(len(ranges), 'tensor')} of {one.label}, with the ranges that their integers represent.",
        f"{one.label}: how often tensors took which values in calibration (logarithmic), in the layers that cost most. Between "
        "the vertical lines lies what their integers represent; what is beyond is saturated.",
    )


def _histogram(axes: Axes, site: SiteSensitivity, seen: TensorRange) -> None:
    edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
    axes.stairs(seen.counts, edges, fill=True, color=style.SKY, label="values")
    for end in (seen.covered_low, seen.covered_high):
        axes.axvline(end, color=style.VERMILLION, linewidth=1.2, label="range")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_yticks([])
    axes.minorticks_off()
    axes.spines["left"].set_visible(False)
    beyond = f", {seen.saturated:.2%} beyond" if seen.saturated else ""
    axes.set_title(_short(f"{_name(site)} {seen.tensor}{beyond}", 46), fontsize=8.5, fontweight="normal")


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else f"…{text[-most + 1 :]}"

"""Size, spacing and intensities of the cases, by modality."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_adapters.lint.examine import Facts

Range = tuple[float, float, float]
BINS = 24
"""Steps of a histogram."""


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """The cases of one modality with the same number of axes; ranges are (least, median, most).

    Attributes:
        modality: Code or the user's word; None when unknown.
        axes: `volume` or `picture`.
        cases: How many.
        size: For each axis (slices, rows, columns; pictures without slices).
        spacing: mm, for each axis; empty where no case has one.
        unspaced: Cases without spacing.
        irregular: Cases whose slices are no regular stack.
        intensity: Over the cases' medians, in modality units; None where nothing was measured.
        histogram: Cases by their median, in `BINS` equal steps of the range of `intensity`; empty
            where that is one value.
        limits: Lowest and highest value of all.
        types: Type of the image -> cases.
    """

    modality: str | None
    axes: str
    cases: int
    size: tuple[Range, ...]
    spacing: tuple[Range, ...]
    unspaced: int
    irregular: int
    intensity: Range | None
    histogram: tuple[int, ...]
    limits: tuple[float, float] | None
    types: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain data: the attributes by name, ranges as lists."""
        return {
            "modality": self.modality,
            "axes": self.axes,
            "cases": self.cases,
            "size": [list(r) for r in self.size],
            "spacing_mm": [list(r) for r in self.spacing],
            "unspaced": self.unspaced,
            "irregular": self.irregular,
            "intensity": None if self.intensity is None else list(self.intensity),
            "histogram": list(self.histogram),
            "limits": None if self.limits is None else list(self.limits),
            "types": self.types,
        }


def statistics(facts: Sequence[Facts]) -> tuple[GroupStatistics, ...]:
    """One row a modality, the largest group first.

    Args:
        facts: Of every case; those that could not be read count nowhere.
    """
    groups: dict[tuple[str | None, int], list[Facts]] = defaultdict(list)
    for one in facts:
        if one.read:
            groups[one.modality, len(one.shape)].append(one)
    largest = sorted(groups.items(), key=lambda item: -len(item[1]))
    return tuple(_group(modality, axes, cases) for (modality, axes), cases in largest)


def _group(modality: str | None, axes: int, cases: list[Facts]) -> GroupStatistics:
    spaced = [one.spacing for one in cases if len(one.spacing) == axes - 1]
    middles = [one.quantiles[1] for one in cases if math.isfinite(one.quantiles[1])]
    limits = [one.limits for one in cases if math.isfinite(one.limits[0])]
    return GroupStatistics(
        modality=modality,
        axes="volume" if axes == 4 else "picture",
        cases=len(cases),
        size=tuple(_range(axis) for axis in zip(*(one.shape[:-1] for one in cases), strict=True)),
        spacing=tuple(_range(axis) for axis in zip(*spaced, strict=True)),
        unspaced=len(cases) - len(spaced),
        irregular=sum(not one.regular for one in cases),
        intensity=_range(middles) if middles else None,
        histogram=_histogram(middles),
        limits=(min(v for v, _ in limits), max(v for _, v in limits)) if limits else None,
        types=dict(Counter(one.dtype for one in cases).most_common()),
    )


def _range(values: Sequence[float]) -> Range:
    return float(min(values)), float(np.median(values)), float(max(values))


def _histogram(values: Sequence[float]) -> tuple[int, ...]:
    if not values or min(values) == max(values):
        return ()
    counts, _ = np.histogram(values, bins=BINS)
    return tuple(int(n) for n in counts)

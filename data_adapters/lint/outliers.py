"""Cases unlike the others of their modality: in intensities, spacing, size, kind of image.

The rule is the modified z-score (Iglewicz and Hoaglin 1993, "How to detect and handle outliers"):
z = 0.6745 (x - median) / MAD over the cases of one modality, with a floor under the MAD, so that
differences too small to matter are no outliers where all the others agree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.findings import Finding
from data_adapters.lint.codes import finding
from data_adapters.lint.examine import Facts

FEWEST = 10
"""Cases of a modality below which nothing is called an outlier."""
LIMIT = 8.0
"""Modified z-score from which a case is one; 3.5 (the authors') suits a normal distribution."""
INTENSITY_FLOOR = 0.05
"""Least MAD of a percentile, as a share of the median distance of the 1st and 99th percentile."""
SPACING_FLOOR = 0.03
"""Least MAD of the logarithm of a spacing: with `LIMIT`, a factor of 1.43 is no outlier."""
SIZE_FLOOR = 0.06
"""Least MAD of the logarithm of a size: with `LIMIT`, a factor of 2.03 is no outlier."""

MAX_HU = 32767.0

Array = NDArray[np.float64]


def outliers(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Findings about cases unlike the others.

    Args:
        facts: Of every case.
    """
    read = [one for one in facts if one.read]
    yield from _mixtures(read)
    yield from _not_hounsfield(read)
    groups: dict[tuple[Any, ...], list[Facts]] = defaultdict(list)
    for one in read:
        groups[one.modality, len(one.shape), one.dtype == "uint8"].append(one)
    for group in groups.values():
        if len(group) >= FEWEST:
            yield from _intensity(group)
            yield from _spacing(group)
            yield from _size(group)


def modified_z(values: Array, floor: float) -> Array:
    """Modified z-scores.

    Args:
        values: (N,), NaN where unknown.
        floor: Least median absolute deviation, in the units of the values.

    Returns:
        (N,) scores, NaN where unknown.
    """
    middle = np.nanmedian(values)
    spread = max(float(np.nanmedian(np.abs(values - middle))), floor)
    if spread == 0.0:
        return np.where(values == middle, 0.0, np.inf)
    return np.asarray(0.6745 * (values - middle) / spread)


def _intensity(group: Sequence[Facts]) -> Iterator[Finding]:
    group = [one for one in group if not one.binary and not np.isnan(one.quantiles).any()]
    if len(group) < FEWEST:
        return
    quantiles = np.array([one.quantiles for one in group])
    floor = INTENSITY_FLOOR * float(np.nanmedian(quantiles[:, 2] - quantiles[:, 0]))
    scores = np.stack([modified_z(column, floor) for column in quantiles.T], axis=1)
    middle = np.nanmedian(quantiles, axis=0)
    for one, score in zip(group, scores, strict=True):
        worst = int(np.argmax(np.nan_to_num(np.abs(score), posinf=1e300)))
        if abs(score[worst]) > LIMIT:
            name = ("1st", "50th", "99th")[worst]
            text = (
                f"the {name} percentile is {one.quantiles[worst]:.4g}; "
                f"that of the others is about {middle[worst]:.4g}"
            )
            yield finding("intensity-outlier", text, case_id=one.case_id)


def _spacing(group: Sequence[Facts]) -> Iterator[Finding]:
    known = [one for one in group if one.spacing and min(one.spacing) > 0]
    for axis in range(max((len(one.spacing) for one in known), default=0)):
        having = [one for one in known if axis < len(one.spacing)]
        if len(having) < FEWEST:
            continue
        values = np.array([one.spacing[axis] for one in having])
        scores = modified_z(np.log(values), SPACING_FLOOR)
        for i in map(int, np.flatnonzero(np.abs(scores) > LIMIT)):
            name = _axis_name(axis, len(having[i].spacing))
            text = (
                f"{name} lie {values[i]:.4g} mm apart; "
                f"those of the others about {np.median(values):.4g} mm"
            )
            yield finding("spacing-outlier", text, case_id=having[i].case_id)


def _size(group: Sequence[Facts]) -> Iterator[Finding]:
    sizes = np.array([one.shape[:-1] for one in group], np.float64)
    scores = np.stack([modified_z(np.log(axis), SIZE_FLOOR) for axis in sizes.T], axis=1)
    for i in map(int, np.flatnonzero(np.abs(scores).max(axis=1) > LIMIT)):
        axis = int(np.argmax(np.abs(scores[i])))
        text = (
            f"{sizes[i, axis]:.0f} {_axis_name(axis, sizes.shape[1])}; "
            f"the others have about {np.median(sizes[:, axis]):.0f}"
        )
        yield finding("size-outlier", text, case_id=group[i].case_id)


def _axis_name(axis: int, axes: int) -> str:
    return ("slices", "rows", "columns")[axis + 3 - axes]


def _mixtures(read: Sequence[Facts]) -> Iterator[Finding]:
    """Pictures among volumes, colour among grey, several modalities."""
    dims = Counter("volumes" if len(one.shape) == 4 else "pictures" for one in read)
    if len(dims) > 1:
        yield finding("mixed-dimensions", _counted(dims))
        return
    channels = Counter(f"of {one.shape[-1]} channel(s)" for one in read)
    if len(channels) > 1:
        yield finding("mixed-channels", _counted(channels))
    modalities = Counter(one.modality or "unknown" for one in read)
    if len(modalities) > 1:
        yield finding("mixed-modality", _counted(modalities))


def _not_hounsfield(read: Sequence[Facts]) -> Iterator[Finding]:
    """CT without fat, lung or air, or beyond 16 bits: case by case, or once where all are so."""
    scans = [one for one in read if one.modality == "CT" and one.limits[0] < one.limits[1]]
    wrong = [one for one in scans if one.limits[0] >= 0 or one.limits[1] > MAX_HU]
    if len(wrong) == len(scans) > 1:
        low, high = min(one.limits[0] for one in wrong), max(one.limits[1] for one in wrong)
        text = f"values of all {len(wrong)} CT cases, {low:g} to {high:g}, are no Hounsfield units"
        yield finding("not-hounsfield", text)
        return
    for one in wrong:
        text = f"values from {one.limits[0]:g} to {one.limits[1]:g} are no Hounsfield units"
        yield finding("not-hounsfield", text, case_id=one.case_id)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())

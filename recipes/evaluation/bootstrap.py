"""Resampling of whole groups (patients), and intervals from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from recipes.evaluation.metrics import Array

_CHUNK = 4_000_000
"""Most weights held at once; keeps the memory bounded by this and not by the data set."""


def group_index(groups: Sequence[object] | None, n: int) -> tuple[npt.NDArray[np.int64], int]:
    """Number the groups; unknown ones (None, NaN, blank) are each a group of their own.

    Args:
        groups: One id per case, or None when no group is known.
        n: Number of cases.

    Returns:
        Group number of each case, shape (n,), values 0..G-1 in order of first appearance; and
        the number of cases whose group is known.
    """
    numbers = np.empty(n, dtype=np.int64)
    seen: dict[object, int] = {}
    known = 0
    for i in range(n):
        name = None if groups is None else groups[i]
        if _unknown(name):
            key: object = (i,)
        else:
            key, known = str(name), known + 1
        numbers[i] = seen.setdefault(key, len(seen))
    return numbers, known


def resamples(
    group_of: npt.NDArray[np.int64], n_boot: int, *, seed: int, curves: int = 1
) -> Iterator[Array]:
    """Case weights of `n_boot` cluster-bootstrap resamples, in chunks of shape (b, N).

    Each resample draws as many groups as there are, with replacement; all cases of a drawn
    group come with it, so the weight of a case is how often its group was drawn. Cases of one
    patient are alike, and an interval that resampled cases would be too narrow.

    Args:
        group_of: Group number of each case, shape (N,).
        n_boot: Number of resamples.
        seed: Seed; the same seed gives the same resamples (also for another model's
            probabilities on the same cases, which pairs the comparison).
        curves: How many arrays of the chunk's size the caller needs at once.
    """
    rng = np.random.default_rng(seed)
    n_groups = int(group_of.max()) + 1
    rows = max(1, _CHUNK // max(1, len(group_of) * curves))
    for start in range(0, n_boot, rows):
        b = min(rows, n_boot - start)
        drawn = rng.integers(0, n_groups, size=(b, n_groups))
        drawn += np.arange(b)[:, None] * n_groups
        times = np.bincount(drawn.ravel(), minlength=b * n_groups).reshape(b, n_groups)
        yield times[:, group_of].astype(np.float64)


def percentile_interval(values: Array, level: float) -> tuple[float, float, int]:
    """Percentile interval of the defined replicates.

    Args:
        values: One figure per resample, NaN where undefined, shape (B,).
        level: Coverage, e.g. 0.95.

    Returns:
        Lower end, upper end (NaN when fewer than 20, or fewer than half, of the resamples are
        defined), and the number of undefined ones.
    """
    defined = values[np.isfinite(values)]
    lost = len(values) - len(defined)
    if len(defined) < 20 or lost > len(defined):
        return float("nan"), float("nan"), lost
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), lost


def unbiased_draws(values: Array, value: float) -> Array:
    """Replicates of a figure that resampling inflates, moved to centre on the plain figure.

    The calibration error takes absolute values, so the noise that each resample adds pushes it
    up, and the plain percentile interval can lie wholly above the figure itself. The replicates
    are moved by the bootstrap's estimate of that bias and cut at 0.

    Args:
        values: Replicates, shape (B,), NaN where undefined.
        value: The plain figure.
    """
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return values
    return np.asarray(np.maximum(values - (defined.mean() - value), 0.0))


def _unknown(name: object) -> bool:
    if name is None or (isinstance(name, float | np.floating) and np.isnan(name)):
        return True
    return not str(name).strip()

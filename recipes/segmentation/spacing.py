"""The voxel size that a run resamples to, and the sizes of cases there."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.errors import ConfigError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fingerprint import Fingerprint

THICK = 3.0
"""Anisotropy from which the thick axis gets its own rules."""


def target_spacing(
    found: Fingerprint, config: SegmentationConfig, why: list[str]
) -> tuple[float, ...] | None:
    """Voxel size to resample to; None where cases stay as they are.

    Args:
        found: Fingerprint of the training part.
        config: ``plan.spacing`` and ``plan.coarser``.
        why: Takes the reason.

    Raises:
        ConfigError: The size asked for does not fit the data.
    """
    wish, coarser = config.plan.spacing, config.plan.coarser
    if wish != "auto":
        if len(wish) != found.axes or not found.spacings:
            raise ConfigError(
                f"plan.spacing={list(wish)} does not fit cases of {found.axes} axes"
                + ("" if found.spacings else " whose voxel size is unknown")
            )
        chosen = _coarser([float(v) for v in wish], coarser)
        why.append(f"resampled to {_mm(chosen)}, as asked{_times(coarser)}")
        return chosen
    if found.spacing is None or len(found.spacings) < found.n:
        why.append("not resampled: the voxel size is unknown")
        return None
    table = np.asarray(found.spacings)
    target = [float(v) for v in np.median(table, axis=0)]
    if found.anisotropy >= THICK:
        axis = int(np.argmax(target))
        target[axis] = max(float(np.percentile(table[:, axis], 10)), min(target))
    chosen = _coarser(target, coarser)
    if np.allclose(table, chosen, rtol=0.01):
        why.append(f"not resampled: all voxels are {_mm(chosen)}")
        return None
    word = "median" if found.anisotropy < THICK else "median, the thick axis its 10th percentile"
    why.append(f"resampled to {_mm(chosen)}: the {word} of {found.n} cases{_times(coarser)}")
    return chosen


def resampled(
    found: Fingerprint, spacing: tuple[float, ...] | None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Median size and voxel of the cases after resampling."""
    native = found.spacing
    if native is None:
        return found.shape, (1.0,) * found.axes
    if spacing is None:
        return found.shape, native
    sizes = np.asarray(found.shapes) * np.asarray(found.spacings) / np.asarray(spacing)
    return tuple(max(1, round(float(v))) for v in np.median(sizes, axis=0)), spacing


def _coarser(target: list[float], factor: float) -> tuple[float, ...]:
    """Sides up to `factor` times the finest one; longer ones stay."""
    least = factor * min(target)
    return tuple(round(max(side, least), 4) if factor > 1 else round(side, 4) for side in target)


def _times(factor: float) -> str:
    return f", {factor:g} times as coarse" if factor > 1 else ""


def _mm(sides: Any) -> str:
    return " x ".join(f"{side:g}" for side in sides) + " mm"

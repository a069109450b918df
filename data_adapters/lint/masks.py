"""What can be wrong with a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_adapters.case import Case
from data_adapters.findings import Finding
from data_adapters.lint.codes import finding

_SHOWN = 5


def mask_findings(case: Case, names: Sequence[str], task: str) -> Iterator[Finding]:
    """Masks off the grid, with values that no class has, or without any foreground.

    Args:
        case: Any case.
        names: Class names of its adapter; in segmentation name k belongs to value k.
        task: The adapter's task.
    """
    grid = np.shape(case.image)[:-1]
    shapes = [] if case.mask is None else [case.mask.shape]
    shapes += [] if case.masks is None else [case.masks.shape[:-1]]
    for shape in shapes:
        if shape != grid:
            text = f"the mask has shape {shape}, the image {grid}"
            yield finding("mask-off-grid", text, case_id=case.case_id)
            return
    classes = len(names) if task == "segmentation" else None
    unknown = _unknown(case, classes)
    if unknown:
        yield finding("mask-unknown-values", unknown, case_id=case.case_id)
    elif (case.mask is not None or case.masks is not None) and not class_voxels(case):
        yield finding("empty-mask", "the mask holds background only", case_id=case.case_id)


def _unknown(case: Case, classes: int | None) -> str:
    """What of the mask's values no class has; empty where all are known."""
    if case.mask is not None:
        values = np.unique(case.mask)
        wrong = values[values != np.rint(values)] if values.dtype.kind == "f" else values[:0]
        top = np.inf if classes is None else classes - 1
        strange = np.union1d(wrong, values[(values < -1) | (values > top)])  # -1: unknown
        if strange.size:
            shown = ", ".join(f"{v:g}" for v in strange[:_SHOWN])
            more = ", ..." if strange.size > _SHOWN else ""
            known = "whole numbers from 0" if classes is None else f"0 to {classes - 1}"
            return f"the mask holds {shown}{more}; known are {known}"
    if case.masks is not None and case.masks.size:
        channels = case.masks.shape[-1]
        if classes is not None and channels != classes - 1:
            return f"the mask has {channels} channels for {classes - 1} classes"
        low, high = float(np.nanmin(case.masks)), float(np.nanmax(case.masks))  # NaN is unknown
        if not (low >= 0 and high <= 1):
            return f"the mask holds {low:g} to {high:g}; known are 0 to 1"
    return ""


def class_voxels(case: Case) -> dict[int, int]:
    """Class index -> voxels that a mask gives it (of fractional ones: any share), background out.

    Args:
        case: Any case.
    """
    if case.mask is not None:
        values, counts = np.unique(case.mask, return_counts=True)
        return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v > 0}
    if case.masks is None:
        return {}
    filled = np.count_nonzero(np.nan_to_num(case.masks), axis=tuple(range(case.masks.ndim - 1)))
    return {k + 1: int(n) for k, n in enumerate(filled) if n}

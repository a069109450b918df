"""Along which axes of a case a mirroring is allowed: from the patient's own directions."""

from __future__ import annotations

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.patches.policy import PatchPolicy

SLANT = 0.5
"""An axis with a larger cosine to a patient direction (within 60 degrees) counts as its own."""
ALONG = 0.7071
"""The same (45 degrees) for the one axis along which classes are swapped."""
_PATIENT = {"flip_lr": 0, "flip_ap": 1, "flip_si": 2, "flip_ud": 2}


def flip_axes(
    policy: PatchPolicy, geometry: Geometry | None, *, axes: int
) -> tuple[tuple[int, ...], int | None]:
    """Axes that training may mirror, and the one along which `policy.swaps` are exchanged.

    Where the directions are not known, a picture's columns are taken for left-right and its rows
    for up-down; a volume is then not mirrored at all if any direction is banned or has swaps.

    Args:
        policy: What may be done.
        geometry: Where the case lies; a volume's also for its slices.
        axes: Spatial axes of the patch: 2 or 3.

    Returns:
        Axes of the patch, rising; and the axis among them that swaps classes, or None.
    """
    if policy.flip == 0:
        return (), None
    bans = [ban for ban in policy.bans if ban in _PATIENT]
    known = geometry is not None and len(geometry.direction) == len(geometry.spacing) >= axes
    if geometry is None or not known:
        return _without_directions(policy, bans, axes)
    cosines = [tuple(abs(v) for v in axis) for axis in geometry.direction[-axes:]]
    allowed, swap = [], None
    for axis, cosine in enumerate(cosines):
        if any(cosine[_PATIENT[ban]] > SLANT for ban in bans):
            continue
        if policy.swaps and cosine[0] > SLANT:
            if cosine[0] <= ALONG:
                continue
            swap = axis
        allowed.append(axis)
    return tuple(allowed), swap


def mirror_axes(
    policy: PatchPolicy, geometry: Geometry | None, *, axes: int | None = None
) -> tuple[int, ...]:
    """Axes along which test-time mirroring may average: those of training that swap no classes.

    Args:
        policy: The policy of the training; one without flips allows none.
        geometry: Where the case lies.
        axes: Spatial axes of what the network takes; None is those of the geometry.

    Raises:
        DataError: Neither geometry nor number of axes is given.
    """
    if axes is None:
        if geometry is None:
            raise DataError("mirror_axes of a case without geometry: say axes=2 or axes=3")
        axes = len(geometry.spacing)
    allowed, swap = flip_axes(policy, geometry, axes=axes)
    return tuple(axis for axis in allowed if axis != swap)


def _without_directions(
    policy: PatchPolicy, bans: list[str], axes: int
) -> tuple[tuple[int, ...], int | None]:
    if axes == 3:
        return ((), None) if bans or policy.swaps else ((0, 1, 2), None)
    rows = not {"flip_ud", "flip_si", "flip_ap"} & set(bans)
    columns = "flip_lr" not in bans
    allowed = tuple(axis for axis, fine in ((0, rows), (1, columns)) if fine)
    return allowed, 1 if policy.swaps and columns else None

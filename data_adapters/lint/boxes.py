"""What can be wrong with boxes and centres, and how a box is put right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_adapters.case import Case, Lesion
from data_adapters.findings import Finding
from data_adapters.lint.codes import finding

Grid = tuple[int, ...]


def box_findings(case: Case, names: Sequence[str]) -> Iterator[Finding]:
    """One finding for each kind of fault among the lesions of a case, with their number.

    Args:
        case: Any case.
        names: Class names of its adapter; empty when unknown.
    """
    grid = np.shape(case.image)[:-1]
    total = len(case.lesions)
    bad = sum(degenerate(lesion) for lesion in case.lesions)
    if bad:
        text = f"{bad} of {total} boxes have no extent (or are not numbers)"
        yield finding("box-degenerate", text, case_id=case.case_id)
    whole = [lesion for lesion in case.lesions if not degenerate(lesion)]
    off = sum(outside(lesion, grid) for lesion in whole)
    if off:
        gone = sum(clipped(lesion, grid) is None for lesion in whole)
        text = f"{off} of {total} boxes reach beyond the image, {gone} of them wholly"
        yield finding("box-outside", text, case_id=case.case_id)
    strange = sum(not 0 <= lesion.label < len(names) for lesion in case.lesions) if names else 0
    if strange:
        text = f"{strange} of {total} boxes have a class that is none of the {len(names)} named"
        yield finding("box-unknown-class", text, case_id=case.case_id)


def degenerate(lesion: Lesion) -> bool:
    """Whether a box has no extent along some axis, or a place that is no number.

    Args:
        lesion: A box, or a centre with a radius.
    """
    places = [*(lesion.box or ()), *(lesion.centre or ())]
    if lesion.radius is not None:
        places.append(lesion.radius)
    if not places or not np.isfinite(places).all():
        return True
    if lesion.box is not None:
        half = len(lesion.box) // 2
        return any(
            high <= low for low, high in zip(lesion.box[:half], lesion.box[half:], strict=True)
        )
    return lesion.radius is not None and lesion.radius <= 0


def outside(lesion: Lesion, grid: Grid) -> bool:
    """Whether a box (or a centre) reaches beyond the image; its highest corner is exclusive.

    Args:
        lesion: A box, or a centre in voxels.
        grid: Shape of the image without channels.
    """
    if lesion.box is not None:
        half = len(lesion.box) // 2
        if half != len(grid):
            return True
        low, high = lesion.box[:half], lesion.box[half:]
        return min(low) < 0 or any(h > size for h, size in zip(high, grid, strict=True))
    centre = lesion.centre or ()
    return len(centre) != len(grid) or not _inside(centre, grid)


def clipped(lesion: Lesion, grid: Grid) -> Lesion | None:
    """The part of a lesion that lies in the image; None where none does.

    A centre lies in the image or does not; it is never moved.

    Args:
        lesion: A box that is not degenerate, or a centre.
        grid: Shape of the image without channels.
    """
    if not outside(lesion, grid):
        return lesion
    if lesion.box is None or len(lesion.box) != 2 * len(grid):
        return None
    half = len(grid)
    low = [min(max(0.0, v), size) for v, size in zip(lesion.box[:half], grid, strict=True)]
    high = [min(max(0.0, v), size) for v, size in zip(lesion.box[half:], grid, strict=True)]
    if any(h <= v for v, h in zip(low, high, strict=True)):
        return None
    centre = lesion.centre
    if centre is not None and not _inside(centre, grid):
        centre = None
    return Lesion(lesion.label, (*low, *high), centre, lesion.radius)


def _inside(centre: Sequence[float], grid: Grid) -> bool:
    """Whether a centre lies on the image's pixels, which end half a step beyond their centres."""
    return all(-0.5 <= v <= size - 0.5 for v, size in zip(centre, grid, strict=True))

"""Resampling to another voxel size, there and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case, Geometry, Lesion
from data_adapters.errors import DataError
from data_adapters.geometry import to_index, to_world, triple
from data_adapters.transforms.base import (
    Step,
    Undo,
    check_choice,
    check_numbers,
    grid_of,
    register_step,
)
from data_adapters.transforms.grids import AxisMap, Grid, mapped_geometry, mapped_lesions
from data_adapters.transforms.sampling import sample, smooth_for, smoothing_reach

Array = NDArray[Any]
# Largest grid that a voxel size may ask for.
MOST_VOXELS = 2**31
# Voxels that are sampled at once, so that large volumes do not take their size several times.
PIECE = 2**24


@dataclass(frozen=True)
class Slab:
    """A run of slices of the result that one call to `sample` makes.

    Attributes:
        first: Number of its first slice in the result.
        count: How many slices.
        start: Index in the source of its first voxel.
        step: Voxels of the source per voxel of the result.
    """

    first: int
    count: int
    start: tuple[float, ...]
    step: tuple[float, ...]


@register_step
@dataclass(frozen=True)
class Resample(Step):
    """Another voxel size, on a grid with the same directions and the same centre.

    Images that become coarser are smoothed first (see `smooth_for`). Where a case has padding,
    values are averaged over measured voxels only, linearly, and a voxel that is less than half
    measured is padding. An irregular stack (tilted, gapped, uneven) is laid on the regular grid
    that covers all its slices, each taken from where it is, linearly; places outside it are
    padding.

    Attributes:
        spacing: Voxel size in mm, (slice, row, column) or (row, column); 0 keeps an axis (along
            the slices of an irregular stack: their median step).
        image: `linear` or `bspline` (cubic, clipped to the image's range).
        mask: `nearest`, or `onehot`: each class is sampled linearly (and smoothed where the grid
            becomes coarser), and the largest wins.
    """

    name: ClassVar[str] = "resample"
    spacing: tuple[float, ...]
    image: Literal["linear", "bspline"] = "linear"
    mask: Literal["nearest", "onehot"] = "nearest"

    def __post_init__(self) -> None:
        """Check the options."""
        check_numbers(self.name, "spacing", self.spacing)
        if len(self.spacing) not in (2, 3) or min(self.spacing) < 0:
            raise DataError(f"step 'resample': spacing={self.spacing} must be 2 or 3 sizes in mm")
        check_choice(self.name, "image", self.image, ("linear", "bspline"))
        check_choice(self.name, "mask", self.mask, ("nearest", "onehot"))

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Resample image, mask, masks, padding and lesions.

        Raises:
            DataError: The voxel size is not known, or the grid would be too large.
        """
        before = grid_of(case)
        after = self._target(before)
        there = _slabs(before, after)
        outside = _outside(before, after, there)
        known = _measured(case, after, there)
        padding = _either(outside, None if known is None else known[1] < 0.5)
        plain = known is not None or _irregular(before)
        how = "linear" if plain else self.image
        image = _stacked(
            _values(case.image[..., c], after.shape, there, how, known)
            for c in range(case.image.shape[-1])
        )
        if padding is not None:
            image[padding] = _fill(case)
        done = replace(
            case,
            image=image,
            mask=None if case.mask is None else self._labels(case.mask, after.shape, there),
            masks=None if case.masks is None else self._fractions(case.masks, after.shape, there),
            padding=padding,
            geometry=after.geometry,
            lesions=_lesions(case, before, after, there),
        )
        return _without_classes(done, outside), Undo(self, before, after)

    def back_mask(self, mask: Array, undo: Undo) -> Array:
        """Classes on the original grid, by the step's own rule for masks."""
        return self._labels(mask, undo.before.shape, _slabs(undo.after, undo.before))

    def back_probabilities(self, values: Array, undo: Undo, outside: Array) -> Array:
        """Probabilities on the original grid, each class linearly."""
        back = _slabs(undo.after, undo.before)
        shape = undo.before.shape
        return _stacked(
            _values(values[..., k], shape, back, "linear") for k in range(values.shape[-1])
        )

    def _target(self, before: Grid) -> Grid:
        geometry = before.geometry
        if geometry is None or len(geometry.spacing) != len(before.shape):
            raise DataError("step 'resample': the voxel size of the case is not known")
        if len(self.spacing) != len(before.shape):
            raise DataError(
                f"step 'resample': spacing={self.spacing} for a grid of {len(before.shape)} axes"
            )
        wanted = [new or old for new, old in zip(self.spacing, geometry.spacing, strict=True)]
        if geometry.positions:
            return _covering(before.shape, geometry, wanted)
        step = [new / old for new, old in zip(wanted, geometry.spacing, strict=True)]
        shape = tuple(max(1, round(n / s)) for n, s in zip(before.shape, step, strict=True))
        _check_size(shape)
        start = [
            ((old - 1) - (new - 1) * s) / 2
            for old, new, s in zip(before.shape, shape, step, strict=True)
        ]
        moved = AxisMap(tuple(range(len(shape))), tuple(start), tuple(step))
        found = mapped_geometry(before, moved, shape)
        assert found is not None
        return Grid(shape, replace(found, spacing=tuple(float(v) for v in wanted)))

    def _labels(self, mask: Array, shape: tuple[int, ...], slabs: Sequence[Slab]) -> Array:
        if self.mask == "nearest":
            return _values(mask, shape, slabs, "nearest")
        best = np.zeros(shape, np.float32)
        label = np.zeros(shape, mask.dtype)
        for value in np.unique(mask):
            share = _values((mask == value).astype(np.float32), shape, slabs, "linear")
            better = share > best
            best[better], label[better] = share[better], value
        return label

    def _fractions(self, masks: Array, shape: tuple[int, ...], slabs: Sequence[Slab]) -> Array:
        out = []
        for k in range(masks.shape[-1]):
            if masks.dtype.kind != "f" and self.mask == "nearest":
                out.append(_values(masks[..., k], shape, slabs, "nearest"))
                continue
            share = _values(masks[..., k].astype(np.float32), shape, slabs, "linear")
            out.append(share if masks.dtype.kind == "f" else (share >= 0.5).astype(masks.dtype))
        return _stacked(out)


def _stacked(channels: Iterable[Array]) -> Array:
    """Channels as the last axis; a single one is not copied."""
    found = list(channels)
    return found[0][..., None] if len(found) == 1 else np.stack(found, axis=-1)


def _check_size(shape: Sequence[int]) -> None:
    if np.prod([float(n) for n in shape]) > MOST_VOXELS:
        raise DataError(f"step 'resample' would make a grid of {tuple(shape)} voxels")


def _covering(shape: tuple[int, ...], geometry: Geometry, wanted: Sequence[float]) -> Grid:
    """The regular grid that covers every slice of an irregular stack."""
    axes, starts = np.asarray(geometry.direction), np.asarray(geometry.positions)
    inside = np.linalg.pinv(axes[1:])
    away = starts - starts[0]
    offsets = np.concatenate([(away @ axes[0])[:, None], away @ inside], axis=1)
    low = offsets.min(axis=0)
    high = offsets.max(axis=0)
    high[1:] += (np.asarray(shape[1:]) - 1) * np.asarray(geometry.spacing[1:])
    size = tuple(round(float(b - a) / s) + 1 for a, b, s in zip(low, high, wanted, strict=True))
    _check_size(size)
    first = low + ((high - low) - (np.asarray(size) - 1) * np.asarray(wanted)) / 2
    origin = starts[0] + first @ axes
    spacing = tuple(float(v) for v in wanted)
    return Grid(size, Geometry(spacing, triple(origin), geometry.direction))


def _slabs(source: Grid, target: Grid) -> list[Slab]:
    """Where the target's voxels lie in the source: one slab, or one per slice of a stack."""
    first, second = source.geometry, target.geometry
    assert first is not None
    assert second is not None
    step = tuple(b / a for a, b in zip(first.spacing, second.spacing, strict=True))
    if not (first.positions or second.positions):
        start = tuple(
            ((old - 1) - (new - 1) * s) / 2
            for old, new, s in zip(source.shape, target.shape, step, strict=True)
        )
        return [Slab(0, target.shape[0], start, step)]
    corners = np.stack([np.arange(target.shape[0]), *np.zeros((2, target.shape[0]))], axis=1)
    places = to_index(first, to_world(second, corners))
    return [Slab(k, 1, tuple(place.tolist()), step) for k, place in enumerate(places)]


def _values(
    values: Array,
    shape: tuple[int, ...],
    slabs: Sequence[Slab],
    how: str,
    known: tuple[Array, Array] | None = None,
) -> Array:
    """One channel on another grid; the mean of what was measured where that is given."""
    source = values if known is None else np.where(known[0] > 0, values, 0).astype(np.float32)
    whole = how == "bspline" or len(slabs) > 1  # else what a piece needs is smoothed with it
    if how != "nearest" and whole:
        source = smooth_for(source, slabs[0].step)
    out: Array = np.empty(shape, values.dtype if how == "nearest" else np.float32)
    for slab, part in _cut(source, slabs, how, smooth=how != "nearest" and not whole):
        size = (slab.count, *shape[1:])
        out[slab.first : slab.first + slab.count] = sample(part, size, slab.start, slab.step, how)
    if how == "bspline":
        out = np.clip(out, values.min(), values.max())
    return out if known is None else out / np.maximum(known[1], 1e-6)


def _cut(
    source: Array, slabs: Sequence[Slab], how: str, *, smooth: bool
) -> Iterator[tuple[Slab, Array]]:
    """Slabs of bounded size, each with the part of the source that it needs, smoothed or not."""
    if how == "bspline" and len(slabs) == 1:  # every value depends on all
        yield slabs[0], source
        return
    for slab in slabs:
        depth = slab.count if source.ndim < 3 else _slices(source, slab)
        for done in range(0, slab.count, depth):
            count = min(depth, slab.count - done)
            start = slab.start[0] + done * slab.step[0]
            low = int(np.clip(np.floor(start) - 1, 0, len(source) - 1))
            end = start + (count - 1) * slab.step[0]
            high = int(np.clip(np.floor(end) + 3, low + 1, len(source)))
            place = (start - low, *slab.start[1:])
            part = source[low:high]
            if smooth:
                reach = smoothing_reach(slab.step[0])
                first = max(0, low - reach)
                part = smooth_for(source[first : high + reach], slab.step)
                part = part[low - first : high - first]
            yield Slab(slab.first + done, count, place, slab.step), part


def _slices(source: Array, slab: Slab) -> int:
    """Slices of the result that are made at once: about `PIECE` voxels of either grid."""
    plane = max(source[0].size, 1)
    across = plane / float(np.prod(np.abs(slab.step[1:])))
    return max(1, int(PIECE / max(across, plane * abs(slab.step[0]))))


def _measured(case: Case, after: Grid, slabs: Sequence[Slab]) -> tuple[Array, Array] | None:
    """How far each voxel was measured, on the old grid and on the new; None without padding."""
    if case.padding is None or not case.padding.any():
        return None
    known = (~case.padding).astype(np.float32)
    return known, _values(known, after.shape, slabs, "linear")


def _irregular(grid: Grid) -> bool:
    return grid.geometry is not None and bool(grid.geometry.positions)


def _outside(before: Grid, after: Grid, slabs: Sequence[Slab]) -> Array | None:
    """Voxels of the new grid beyond the edges of the slices of an irregular stack."""
    if not _irregular(before):
        return None
    out = np.zeros(after.shape, bool)
    for slab in slabs:
        for axis in (1, 2):
            places = slab.start[axis] + slab.step[axis] * np.arange(after.shape[axis])
            beyond = (places < -0.5 - 1e-6) | (places > before.shape[axis] - 0.5 + 1e-6)
            out[slab.first] |= beyond[:, None] if axis == 1 else beyond[None, :]
    return out if out.any() else None


def _either(first: Array | None, second: Array | None) -> Array | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second


def _fill(case: Case) -> Array:
    """What padding holds in each channel: what it holds already, else the lowest value."""
    if case.padding is not None and case.padding.any():
        return np.asarray(case.image[case.padding][0])
    return np.asarray(case.image.reshape(-1, case.image.shape[-1]).min(axis=0))


def _without_classes(case: Case, outside: Array | None) -> Case:
    """Outside the slices there is no class."""
    if outside is None:
        return case
    mask = None if case.mask is None else np.where(outside, 0, case.mask).astype(case.mask.dtype)
    masks = case.masks
    if masks is not None:
        masks = np.where(outside[..., None], 0, masks).astype(masks.dtype)
    return replace(case, mask=mask, masks=masks)


def _lesions(case: Case, before: Grid, after: Grid, slabs: Sequence[Slab]) -> tuple[Lesion, ...]:
    if not _irregular(before):
        moved = AxisMap(tuple(range(len(after.shape))), slabs[0].start, slabs[0].step)
        return mapped_lesions(case.lesions, moved)
    return tuple(_through_space(lesion, before, after) for lesion in case.lesions)


def _through_space(lesion: Lesion, before: Grid, after: Grid) -> Lesion:
    """A lesion of an irregular stack: its box becomes the box around where its corners lie."""
    first, second = before.geometry, after.geometry
    assert first is not None
    assert second is not None
    box, centre, radius = lesion.box, lesion.centre, lesion.radius
    if box is not None:
        sides = np.reshape(box, (2, 3)) - 0.5
        corners = np.stack(np.meshgrid(*sides.T, indexing="ij"), -1).reshape(-1, 3)
        places = to_index(second, to_world(first, corners)) + 0.5
        box = tuple(np.concatenate([places.min(axis=0), places.max(axis=0)]).tolist())
    if centre is not None:
        centre = tuple(to_index(second, to_world(first, centre)).tolist())
    if radius is not None:
        radius = radius * first.spacing[-1] / second.spacing[-1]
    return replace(lesion, box=box, centre=centre, radius=radius)

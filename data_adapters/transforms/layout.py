"""Turning, cutting and padding the grid: no value between voxels is ever asked for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case, Geometry
from data_adapters.errors import DataError
from data_adapters.transforms.base import (
    Step,
    Undo,
    check_choice,
    check_numbers,
    each_part,
    grid_of,
    register_step,
)
from data_adapters.transforms.grids import (
    AxisMap,
    Grid,
    mapped_geometry,
    mapped_lesions,
    shifted,
)
from data_adapters.transforms.region import body_box, mask_box

Array = NDArray[Any]
_AXIS_OF = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@register_step
@dataclass(frozen=True)
class Reorient(Step):
    """Order and direction of the axes, exactly: nothing is resampled.

    An oblique volume stays oblique; each axis goes to the patient axis it is nearest to.

    Attributes:
        to: Three letters, one each of L/R, P/A and S/I: the direction in which the column, row and
            slice number grows, as in SimpleITK's `DICOMOrient`. `LPS` is the usual axial stack.
    """

    name: ClassVar[str] = "reorient"
    to: str = "LPS"

    def __post_init__(self) -> None:
        """Check the letters."""
        axes = [_AXIS_OF.get(letter, (-1, 0))[0] for letter in str(self.to)]
        if sorted(axes) != [0, 1, 2]:
            raise DataError(f"step 'reorient': to={self.to!r} must be letters such as 'LPS'")

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Permute and flip.

        Raises:
            DataError: The case is no regular volume, or its directions are not known.
        """
        before = grid_of(case)
        geometry = before.geometry
        if geometry is None or len(geometry.direction) != 3:
            raise DataError("step 'reorient': the directions of the case's axes are not known")
        if geometry.positions:
            raise DataError("step 'reorient': resample the irregular stack first")
        axes, signs = self._turn(geometry)
        shape = tuple(before.shape[axis] for axis in axes)
        start = [0.0 if sign > 0 else n - 1.0 for sign, n in zip(signs, shape, strict=True)]
        moved = AxisMap(axes, tuple(start), tuple(float(s) for s in signs))
        turned = each_part(case, lambda part, _: _turned(part, axes, signs), None)
        done = replace(
            turned,
            geometry=mapped_geometry(before, moved, shape),
            lesions=mapped_lesions(case.lesions, moved),
        )
        facts = {"axes": axes, "signs": signs}
        return done, Undo(self, before, Grid(shape, done.geometry), facts)

    def back_mask(self, mask: Array, undo: Undo) -> Array:
        """The mask turned back."""
        axes, signs = undo.facts["axes"], undo.facts["signs"]
        flipped = mask[tuple(slice(None, None, sign) for sign in signs)]
        order = [*np.argsort(axes).tolist(), *range(3, mask.ndim)]
        return np.ascontiguousarray(flipped.transpose(order))

    def back_probabilities(self, values: Array, undo: Undo, outside: Array) -> Array:
        """The probabilities turned back."""
        return self.back_mask(values, undo)

    def _turn(self, geometry: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Old axis and sign of each new axis (slice, row, column)."""
        wanted = [_AXIS_OF[letter] for letter in reversed(self.to)]
        cosines = np.asarray(geometry.direction)[:, [axis for axis, _ in wanted]]

        def fit(order: Sequence[int]) -> float:
            return float(sum(abs(cosines[old, new]) for new, old in enumerate(order)))

        axes = max(itertools.permutations(range(3)), key=fit)
        signs = tuple(
            1 if cosines[old, new] * wanted[new][1] >= 0 else -1 for new, old in enumerate(axes)
        )
        return axes, signs


def _turned(part: Array, axes: Sequence[int], signs: Sequence[int]) -> Array:
    turned = part.transpose([*axes, *range(3, part.ndim)])
    return np.ascontiguousarray(turned[tuple(slice(None, None, sign) for sign in signs)])


@dataclass(frozen=True)
class Window(Step):
    """A step that takes a box of the old grid, which may reach beyond it."""

    def _take(
        self, case: Case, low: Sequence[int], shape: tuple[int, ...], fill: Array
    ) -> tuple[Case, Undo]:
        before = grid_of(case)
        moved = shifted(low)
        if case.padding is None and _leaves(before.shape, low, shape):
            case = replace(case, padding=np.zeros(before.shape, bool))
        cut = each_part(case, lambda part, value: _box_of(part, low, shape, value), fill)
        done = replace(
            cut,
            geometry=mapped_geometry(before, moved, shape),
            lesions=mapped_lesions(case.lesions, moved),
        )
        return done, Undo(self, before, Grid(shape, done.geometry), {"low": tuple(low)})

    def back_mask(self, mask: Array, undo: Undo) -> Array:
        """The mask on the original grid, 0 outside the box."""
        back = [-n for n in undo.facts["low"]]
        return _box_of(mask, back, undo.before.shape, 0)

    def back_probabilities(self, values: Array, undo: Undo, outside: Array) -> Array:
        """The probabilities on the original grid, `outside` outside the box."""
        back = [-n for n in undo.facts["low"]]
        return _box_of(values, back, undo.before.shape, outside)


def _leaves(old: Sequence[int], low: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a box reaches beyond the old grid."""
    return any(a < 0 or a + n > size for a, n, size in zip(low, shape, old, strict=True))


def _box_of(part: Array, low: Sequence[int], shape: Sequence[int], fill: Any) -> Array:
    """Voxels `low` to `low + shape` of an array, with `fill` where there are none."""
    rest = part.shape[len(shape) :]
    out: Array = np.empty((*shape, *rest), part.dtype)
    out[...] = fill
    sides = list(zip(low, shape, part.shape, strict=False))
    into = tuple(slice(max(0, -a), max(0, min(n, size - a))) for a, n, size in sides)
    source = tuple(slice(max(0, a), max(0, min(size, a + n))) for a, n, size in sides)
    if all(s.stop > s.start for s in into):
        out[into] = part[source]
    return out


@register_step
@dataclass(frozen=True)
class Crop(Window):
    """Cut to the body, to the mask, or to a box.

    Attributes:
        to: `body` (the largest connected part above `threshold`), `mask` (what is marked; needs
            the truth, so it is no step for prediction) or `box`.
        margin: Room kept on every side in mm (in voxels where the voxel size is unknown); it ends
            at the edge of the image.
        threshold: What counts as body, in modality units; None for Otsu's threshold.
        box: Lowest voxel then highest (exclusive), in the order of the axes, for `to="box"`.
    """

    name: ClassVar[str] = "crop"
    to: Literal["body", "mask", "box"] = "body"
    margin: float = 0.0
    threshold: float | None = None
    box: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice(self.name, "to", self.to, ("body", "mask", "box"))
        check_numbers(self.name, "margin", (self.margin,))
        if self.margin < 0:
            raise DataError(f"step 'crop': margin={self.margin} is below 0")
        if self.threshold is not None:
            check_numbers(self.name, "threshold", (self.threshold,))
        if (self.box is None) == (self.to == "box"):
            raise DataError("step 'crop': box= goes with to='box', and only with it")
        if self.box is not None:
            check_numbers(self.name, "box", self.box)
            half = len(self.box) // 2
            ends = zip(self.box[:half], self.box[half:], strict=False)
            if half not in (2, 3) or len(self.box) % 2 or any(a >= b for a, b in ends):
                raise DataError(f"step 'crop': box={self.box} is no lowest and highest corner")

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Cut; a case without any body or mark stays whole.

        Raises:
            DataError: There is no mask to cut to, or the box misses the image.
        """
        before = grid_of(case)
        low, high = self._ends(case, before.shape)
        spacing = case.geometry.spacing if case.geometry else (1.0,) * len(low)
        room = [int(np.ceil(self.margin / size - 1e-9)) for size in spacing]
        low = [max(0, a - r) for a, r in zip(low, room, strict=True)]
        high = [min(n, b + r) for b, r, n in zip(high, room, before.shape, strict=True)]
        if any(b <= a for a, b in zip(low, high, strict=True)):
            raise DataError(f"step 'crop': box={self.box} misses an image of {before.shape}")
        shape = tuple(b - a for a, b in zip(low, high, strict=True))
        return self._take(case, low, shape, np.zeros(1, case.image.dtype))

    def _ends(self, case: Case, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
        if self.box is not None:
            half = len(self.box) // 2
            if half != len(shape):
                raise DataError(f"step 'crop': box={self.box} for a grid of {len(shape)} axes")
            return [int(v) for v in self.box[:half]], [int(v) for v in self.box[half:]]
        found = mask_box(case) if self.to == "mask" else body_box(case, self.threshold)
        return found or ([0] * len(shape), list(shape))


@register_step
@dataclass(frozen=True)
class Pad(Window):
    """Padding on both sides up to a size, a multiple, or both; what is larger stays.

    Added voxels count as padding: statistics leave them out.

    Attributes:
        size: Least size of each axis; empty for none.
        multiple: Each size is brought to a multiple of this (one number, or one for each axis).
        value: `minimum` of each channel, or a number.
    """

    name: ClassVar[str] = "pad"
    size: tuple[int, ...] = ()
    multiple: int | tuple[int, ...] = 1
    value: Literal["minimum"] | float = "minimum"

    def __post_init__(self) -> None:
        """Check the options."""
        several = self.multiple if isinstance(self.multiple, tuple) else (self.multiple,)
        for option, values in (("size", self.size), ("multiple", several)):
            check_numbers(self.name, option, values, positive=True)
            if any(v != int(v) for v in values):
                raise DataError(f"step 'pad': {option}={values} must be whole numbers")
        if self.value != "minimum":
            check_numbers(self.name, "value", (self.value,))

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Pad.

        Raises:
            DataError: The options are for another number of axes.
        """
        old = grid_of(case).shape
        size = self.size or (1,) * len(old)
        several = self.multiple if isinstance(self.multiple, tuple) else (self.multiple,) * len(old)
        if not len(size) == len(several) == len(old):
            raise DataError(f"step 'pad': size or multiple for a grid of {len(old)} axes")
        shape = tuple(
            -(-max(n, least) // m) * m for n, least, m in zip(old, size, several, strict=True)
        )
        low = [-((new - n) // 2) for n, new in zip(old, shape, strict=True)]
        return self._take(case, low, shape, self._fill(case))

    def _fill(self, case: Case) -> Array:
        if self.value == "minimum":
            return np.asarray(case.image.reshape(-1, case.image.shape[-1]).min(axis=0))
        value = np.asarray(self.value, case.image.dtype)
        if float(value) != float(self.value):
            raise DataError(f"step 'pad': value={self.value} is no {case.image.dtype}")
        return value

"""Boxes of image and mask out of a store, from disk or from memory, filled up beyond the edges."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import DataError, nearest
from data_adapters.store import Store

Array = NDArray[Any]
Border = Literal["constant", "edge", "reflect"]
Cache = Literal["auto", "memory", "none"]

BORDERS = ("constant", "edge", "reflect")
CACHES = ("auto", "memory", "none")
OUTSIDE = -2
"""Mask value, within this package only, of voxels beyond the image."""
UNMEASURED = -3
"""The same for background voxels that the scanner did not measure (`Case.padding`)."""
VOID = -1
_MIB = 2**20


class PatchReader:
    """Reads boxes of the rows of a store; safe to share between threads.

    Attributes:
        store: The store.
        rows: The rows that may be read.
        in_memory: Whether each case is kept as arrays from its first reading on.
    """

    def __init__(
        self,
        store: Store,
        rows: Sequence[int],
        *,
        border: Border = "constant",
        pad_value: float | None = None,
        cache: Cache = "auto",
        memory_mb: float = 1024.0,
    ) -> None:
        """Check the rows; no voxel is read yet.

        Args:
            store: An open store.
            rows: Rows to read, each with a mask.
            border: What lies beyond the image: `constant` (`pad_value`), `edge` (the last voxel
                goes on) or `reflect`.
            pad_value: The constant; None is the lowest value of the case.
            cache: `memory` keeps every case in memory, `none` reads from disk each time, `auto`
                keeps them where all rows fit into `memory_mb`.
            memory_mb: Budget in MiB for cases in memory.

        Raises:
            DataError: No rows, unknown options, a row without a mask, with overlapping masks or
                with a mask value that is no class and not -1, pictures beside volumes, different
                channels, or rows too large for `memory`.
            CaseError: A row could not be read when the store was made.
        """
        _known(border, BORDERS, "border")
        _known(cache, CACHES, "cache")
        self.store, self.rows = store, tuple(int(row) for row in rows)
        self.border, self.pad_value = border, pad_value
        if pad_value is not None and not np.isfinite(pad_value):
            raise DataError(f"pad_value={pad_value} must be finite; leave it out for the lowest")
        if not self.rows:
            raise DataError("there are no rows to cut patches from; give at least one")
        self._facts = {row: self._checked(row) for row in self.rows}
        shapes = {(len(shape), shape[-1]) for shape in self._facts.values()}
        if len(shapes) > 1:
            found = ", ".join(f"{n - 1} axes with {c} channels" for n, c in sorted(shapes))
            raise DataError(
                f"the cases are of different kinds ({found}); make channels alike by the store's "
                'step {"step": "channels", "count": 1}, and keep pictures and volumes apart'
            )
        need = sum((4 * s[-1] + 3) * math.prod(s[:-1]) for s in self._facts.values()) / _MIB
        if cache == "memory" and need > memory_mb:
            raise DataError(
                f"{len(self.rows)} cases need {need:.0f} MiB in memory and memory_mb={memory_mb:g};"
                " raise it or choose cache='none'"
            )
        self.in_memory = cache != "none" and need <= memory_mb
        self._kept: dict[int, dict[str, Array]] = {}
        self._places: dict[int, Geometry | None] = {}
        self._guard = threading.Lock()

    @property
    def axes(self) -> int:
        """Spatial axes of the cases: 2 for pictures, 3 for volumes."""
        return len(self._facts[self.rows[0]]) - 1

    @property
    def channels(self) -> int:
        """Channels of the cases."""
        return int(self._facts[self.rows[0]][-1])

    def sides(self, row: int) -> tuple[int, ...]:
        """Voxels along the spatial axes of a case."""
        return self._facts[row][:-1]

    def geometry(self, row: int) -> Geometry | None:
        """Where the case lies after the store's steps."""
        if row not in self._places:
            self._places[row] = self.store.geometry(row)
        return self._places[row]

    def spacing(self, row: int) -> tuple[float, ...]:
        """Millimetres per voxel along the spatial axes; ones where they are not known."""
        place = self.geometry(row)
        return (1.0,) * self.axes if place is None else tuple(place.spacing)

    def pad(self, row: int) -> float:
        """Value beyond the image under the border `constant`."""
        return self.store.value_range(row)[0] if self.pad_value is None else float(self.pad_value)

    def mask(self, row: int, start: Sequence[int], size: Sequence[int]) -> Array:
        """A box inside the case, in the mask's stored type."""
        return self._inner(row, "mask", start, size)

    def box(self, row: int, start: Sequence[int], size: Sequence[int]) -> tuple[Array, Array]:
        """A box that may reach beyond the case.

        Returns:
            Image `(*size, C)` float32, mask `size` int16 with `OUTSIDE` beyond the image and
            `UNMEASURED` for background in the scanner's padding.
        """
        sides = self.sides(row)
        low = [min(max(0, a), n) for a, n in zip(start, sides, strict=True)]
        high = [min(max(0, a + s), n) for a, s, n in zip(start, size, sides, strict=True)]
        inner = [b - a for a, b in zip(low, high, strict=True)]
        if min(inner) < 1:
            image = np.full((*size, self.channels), self.pad(row), np.float32)
            return image, np.full(tuple(size), OUTSIDE, np.int16)
        image = self._inner(row, "image", low, inner).astype(np.float32)
        mask = self._inner(row, "mask", low, inner).astype(np.int16)
        if "padding" in self.store.arrays(row):
            mask[self._inner(row, "padding", low, inner) & (mask == 0)] = UNMEASURED
        if tuple(inner) == tuple(size):
            return image, mask
        around = [(a - s, s + n - b) for a, b, s, n in zip(low, high, start, size, strict=True)]
        return self._surround(row, image, around), np.pad(mask, around, constant_values=OUTSIDE)

    def _surround(self, row: int, image: Array, around: list[tuple[int, int]]) -> Array:
        widths = [*around, (0, 0)]
        if self.border == "constant":
            return np.pad(image, widths, constant_values=self.pad(row))
        return np.pad(image, widths, mode=self.border)

    def _inner(self, row: int, name: str, start: Sequence[int], size: Sequence[int]) -> Array:
        if not self.in_memory:
            return self.store.patch(row, start, size, array=name)
        kept = self._kept.get(row)
        if kept is None:
            kept = self._whole(row)
            with self._guard:
                kept = self._kept.setdefault(row, kept)
        return kept[name][tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]

    def _whole(self, row: int) -> dict[str, Array]:
        sides = self.sides(row)
        start = (0,) * len(sides)
        names = [name for name in self.store.arrays(row) if name != "masks"]
        found = {name: self.store.patch(row, start, sides, array=name) for name in names}
        if "mask" in found:
            found["mask"] = found["mask"].astype(np.int16)
        for array in found.values():
            array.setflags(write=False)
        return found

    def _checked(self, row: int) -> tuple[int, ...]:
        shape = self.store.shape(row)
        have = self.store.arrays(row)
        case = self.store.index[row].case_id
        if "masks" in have and "mask" not in have:
            raise DataError(
                f"case {case} has overlapping or fractional masks; patches need one class per "
                "voxel: choose one class, or merge them into one mask"
            )
        if "mask" not in have:
            raise DataError(f"case {case} has no mask; leave its row {row} out of training")
        low, high = self.store.value_range(row, "mask")
        if low < VOID or high >= len(self.store.class_names):
            names = ", ".join(f"{k}={name}" for k, name in enumerate(self.store.class_names))
            raise DataError(
                f"case {case}: the mask holds {low if low < VOID else high:g}, which is no class "
                f"({names}) and not -1 (unknown); put the labels right, or name the class"
            )
        return shape


def _known(name: str, choices: Sequence[str], what: str) -> None:
    if name not in choices:
        raise DataError(f"unknown {what} {name!r}{nearest(str(name), list(choices))}")

"""Where patches are cut: some on the foreground, the classes in turn, the rest anywhere.

Oversampling the foreground for a third of the patches is nnU-Net's rule (Isensee et al. 2021,
arXiv:1809.10486); taking the classes in turn gives rare ones as many patches as common ones.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError
from data_adapters.patches.reading import PatchReader
from data_adapters.patches.voxels import ClassVoxels, class_voxels
from data_adapters.store_patches import random_start

PLACES = 2000
"""Places kept per class and case."""
_ORDER, _PLACE = 1, 2
"""Keep the draws for the order of the cases and for the places apart."""


@dataclass(frozen=True)
class Place:
    """Where a patch is cut.

    Attributes:
        row: Row of the store.
        start: First voxel along the case's axes; negative where the patch begins before the case.
            For a 2D patch of a volume the first is its slice.
        target: Class on whose voxel it was placed; None where it was placed anywhere.
    """

    row: int
    start: tuple[int, ...]
    target: int | None = None


class PatchSampler:
    """Places of patches, each a pure function of (seed, epoch, index).

    Attributes:
        counts: `(len(rows), K)` voxels per row and class; column 0 is counted where the background
            takes turns.
        classes: Classes that take turns: those with a voxel in any of the rows.
    """

    def __init__(
        self,
        reader: PatchReader,
        *,
        patch_size: Sequence[int],
        batch_size: int,
        steps: int,
        seed: int,
        foreground: float = 1 / 3,
        jitter: float = 0.25,
        inside: bool = True,
        background: bool = False,
        places: int = PLACES,
        threads: int = 2,
    ) -> None:
        """Read all masks once and note where their classes lie.

        Args:
            reader: Reads the cases.
            patch_size: Voxels along the case's axes, or `(H, W)` for slices of volumes.
            batch_size: Patches per batch.
            steps: Batches per epoch.
            seed: Not negative.
            foreground: Share of patches placed on a foreground voxel, 0 to 1. Every batch of two
                or more has one at least, unless the share is 0; batches of one keep the share in
                the long run. Where no case has foreground all are placed anywhere.
            jitter: Largest distance of that voxel from the patch's centre, as a part of the
                patch's side, 0 to 0.5.
            inside: Whether patches end where the case does, as far as it is larger than they are.
                Otherwise every voxel can be the centre of a patch.
            background: Whether the background takes its turn among the classes, as one of them;
                with `foreground=1` every class is drawn equally often then.
            places: Voxels remembered per class and case.
            threads: Masks read at the same time.

        Raises:
            DataError: A number out of range, or a patch of the wrong number of axes.
        """
        self.reader = reader
        self.patch_size = _size(patch_size, reader.axes)
        if batch_size < 1 or steps < 1 or seed < 0 or places < 1 or threads < 1:
            raise DataError(
                f"batch_size={batch_size}, steps={steps}, places={places} and threads={threads} "
                f"must be at least 1, seed={seed} at least 0"
            )
        if not 0 <= foreground <= 1 or not 0 <= jitter <= 0.5:
            raise DataError(
                f"foreground={foreground} must lie in 0..1 and jitter={jitter} in 0..0.5"
            )
        self.batch_size, self.steps, self.seed, self.jitter = batch_size, steps, seed, jitter
        self.inside = inside
        share = batch_size * foreground
        self._rate = max(share, 1.0) if batch_size > 1 and share > 0 else share
        names = len(reader.store.class_names)

        def indexed(row: int) -> ClassVoxels:
            return class_voxels(reader, row, limit=places, background=background)

        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(indexed, reader.rows))
        self._voxels = dict(zip(reader.rows, found, strict=True))
        self.counts: NDArray[np.int64] = np.array(
            [[voxels.counts.get(k, 0) for k in range(names)] for voxels in found], np.int64
        ).reshape(len(found), names)
        first = 0 if background else 1
        self.classes = tuple(k for k in range(first, names) if self.counts[:, k].any())
        self._holders = {
            k: [row for row, voxels in self._voxels.items() if k in voxels.counts]
            for k in self.classes
        }

    def place(self, epoch: int, index: int) -> Place:
        """The place of one patch.

        Args:
            epoch: From 0.
            index: Number of the patch within the epoch, from 0.
        """
        rng = np.random.default_rng((self.seed, epoch, index, _PLACE))
        turn = self._turn(epoch, index)
        if turn is not None and self.classes:
            return self._on_foreground(self.classes[turn % len(self.classes)], rng)
        rows = self.reader.rows
        cycle, number = divmod(epoch * self.steps * self.batch_size + index, len(rows))
        row = rows[_order(self.seed, cycle, len(rows))[number]]
        sides, box = self.reader.sides(row), self._box()
        if self.inside:
            return Place(row, random_start(sides, box, rng))
        centre = (int(rng.integers(side)) for side in sides)
        return Place(row, tuple(at - n // 2 for at, n in zip(centre, box, strict=True)))

    def _turn(self, epoch: int, index: int) -> int | None:
        """How many foreground patches came before, where this is one; the last of a batch are."""
        number, place = divmod(index, self.batch_size)
        batch = epoch * self.steps + number
        before = math.floor(batch * self._rate + 1e-9)
        count = math.floor((batch + 1) * self._rate + 1e-9) - before
        rest = place - (self.batch_size - count)
        return before + rest if rest >= 0 else None

    def _on_foreground(self, k: int, rng: np.random.Generator) -> Place:
        holders = self._holders[k]
        row = holders[int(rng.integers(len(holders)))]
        places = self._voxels[row].places[k]
        sides = self.reader.sides(row)
        voxel = np.unravel_index(int(places[rng.integers(len(places))]), sides)
        start = []
        for at, side, size in zip(voxel, sides, self._box(), strict=True):
            off = 0.0 if size == 1 else rng.uniform(-self.jitter, self.jitter) * size
            first = math.floor(int(at) - (size - 1) / 2 + off + 0.5)
            first = min(max(first, int(at) - size + 1), int(at))
            if self.inside:
                first = min(max(first, min(0, side - size)), max(0, side - size))
            start.append(first)
        return Place(row, tuple(start), k)

    def _box(self) -> tuple[int, ...]:
        """Voxels of the patch along the case's axes."""
        return (1,) * (self.reader.axes - len(self.patch_size)) + self.patch_size


@functools.lru_cache(maxsize=16)
def _order(seed: int, cycle: int, rows: int) -> tuple[int, ...]:
    """The rows in a random order, another in each cycle: each comes once before any comes again."""
    drawn = np.random.default_rng((seed, cycle, _ORDER)).permutation(rows)
    return tuple(int(place) for place in drawn)


def _size(patch_size: Sequence[int], axes: int) -> tuple[int, ...]:
    size = tuple(int(n) for n in patch_size)
    if len(size) not in (2, axes) or min(size) < 1 or size != tuple(patch_size):
        wanted = "(H, W)" if axes == 2 else "(D, H, W), or (H, W) for slices"
        raise DataError(f"patch_size={tuple(patch_size)} of cases of {axes} axes; give {wanted}")
    return size

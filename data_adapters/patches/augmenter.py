"""Random changes of patches and their masks, repeatable from (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.patches.axes import flip_axes
from data_adapters.patches.intensity import change_values
from data_adapters.patches.policy import PatchPolicy
from data_adapters.patches.reading import OUTSIDE, VOID
from data_adapters.patches.resample import Places
from data_adapters.patches.warp import draw_warp, thick_axes

Array = NDArray[Any]
Read = Callable[[Sequence[int], Sequence[int]], tuple[Array, Array]]

_SPACE, _VALUES = 3, 4
"""Keep the draws of the sampler, of geometry and of values apart."""


class PatchAugmenter:
    """Applies a policy to patches; safe to share between threads."""

    def __init__(self, policy: PatchPolicy, *, unit: float = 1.0) -> None:
        """Store the policy.

        Args:
            policy: What may be done.
            unit: One standard deviation of the data in the images' values: 1 after a z-score,
                about 60 for pictures of 0 to 255.

        Raises:
            DataError: A unit that is not above 0.
        """
        if not 0 < unit < float("inf"):
            raise DataError(f"unit={unit} must be above 0 and finite")
        self.policy, self.unit = policy, unit

    def __call__(
        self,
        image: Array,
        mask: Array,
        seed: tuple[int, int, int],
        *,
        geometry: Geometry | None = None,
    ) -> tuple[Array, Array]:
        """Change one patch that is all there is: beyond it the image's edge goes on, unknown (-1).

        Args:
            image: `(*size, C)`, two or three axes of space; left as it is.
            mask: `size`, integers.
            seed: (seed, epoch, index), none negative.
            geometry: Where the case lies, for its spacing and directions.

        Returns:
            Image float32 and mask int16, of the same shapes.

        Raises:
            DataError: Shapes that do not fit each other.
        """
        if image.shape[:-1] != mask.shape or mask.ndim not in (2, 3):
            raise DataError(
                f"image of shape {image.shape} and mask of shape {mask.shape}: wanted (H,W,C) with "
                "(H,W) or (D,H,W,C) with (D,H,W)"
            )

        def read(offset: Sequence[int], size: Sequence[int]) -> tuple[Array, Array]:
            index = np.ix_(*(np.arange(a, a + n) for a, n in zip(offset, size, strict=True)))
            near = tuple(np.clip(i, 0, n - 1) for i, n in zip(index, mask.shape, strict=True))
            known = np.ones((), bool)
            for given, held in zip(index, near, strict=True):
                known = known & (given == held)
            cut = np.where(known, mask[near], OUTSIDE)
            return image[near].astype(np.float32), cut.astype(np.int16)

        changed, labels = self.read(read, mask.shape, seed, geometry=geometry)
        labels[labels == OUTSIDE] = VOID
        return changed, labels

    def read(
        self,
        read: Read,
        size: tuple[int, ...],
        seed: tuple[int, int, int],
        *,
        geometry: Geometry | None = None,
        fill: float | None = None,
        slices: int = 1,
    ) -> tuple[Array, Array]:
        """Change one patch, reading around it what a rotation brings in.

        Args:
            read: `read(offset, size)` gives image `(*size, C)` float32 and mask of a box that
                begins `offset` voxels from the patch, which may both be changed; masks hold
                `OUTSIDE` beyond the case.
            size: Sides of the patch.
            seed: (seed, epoch, index), none negative.
            geometry: As of `__call__`.
            fill: Value beyond the case; None leaves there what was read.
            slices: Neighbouring slices that the channels hold, as `cutting.cut` orders them; all
                slices have their values changed alike.

        Returns:
            Image `(*size, C)` float32 and mask `size` int16, which may hold `OUTSIDE` and
            `UNMEASURED`.
        """
        space = np.random.default_rng((*seed, _SPACE))
        spacing = (1.0,) * len(size) if geometry is None else geometry.spacing[-len(size) :]
        warp = draw_warp(self.policy, size, spacing, space)
        if warp is None:
            image, mask = read((0,) * len(size), size)
        else:
            image, mask = self._resampled(*read(*warp.box()), warp.places())
        image, mask = self._mirrored(image, mask, geometry, spacing, space)
        outside = mask <= OUTSIDE
        padded = bool(outside.any())
        if padded and fill is not None and warp is not None:
            np.copyto(image, np.float32(fill), where=(mask == OUTSIDE)[..., None])
        # What is changed alike becomes an axis of space: slices side by side, colours.
        alike = slices if self.policy.per_channel else image.shape[-1]
        image = change_values(
            image.reshape(*size, alike, -1),
            self.policy,
            np.random.default_rng((*seed, _VALUES)),
            outside=np.broadcast_to(outside[..., None], (*size, alike)) if padded else None,
            thick=(*thick_axes(spacing, self.policy.thick), True),
            unit=self.unit,
        )
        return image.reshape(*size, -1), mask

    def _resampled(self, image: Array, mask: Array, places: Places) -> tuple[Array, Array]:
        out = np.empty((*places.shape, image.shape[-1]), np.float32)
        pick = places.linear if self.policy.image_order == 1 else places.cubic
        for c in range(image.shape[-1]):
            out[..., c] = pick(image[..., c])
        by = places.classes if self.policy.mask_by == "linear" else places.nearest
        return out, by(mask)

    def _mirrored(
        self,
        image: Array,
        mask: Array,
        geometry: Geometry | None,
        spacing: Sequence[float],
        rng: np.random.Generator,
    ) -> tuple[Array, Array]:
        """Flips and quarter turns: exact, and the classes of `swaps` exchanged where due."""
        axes = mask.ndim
        chances, quarters = rng.random(axes), int(rng.integers(4))
        allowed, swap = flip_axes(self.policy, geometry, axes=axes)
        chosen = tuple(axis for axis in allowed if chances[axis] < self.policy.flip)
        if chosen:
            image, mask = np.flip(image, chosen), np.flip(mask, chosen)
        if swap in chosen:
            mask = _swapped(mask, self.policy.swaps)
        if self.policy.quarter_turns:
            alike = mask.shape[-1] == mask.shape[-2]
            alike = alike and abs(spacing[-1] / spacing[-2] - 1) < 0.01
            turns = quarters if alike else 2 * (quarters % 2)
            plane = (axes - 2, axes - 1)
            image, mask = np.rot90(image, turns, plane), np.rot90(mask, turns, plane)
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _swapped(mask: Array, swaps: Sequence[tuple[int, int]]) -> Array:
    """The mask with the classes of each pair exchanged."""
    out = mask.copy()
    for a, b in swaps:
        out[mask == a], out[mask == b] = b, a
    return out

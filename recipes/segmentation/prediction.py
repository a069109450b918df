"""From a preprocessed case to labels or probabilities: by slice or volume, one or more networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from data_adapters.patches import stack_context
from data_adapters.transforms.base import Undo
from data_adapters.transforms.compose import invert_probabilities
from recipes.segmentation.inference import (
    Network,
    mirrored_views,
    predict_probabilities,
    probability_slabs,
)
from recipes.segmentation.scratch import Scratch, most_probable

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Member: TypeAlias = keras.Model | Network

LARGE = 5e8
"""Bytes of probabilities beyond which they wait on disk until their classes are compared."""
LARGE_PASS_GB = 0.8
"""What one pass of a network may take then, 10^9 bytes."""


@dataclass(frozen=True)
class Predictor:
    """How cases are predicted; the same in validation, evaluation and prediction.

    Attributes:
        axes: Spatial axes of the network.
        patch: Sides of the patches it was trained on.
        neighbours: Slices on either side that it sees as channels.
        mode: ``auto``, ``tiles`` or ``blend``.
        overlap: Overlap of blended windows.
        memory_gb: What one pass of a network may take, 10^9 bytes.
        fill: What lies around a case smaller than the patch; None for its lowest value.
    """

    axes: int
    patch: tuple[int, ...]
    neighbours: int = 0
    mode: str = "auto"
    overlap: float = 0.5
    memory_gb: float = 2.0
    fill: float | None = None

    def ready(self, members: Sequence[Member]) -> list[Network]:
        """The networks and what their graphs say, for many cases under the same weights."""
        return [m if isinstance(m, Network) else Network(m, self.patch) for m in members]

    def probabilities(
        self, members: Sequence[Member], image: Array, *, mirrors: Sequence[int]
    ) -> Floats:
        """Mean probabilities of members and mirrored views.

        Args:
            members: Networks with one tensor of logits.
            image: ``(D, H, W, C)`` or ``(H, W, C)`` after the chain.
            mirrors: Axes of the image along which views are mirrored, each alone and together.

        Returns:
            ``(*grid, K)`` float32.
        """
        if image.ndim - 1 == self.axes:
            return self._predict(members, image, mirrors)
        inside = [axis - 1 for axis in mirrors if axis > 0]
        return np.stack([self._predict(members, one, inside) for one in self._slices(image)])

    def labels(
        self,
        members: Sequence[Member],
        image: Array,
        undos: Sequence[Undo] = (),
        *,
        mirrors: Sequence[int],
        limit: float = LARGE,
    ) -> npt.NDArray[np.uint8]:
        """The most probable class of every voxel, on the grid before the chain.

        Args:
            members: Networks with one tensor of logits.
            image: ``(D, H, W, C)`` or ``(H, W, C)`` after the chain.
            undos: What leads back; none: the labels stay on the image's grid.
            mirrors: Axes of the image along which views are mirrored.
            limit: Bytes of probabilities, on the larger grid, up to which they are in memory all
                at once; beyond it they go to a file under ``RADZOO_HOME`` and come back class by
                class. The labels are the same.
        """
        networks = self.ready(members)
        grids = [image.shape[:-1], *(undo.before.shape for undo in undos)]
        if 4 * networks[0].classes * max(map(math.prod, grids)) <= limit:
            found = self.probabilities(networks, image, mirrors=mirrors)
            return np.asarray(invert_probabilities(found, undos).argmax(axis=-1), np.uint8)
        with Scratch((*image.shape[:-1], networks[0].classes)) as kept:
            views = self._collect(kept, networks, image, mirrors)
            del image  # nobody here holds it while classes are compared: a caller may let it go
            return most_probable(kept, undos, scale=1 / views)

    def _collect(
        self, kept: Scratch, networks: Sequence[Network], image: Array, mirrors: Sequence[int]
    ) -> int:
        """Sum the probabilities of all views of a large image on disk; how many views."""
        views = mirrored_views(mirrors, image.ndim - 1) if image.ndim - 1 == self.axes else [()]
        for view in views:
            for first, last, values in self._slabs(networks, image, mirrors, view):
                if view == views[0]:
                    kept.values[first:last] = values
                else:
                    kept.values[first:last] += values
                kept.release()
        return len(views)

    def _slabs(
        self,
        networks: Sequence[Network],
        image: Array,
        mirrors: Sequence[int],
        view: tuple[int, ...],
    ) -> Iterator[tuple[int, int, Floats]]:
        """Probabilities of a large image, rows after each other: of one view, or of each slice."""
        if image.ndim - 1 > self.axes:
            inside = [axis - 1 for axis in mirrors if axis > 0]
            for row, one in enumerate(self._slices(image)):
                yield row, row + 1, self._predict(networks, one, inside)[None]
            return
        padded, inner = at_least(image, self.patch, self.fill)
        start, stop, _ = inner[0].indices(padded.shape[0])
        memory_gb = min(self.memory_gb, LARGE_PASS_GB)
        for first, last, values in probability_slabs(
            list(networks), padded, view=view, memory_gb=memory_gb, **self._options()
        ):
            low, high = max(first, start), min(last, stop)
            if low < high:
                part = values[(slice(low - first, high - first), *inner[1:])]
                yield low - start, high - start, part

    def _slices(self, volume: Array) -> Iterator[Array]:
        """Each slice, its neighbours as further channels."""
        for row in range(len(volume)):
            yield self.slice_of(volume, row)

    def slice_of(self, volume: Array, row: int) -> Array:
        """A slice ``(H, W, C)`` of a volume, its neighbours as further channels."""
        n = self.neighbours
        low = max(0, row - n)
        part = volume[low : row + n + 1]
        found: Array = stack_context(part, n)[row - low] if n else part[0]
        return found

    def _options(self) -> dict[str, Any]:
        return {"patch_size": self.patch, "mode": self.mode, "overlap": self.overlap}

    def _predict(self, members: Sequence[Member], image: Array, mirrors: Sequence[int]) -> Floats:
        padded, inner = at_least(image, self.patch, self.fill)
        found = predict_probabilities(
            list(members),
            padded,
            **self._options(),
            mirror_axes=tuple(mirrors),
            memory_gb=self.memory_gb,
        )
        return found[inner]


def at_least(
    image: Array, patch: Sequence[int], fill: float | None
) -> tuple[Array, tuple[slice, ...]]:
    """The image, at least as large as a patch, filled up as training patches are.

    Args:
        image: ``(*grid, C)``.
        patch: Least sides.
        fill: What is around it; None for the lowest value of each channel.

    Returns:
        The larger image, and where the image lies in it.
    """
    pads = [max(0, side - n) for side, n in zip(patch, image.shape[:-1], strict=True)]
    if not any(pads):
        return image, (slice(None),) * (image.ndim - 1)
    before = [pad // 2 for pad in pads]
    width = [(b, pad - b) for b, pad in zip(before, pads, strict=True)]
    low = image.min(axis=tuple(range(image.ndim - 1)))
    if fill is not None:
        low = np.full_like(low, fill)
    channels = [
        np.pad(image[..., c], width, constant_values=low[c]) for c in range(image.shape[-1])
    ]
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.shape[:-1], strict=True))
    return np.stack(channels, axis=-1), inner

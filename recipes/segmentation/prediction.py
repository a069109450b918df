"""From a preprocessed case to labels or probabilities: by slice or volume, one or more networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from data_adapters.patches import stack_context
from recipes.segmentation.inference import Network, predict_probabilities

Array = npt.NDArray[Any]
Member: TypeAlias = keras.Model | Network


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
    """

    axes: int
    patch: tuple[int, ...]
    neighbours: int = 0
    mode: str = "auto"
    overlap: float = 0.5
    memory_gb: float = 2.0

    def ready(self, members: Sequence[keras.Model]) -> list[Network]:
        """The networks and what their graphs say, for many cases under the same weights."""
        return [Network(member, self.patch) for member in members]

    def probabilities(
        self, members: Sequence[Member], image: Array, *, mirrors: Sequence[int]
    ) -> npt.NDArray[np.float32]:
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
        stack = stack_context(image, self.neighbours) if self.neighbours else image
        inside = [axis - 1 for axis in mirrors if axis > 0]
        return np.stack([self._predict(members, one, inside) for one in stack])

    def labels(
        self, members: Sequence[Member], image: Array, *, mirrors: Sequence[int]
    ) -> npt.NDArray[np.uint8]:
        """The most probable class of every voxel."""
        found = self.probabilities(members, image, mirrors=mirrors)
        return np.asarray(found.argmax(axis=-1), np.uint8)

    def _predict(
        self, members: Sequence[Member], image: Array, mirrors: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        padded, inner = _padded(image, self.patch)
        found = predict_probabilities(
            list(members),
            padded,
            patch_size=self.patch,
            mode=self.mode,
            overlap=self.overlap,
            mirror_axes=tuple(mirrors),
            memory_gb=self.memory_gb,
        )
        return found[inner]


def _padded(image: Array, patch: Sequence[int]) -> tuple[Array, tuple[slice, ...]]:
    """The image, at least as large as a patch, filled up as training patches are: by its lowest."""
    pads = [max(0, side - n) for side, n in zip(patch, image.shape[:-1], strict=True)]
    if not any(pads):
        return image, (slice(None),) * (image.ndim - 1)
    before = [pad // 2 for pad in pads]
    width = [(b, pad - b) for b, pad in zip(before, pads, strict=True)]
    low = image.min(axis=tuple(range(image.ndim - 1)))
    channels = [
        np.pad(image[..., c], width, constant_values=low[c]) for c in range(image.shape[-1])
    ]
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.shape[:-1], strict=True))
    return np.stack(channels, axis=-1), inner

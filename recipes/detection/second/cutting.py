"""Patches around a place, of a fixed size in millimetres, turned and scaled on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from data_adapters.case import Case

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Kind = Literal["2d", "2.5d", "3d"]

COARSE = 1.5
"""Voxels per pixel of the patch from which the image is smoothed before it is sampled."""
SAMPLE = 200_000
"""Voxels, at most, from which a case's range of values is taken."""


@dataclass(frozen=True)
class Cut:
    """How patches are cut.

    Attributes:
        kind: ``2d``; ``2.5d``: three orthogonal planes as channels (Roth et al., MICCAI 2014,
            arXiv:1406.2639); ``3d``.
        side: Pixels of a side.
        field: Extent of a side in mm (pixels of the image where its voxel size is unknown).
        window: Values that become 0 and 255; None takes the 0.5th and 99.5th percentile of each
            case.
    """

    kind: Kind
    side: int
    field: float
    window: tuple[float, float] | None = None

    def shape(self, channels: int) -> tuple[int, ...]:
        """Shape of a patch of an image with so many channels."""
        if self.kind == "3d":
            return (self.side,) * 3 + (channels,)
        return (self.side, self.side, channels * (3 if self.kind == "2.5d" else 1))


@dataclass(frozen=True)
class Move:
    """A random change of a patch's place.

    Attributes:
        shift: Away from the centre, mm, shape (D,).
        turn: What the patch's axes become, shape (D, D): a rotation times a scale, mirrored or not.
    """

    shift: Floats
    turn: Floats


def draw_move(
    rng: np.random.Generator, cut: Cut, axes: int, reach: float, mirrored: tuple[int, ...]
) -> Move:
    """A shift up to half a lesion's radius, any turn in the plane, a scale of 0.8 to 1.25.

    Args:
        rng: Generator.
        cut: How patches are cut.
        axes: Axes of the image.
        reach: Radius of the lesion, mm.
        mirrored: Axes that may be mirrored.
    """
    shift = rng.uniform(-0.5, 0.5, axes) * reach
    turn = np.eye(axes)
    angle = rng.uniform(-np.pi, np.pi) if cut.kind != "2.5d" else rng.uniform(-0.26, 0.26)
    c, s = np.cos(angle), np.sin(angle)
    turn[-2:, -2:] = [[c, -s], [s, c]]
    turn = turn * float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
    for axis in mirrored:
        if rng.uniform() < 0.5:
            turn[:, axis] *= -1
    return Move(shift, turn)


def pixels(case: Case, cut: Cut) -> npt.NDArray[np.float32]:
    """The image of a case on the scale 0 to 255."""
    image = case.image
    if image.dtype == np.uint8 and cut.window is None:
        return image.astype(np.float32)
    if cut.window is not None:
        low, high = cut.window
    else:
        values = image.reshape(-1, image.shape[-1])[:, 0]
        values = values[:: max(1, len(values) // SAMPLE)]
        low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    scaled = (image.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    return np.asarray(np.clip(scaled, 0, 255), np.float32)


def cut_patch(
    image: npt.NDArray[np.float32], spacing: Floats, centre: Floats, cut: Cut, move: Move | None
) -> npt.NDArray[np.uint8]:
    """One patch, linearly sampled; beyond the image it is 0.

    Args:
        image: ``(*grid, C)`` as `pixels` gives it.
        spacing: Voxel size along the axes, mm.
        centre: Voxel index.
        cut: How.
        move: A random change; None for none.
    """
    axes = len(spacing)
    places = _places(cut, axes)
    if move is not None:
        places = places @ move.turn.T + move.shift
    index = np.moveaxis(centre + places / spacing, -1, 0)
    low = np.maximum(np.floor(index.reshape(axes, -1).min(axis=1)).astype(int) - 4, 0)
    high = np.ceil(index.reshape(axes, -1).max(axis=1)).astype(int) + 5
    part = image[tuple(slice(a, max(b, a + 1)) for a, b in zip(low, high, strict=True))]
    shape = cut.shape(image.shape[-1])
    if part.size == 0:
        return np.zeros(shape, np.uint8)
    coarse = cut.field / cut.side / spacing
    smooth = [0.4 * c if c > COARSE else 0.0 for c in coarse]
    found = []
    for channel in np.moveaxis(part, -1, 0):
        values = ndimage.gaussian_filter(channel, smooth) if any(smooth) else channel
        shifted = index - low.reshape(-1, *(1,) * (index.ndim - 1))
        found.append(ndimage.map_coordinates(values, shifted, order=1, cval=0.0))
    stacked = np.stack(found, axis=-1)
    if cut.kind == "2.5d":  # (plane, side, side, C) to (side, side, plane * C)
        stacked = np.moveaxis(stacked, 0, 2).reshape(shape)
    return np.asarray(np.clip(np.rint(stacked), 0, 255), np.uint8)


def _places(cut: Cut, axes: int) -> Floats:
    """Offsets of the patch's pixels from its centre in mm, image axes last."""
    line = (np.arange(cut.side) - (cut.side - 1) / 2) * (cut.field / cut.side)
    if cut.kind == "3d":
        return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)
    rows, columns = np.meshgrid(line, line, indexing="ij")
    if axes == 2:
        return np.stack([rows, columns], axis=-1)
    planes = np.zeros((3, *rows.shape, 3))
    for away in range(3):
        first, second = (axis for axis in range(3) if axis != away)
        planes[away, ..., first], planes[away, ..., second] = rows, columns
    return planes if cut.kind == "2.5d" else planes[0]

"""Values of a case to values of a network: CT windows, and statistics of MR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case
from data_adapters.errors import DataError
from data_adapters.transforms.base import (
    Step,
    Undo,
    check_choice,
    check_numbers,
    grid_of,
    register_step,
)
from data_adapters.transforms.region import foreground, measured

Array = NDArray[Any]

CHUNK = 2**22
"""Values whose moments are taken at once."""


@register_step
@dataclass(frozen=True)
class Windows(Step):
    """CT windows as channels, each from 0 (at centre - width / 2) to 1 (at centre + width / 2).

    As DICOM's `LINEAR_EXACT` (PS3.3 C.11.2.1.3.2), since the values are no integers.

    Attributes:
        windows: (centre, width) pairs in modality units.
    """

    name: ClassVar[str] = "windows"
    windows: tuple[tuple[float, float], ...] = ((40.0, 400.0),)

    def __post_init__(self) -> None:
        """Check the pairs."""
        if not isinstance(self.windows, tuple) or not self.windows:
            raise DataError("step 'windows': windows= must be pairs of centre and width")
        for pair in self.windows:
            check_numbers(self.name, "windows", pair)
            if len(tuple(pair)) != 2 or pair[-1] <= 0:
                raise DataError(f"step 'windows': {pair} is no centre and width above 0")

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Make the channels.

        Raises:
            DataError: The case has several channels already.
        """
        if case.image.shape[-1] != 1:
            raise DataError(
                f"step 'windows' takes one channel, the case has {case.image.shape[-1]}"
            )
        image: Array = np.empty((*case.image.shape[:-1], len(self.windows)), np.float32)
        for c, (centre, width) in enumerate(self.windows):
            values = image[..., c]
            values[...] = case.image[..., 0]
            values -= np.float32(centre - width / 2)
            values /= np.float32(width)
            np.clip(values, 0, 1, out=values)
        grid = grid_of(case)
        return replace(case, image=image), Undo(self, grid, grid)


@register_step
@dataclass(frozen=True)
class Normalize(Step):
    """Each channel by statistics of the whole case; padding is left out of them.

    Padding afterwards holds the lowest measured value.

    Attributes:
        how: `zscore` (mean 0, standard deviation 1) or `percentile` (`low` to 0 and `high` to 1).
        region: Voxels that count: `image`, `foreground` (above Otsu's threshold) or `mask` (what
            is marked; needs the truth, so it is no step for prediction).
        low: Lower percentile.
        high: Upper percentile. Values beyond the two are clipped, before the mean is taken; 0 and
            100 clip nothing.
    """

    name: ClassVar[str] = "normalize"
    how: Literal["zscore", "percentile"] = "zscore"
    region: Literal["image", "foreground", "mask"] = "image"
    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice(self.name, "how", self.how, ("zscore", "percentile"))
        check_choice(self.name, "region", self.region, ("image", "foreground", "mask"))
        check_numbers(self.name, "low and high", (self.low, self.high))
        if not 0 <= self.low < self.high <= 100:
            raise DataError(f"step 'normalize': percentiles {self.low} and {self.high}")

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Normalise; a constant channel becomes 0.

        Raises:
            DataError: Nothing was measured or marked in the region.
        """
        known = measured(case)
        image: Array = np.empty(case.image.shape, np.float32)
        scales = []
        for c in range(image.shape[-1]):
            values = image[..., c]
            values[...] = case.image[..., c]
            inside = self._inside(case, c, known)
            if not inside.size:
                raise DataError("step 'normalize': the case has no voxel in the region")
            bottom, top = (float(v) for v in np.percentile(inside, (self.low, self.high)))
            shift, scale = bottom, top - bottom
            if self.how == "zscore":
                shift, scale = _moments(inside, bottom, top)
            steady = scale <= 1e-7 * max(abs(bottom), abs(top), 1e-30)
            if self.low > 0 or self.high < 100 or self.how == "percentile":
                np.clip(values, bottom, top, out=values)
            if steady:
                values[...] = 0.0
            else:
                values -= shift
                values /= scale
            scales.append((shift, scale))
        if known is not None:
            image[~known] = image[known].min(axis=0)
        grid = grid_of(case)
        return replace(case, image=image), Undo(self, grid, grid, {"scales": tuple(scales)})

    def _inside(self, case: Case, channel: int, known: Array | None) -> Array:
        """Values that count, flat."""
        values = case.image[..., channel]
        if self.region == "foreground":
            return np.asarray(values[foreground(case, channel)])
        if self.region == "mask":
            return np.asarray(values[_marked(case) & (True if known is None else known)])
        return np.asarray(values.ravel() if known is None else values[known])


def _moments(values: Array, bottom: float, top: float) -> tuple[float, float]:
    """Mean and standard deviation of clipped values, in float64, with little memory."""
    parts = np.array_split(values, -(-values.size // CHUNK))
    mean = sum(float(np.clip(p, bottom, top).sum(dtype=np.float64)) for p in parts) / values.size
    squares = sum(
        float(np.square(np.clip(p, bottom, top).astype(np.float64) - mean).sum()) for p in parts
    )
    return mean, float(np.sqrt(squares / values.size))


def _marked(case: Case) -> Array:
    if case.mask is not None:
        return case.mask > 0
    if case.masks is not None:
        return np.asarray((case.masks > 0).any(axis=-1))
    raise DataError("step 'normalize': region='mask', and the case has no mask")

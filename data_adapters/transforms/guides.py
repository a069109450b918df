"""Steps that follow an earlier network: a box around what it found, or what it found as channels.

The guide comes with the case, so that one chain serves every case: the box in `meta["region"]`, the
classes in `masks`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case
from data_adapters.errors import DataError
from data_adapters.transforms.base import Step, Undo, check_numbers, grid_of, register_step
from data_adapters.transforms.layout import Crop, Window

Array = NDArray[Any]

REGION = "region"
"""Key of a case's `meta`: lowest voxel then highest (exclusive) of the box, `()` for none."""


@register_step
@dataclass(frozen=True)
class Region(Window):
    """Cut to the box that the case brings in `meta["region"]`.

    Attributes:
        margin: Room kept on every side in mm (in voxels where the voxel size is unknown); it ends
            at the edge of the image.
    """

    name: ClassVar[str] = REGION
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Check the margin."""
        check_numbers(self.name, "margin", (self.margin,))
        if self.margin < 0:
            raise DataError(f"step 'region': margin={self.margin} is below 0")

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Cut; a case whose region is empty stays whole.

        Raises:
            DataError: The case brings no region, or one that misses the image.
        """
        if REGION not in case.meta:
            raise DataError(
                "step 'region': the case brings no region; the chain is that of a later stage, "
                "which the stage before it has to lead"
            )
        box = tuple(int(v) for v in case.meta[REGION])
        if not box:
            grid = grid_of(case)
            return case, Undo(self, grid, grid, {"low": (0,) * len(grid.shape)})
        cut, undo = Crop(to="box", box=box, margin=self.margin).apply(case)
        return cut, replace(undo, step=self)


@register_step
@dataclass(frozen=True)
class Prior(Step):
    """Show the classes that the case brings in `masks` as further channels, after the image's own.

    The masks have moved with the image through the steps before; they are used up.

    Attributes:
        low: Value of a channel where its class is not.
        high: Value where it is.
    """

    name: ClassVar[str] = "prior"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        check_numbers(self.name, "low and high", (self.low, self.high))

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """Add the channels.

        Raises:
            DataError: The case brings no masks.
        """
        if case.masks is None:
            raise DataError(
                "step 'prior': the case brings no masks; the chain is that of a later stage, "
                "which the stage before it has to lead"
            )
        shown = self.low + (self.high - self.low) * case.masks.astype(np.float32)
        image = np.concatenate([case.image.astype(np.float32, copy=False), shown], axis=-1)
        grid = grid_of(case)
        return replace(case, image=image, masks=None), Undo(self, grid, grid)

"""What reading a stack gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Display, Geometry


@dataclass(frozen=True, eq=False)
class StackImage:
    """A stack as an array.

    Attributes:
        image: (D, H, W, C), or (H, W, C) of a picture; grey float32 in modality units, colour uint8
            or uint16.
        padding: Boolean, the same without the channel axis: pixels whose values were replaced.
        display: Windows, tables and polarity, none of it applied.
        geometry: Where the voxels lie.
        meta: Facts about the study that name nobody.
        notes: Slugs of what reading had to put right or leaves open.
    """

    image: NDArray[Any]
    padding: NDArray[np.bool_] | None
    display: Display
    geometry: Geometry | None
    meta: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

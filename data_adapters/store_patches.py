"""Random boxes out of a store, for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError
from data_adapters.store import Store, check_array


@dataclass(frozen=True, eq=False)
class Patch:
    """A box cut out of one case.

    Attributes:
        row: Row of the store.
        start: First voxel along the image axes; negative where the box begins before the image.
        arrays: Name (`image`, `mask`, `masks`, `padding`) -> the box of that array.
    """

    row: int
    start: tuple[int, ...]
    arrays: dict[str, NDArray[Any]]


def random_patches(
    store: Store,
    size: Sequence[int],
    *,
    rng: np.random.Generator,
    rows: Sequence[int] | None = None,
    count: int | None = None,
    arrays: Sequence[str] = ("image",),
    pad_value: float | None = None,
) -> Iterator[Patch]:
    """Boxes at random places of random cases, every place of a case as likely as another.

    A box lies within its image; along an axis on which the image is smaller, the image lies within
    the box, at a random place.

    Args:
        store: An open store.
        size: Voxels along the image axes.
        rng: Source of the draws.
        rows: Cases to draw from, each as likely; None is all that are usable.
        count: Number of boxes; None goes on for ever.
        arrays: What to cut; an array that a case does not have is left out there.
        pad_value: Value outside the image, as in `Store.patch`; masks are filled with 0.

    Raises:
        DataError: There are no rows, an array is not known, or the size does not fit an image.
    """
    chosen = list(store.usable() if rows is None else rows)
    if not chosen:
        raise DataError("there are no cases to cut patches from")
    for name in arrays:
        check_array(name)
    done = 0
    while count is None or done < count:
        row = int(chosen[int(rng.integers(len(chosen)))])
        sides = store.shape(row)[:-1]
        if len(sides) != len(size):
            raise DataError(f"patches of size {tuple(size)} from an image of grid {sides}")
        start = random_start(sides, size, rng)
        have = store.arrays(row)
        cut = {
            name: store.patch(
                row, start, size, array=name, pad_value=pad_value if name == "image" else None
            )
            for name in arrays
            if name in have
        }
        yield Patch(row, start, cut)
        done += 1


def random_start(
    sides: Sequence[int], size: Sequence[int], rng: np.random.Generator
) -> tuple[int, ...]:
    """First voxel of a box within an image; along a shorter axis the image lies within the box.

    Args:
        sides: Voxels of the image along its axes.
        size: Voxels of the box.
        rng: Source of the draws.
    """
    return tuple(
        int(rng.integers(min(0, n - s), max(0, n - s) + 1))
        for n, s in zip(sides, size, strict=True)
    )

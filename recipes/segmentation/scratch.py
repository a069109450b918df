"""Probabilities of a large case: on disk, class by class, in little memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.home import home
from data_adapters.transforms.base import Undo
from data_adapters.transforms.compose import invert_probabilities
from recipes.engine.checkpoint import disk_error

CHUNK = 2**24
"""Voxels that are compared at once."""


class Scratch:
    """An array on disk, of which no page stays in memory; the file is gone when it is left.

    Attributes:
        values: float32 ``(*grid, K)``, zero at first; classes lie behind each other in the file.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        """Reserve the place: a disk that fills up later would kill the program.

        Args:
            shape: ``(*grid, K)``.

        Raises:
            recipes.errors.RunFolderError: The disk is too full.
        """
        *grid, classes = shape
        size = 4 * math.prod(shape)
        try:
            home().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=home()) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise disk_error(error, "the probabilities of a large case") from error
        flat = np.frombuffer(self._map, np.float32)
        self.values: Any = np.moveaxis(flat.reshape(classes, *grid), 0, -1)

    def __enter__(self) -> Scratch:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the file; it is closed with the last view of its values."""
        self.release()
        self.values = None

    def release(self) -> None:
        """Give memory back; what was written stays in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def most_probable(
    kept: Scratch, undos: Sequence[Undo], *, scale: float = 1.0
) -> npt.NDArray[np.uint8]:
    """The class of the largest probability on the grid before the steps, the first among equals.

    Args:
        kept: Probabilities on the grid that the steps made; the first class is the background.
        undos: What leads back.
        scale: Factor on them.
    """
    grid = undos[0].before.shape if undos else kept.values.shape[:-1]
    labels = np.zeros(grid, np.uint8)
    with Scratch((*grid, 1)) as best:
        for k in range(kept.values.shape[-1]):
            # certain background is where steps cut voxels away
            background = 0 if k == 0 else None
            one = invert_probabilities(_class(kept, k, scale), undos, background=background)
            _compare(best, one[..., 0], labels, k)
            del one
    return labels


def _compare(best: Scratch, found: Any, labels: npt.NDArray[np.uint8], k: int) -> None:
    """Take a class where it is more probable than those before, a few slices at a time."""
    rows = max(1, CHUNK // max(1, math.prod(found.shape[1:])))
    for row in range(0, len(found), rows):
        part = slice(row, row + rows)
        top, now = best.values[part, ..., 0], found[part]
        if k == 0:
            top[...] = now
        else:
            labels[part][now > top] = k
            np.maximum(top, now, out=top)
        best.release()


def _class(kept: Scratch, k: int, scale: float) -> npt.NDArray[np.float32]:
    """One class out of the file, held by nobody else, so that it is gone once it is resampled."""
    one = kept.values[..., k : k + 1] * np.float32(scale)
    kept.release()
    return np.asarray(one)

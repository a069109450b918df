"""What a volume's header says, and the checks that come before any pixel is allocated."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_adapters.case import Geometry
from data_adapters.errors import CaseError, DataError
from data_adapters.geometry import from_affine, triple

MAX_BYTES = 4 * 1024**3
MAX_CHANNELS = 64
MAX_HEADER = 1024 * 1024
# A deflate stream grows at most 1032-fold (zlib's technical note); bzip2 has no such bound.
_MOST_GROWTH = {"gzip": 1100, "zlib": 1100, "bzip2": 50000}


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """The layout of a volume on disk.

    Attributes:
        format: `nifti`, `nrrd` or `metaimage`.
        stored: Sizes of the stored array, slowest axis first.
        channel: Which stored axis holds the channels; None when there is one channel.
        dtype: Type of the stored values, with byte order.
        geometry: Where the voxels lie, image axes in array order.
        data: File that holds the values.
        offset: Bytes before the values, after whole-file decompression.
        encoding: `raw`, `gzip`, `zlib` or `bzip2`.
        compressed: Whether the whole file is compressed (NIfTI) or the values alone.
        slope: Factor from stored to real values.
        intercept: Summand from stored to real values.
        notes: Slugs of what was put right.
    """

    format: str
    stored: tuple[int, ...]
    channel: int | None
    dtype: np.dtype[np.generic]
    geometry: Geometry
    data: Path
    offset: int
    encoding: str
    compressed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, ...]:
        """Sizes of the spatial axes, (H, W) or (D, H, W)."""
        return tuple(n for axis, n in enumerate(self.stored) if axis != self.channel)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.channel is None else self.stored[self.channel]

    @property
    def bytes(self) -> int:
        """Bytes of the stored values."""
        return math.prod(self.stored) * self.dtype.itemsize


def check_header(header: VolumeHeader, case_id: str) -> None:
    """Refuse sizes that no honest file has, and lengths that the file cannot hold.

    Raises:
        CaseError: `header`, `time-series`, `bomb`, `truncated`, `missing` or `unreadable`.
    """
    if any(n < 1 for n in header.stored) or len(header.grid) not in (2, 3):
        raise CaseError(
            case_id,
            "header",
            f"the header declares sizes {header.stored}: no picture and no volume",
        )
    if header.channels > MAX_CHANNELS:
        raise CaseError(
            case_id,
            "time-series",
            f"the fourth axis has {header.channels} entries, the limit for channels is "
            f"{MAX_CHANNELS}: a time series is split into volumes first",
        )
    if header.bytes > MAX_BYTES:
        message = f"the header declares {header.bytes} bytes of values; the limit is {MAX_BYTES}"
        raise CaseError(case_id, "bomb", message)
    try:
        size = header.data.stat().st_size
    except OSError as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise CaseError(case_id, kind, "the file of values cannot be opened") from None
    if header.encoding == "raw" and size < header.offset + header.bytes:
        raise CaseError(case_id, "truncated", "the file ends before the volume does")
    growth = _MOST_GROWTH.get(header.encoding)
    if growth and header.bytes > growth * size + 65536:
        message = (
            f"the header declares {header.bytes} bytes of values, more than {size} compressed "
            "bytes can hold"
        )
        raise CaseError(case_id, "bomb", message)


def beside(header: Path, name: str, case_id: str) -> Path:
    """The data file that a detached header names, which must lie in the header's folder.

    Raises:
        CaseError: `outside`: the name leads elsewhere.
    """
    folder = Path(os.path.realpath(header.parent))
    refused = not name or "\0" in name or "\\" in name or Path(name).is_absolute()
    if not refused:
        target = Path(os.path.realpath(header.parent / name))
        refused = not target.is_relative_to(folder) or target == folder
    if refused:
        raise CaseError(
            case_id,
            "outside",
            "the header names a data file outside its own folder: put both in one folder",
        )
    return target


MOST_MM = 1e9
"""No position or spacing of a sound file is larger."""


def lps_geometry(matrix: np.ndarray, case_id: str, *, flat: bool = False) -> Geometry:
    """Geometry of a (4, 4) matrix from (slice, row, column, 1) to LPS.

    Args:
        matrix: The matrix.
        case_id: Pseudonymous id that errors carry.
        flat: Whether the image is a picture: the first column is only the normal then.

    Raises:
        CaseError: `geometry`: not finite, zero spacing, or axes that are linearly dependent.
    """
    if not np.abs(matrix[:3]).max() < MOST_MM:  # also where one is no number
        raise CaseError(case_id, "geometry", "voxels are too large or too far away to be true")
    try:
        full = from_affine(matrix)
    except DataError as error:
        raise CaseError(case_id, "geometry", str(error)) from None
    if not flat:
        return full
    return Geometry(full.spacing[1:], full.origin, full.direction[1:])


def plain_geometry(spacing: tuple[float, ...], case_id: str) -> Geometry:
    """Geometry of a file that says how large voxels are, and not where they lie.

    Raises:
        CaseError: `geometry`: a spacing that is zero, negative or not finite.
    """
    if not all(0 < v < MOST_MM for v in spacing):
        raise CaseError(case_id, "geometry", f"the voxel spacing is {spacing} mm")
    return Geometry(spacing)


def is_sheared(geometry: Geometry, *, tolerance: float = 1e-3) -> bool:
    """Whether the axes are not at right angles."""
    axes = np.asarray(geometry.direction)
    return bool(len(axes) and np.abs(axes @ axes.T - np.eye(len(axes))).max() > tolerance)


def matrix_of(directions: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(4, 4) from step vectors in rows (array order, three of them) and an origin, both LPS."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.asarray(directions, np.float64).T, triple(origin)
    return matrix

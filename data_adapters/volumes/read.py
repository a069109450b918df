"""Reading one NIfTI, NRRD or MetaImage volume: header first, then values, then checks."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.volumes.header import VolumeHeader, check_header
from data_adapters.volumes.metaimage import read_metaimage_header
from data_adapters.volumes.names import HEAD_BYTES, volume_format
from data_adapters.volumes.nifti import read_nifti_header
from data_adapters.volumes.nrrd import read_nrrd_header
from data_adapters.volumes.payload import read_values

_READERS = {
    "nifti": read_nifti_header,
    "nrrd": read_nrrd_header,
    "metaimage": read_metaimage_header,
}
_KEPT = ("uint8", "uint16", "float32")


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as an array, where it lies, and what had to be put right on the way.

    Attributes:
        image: (D, H, W, C), or (H, W, C) of a flat file, channels last: uint8, uint16 or float32
            in modality units. Read as a mask: (D, H, W) or (H, W), uint8, uint16 or int32, and
            with channels behind where the file has several.
        geometry: LPS, axes in array order; no directions where the file gives none.
        notes: Slugs: `orientation-unknown`, `sform-qform-differ`, `spacing-differs`, `sheared`,
            `rounded` (a value that float32 cannot hold), `not-a-number` (see `padding`), `alpha`.
        padding: Boolean (D, H, W) or (H, W), voxels that were NaN and now hold the lowest value;
            None when there are none.
        meta: `format`.
    """

    image: NDArray[Any]
    geometry: Geometry
    notes: tuple[str, ...] = ()
    padding: NDArray[np.bool_] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def read_volume_header(path: Path, *, case_id: str) -> VolumeHeader:
    """Read and check a volume's header; no values are read.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.

    Returns:
        The layout: `grid`, `channels`, `geometry`, ...

    Raises:
        CaseError: With `kind` one of `missing`, `not-a-file`, `unreadable`, `zero-byte`,
            `not-a-volume`, `header`, `pixel-type`, `geometry`, `encoding`, `outside`,
            `time-series`, `bomb`, `truncated`, `corrupt`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CaseError(case_id, "not-a-file", "the path is not a plain file")
        if status.st_size == 0:
            raise CaseError(case_id, "zero-byte", "the file is empty (0 bytes)")
        name = volume_format(_start(path))
        if name is None:
            message = "the content is no NIfTI, NRRD or MetaImage volume"
            raise CaseError(case_id, "not-a-volume", message)
        header = _READERS[name](path, case_id=case_id)
    except FileNotFoundError:
        raise CaseError(case_id, "missing", "the file does not exist") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CaseError(case_id, "unreadable", f"the file cannot be read: {reason}") from None
    check_header(header, case_id)
    return header


def read_volume(path: Path, *, case_id: str, as_mask: bool = False) -> Volume:
    """Read one volume.

    The content decides, not the name. 8 and 16 bits without sign stay as they are, everything else
    becomes float32; a fourth axis of up to 64 becomes channels.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        as_mask: Read whole numbers, exactly, and no others.

    Returns:
        The volume.

    Raises:
        CaseError: As `read_volume_header`, and `not-finite` or `mask-values`.
    """
    header = read_volume_header(path, case_id=case_id)
    values = _channels_last(read_values(header, case_id), header)
    notes = list(header.notes)
    if header.format == "nifti" and values.shape[-1] == 4 and header.channel == values.ndim - 1:
        values = values[..., :3]
        notes.append("alpha")
    if as_mask:
        values = _scaled(values, header, np.float64)
        return Volume(_whole(values, case_id), header.geometry, tuple(notes), None, _meta(header))
    image = _to_kept_type(values, header, notes)
    padding = _replace_nan(image, notes, case_id)
    return Volume(
        np.ascontiguousarray(image), header.geometry, tuple(notes), padding, _meta(header)
    )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _meta(header: VolumeHeader) -> dict[str, Any]:
    return {"format": header.format}


def _channels_last(values: NDArray[Any], header: VolumeHeader) -> NDArray[Any]:
    if header.channel is None:
        return values[..., None]
    return np.moveaxis(values, header.channel, -1)


def _scaled(values: NDArray[Any], header: VolumeHeader, dtype: type) -> NDArray[Any]:
    """Real values: the stored ones where the header has no scale."""
    if header.slope == 1.0 and header.intercept == 0.0:
        return values
    scaled: NDArray[Any] = np.empty(values.shape, dtype)
    for i in range(len(values)):  # slice by slice, as float64 takes eight bytes a voxel
        scaled[i] = values[i].astype(np.float64) * header.slope + header.intercept
    return scaled


def _to_kept_type(values: NDArray[Any], header: VolumeHeader, notes: list[str]) -> NDArray[Any]:
    values = _scaled(values, header, np.float32)
    if values.dtype.name in _KEPT:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        image = values.astype(np.float32)
    if values.dtype.itemsize > 2 and not _exact(image, values):
        notes.append("rounded")
    return image


def _exact(image: NDArray[Any], values: NDArray[Any]) -> bool:
    if values.dtype.kind == "f":
        return bool(np.array_equal(image, values, equal_nan=True))
    if not values.size:
        return True
    # Every whole number up to 2^24 is a float32.
    return int(values.min()) >= -(2**24) and int(values.max()) <= 2**24


def _replace_nan(image: NDArray[Any], notes: list[str], case_id: str) -> NDArray[np.bool_] | None:
    """Put the lowest value where NaN stands; returns where that was."""
    if image.dtype.kind != "f":
        return None
    low, high = float(image.min()), float(image.max())  # NaN where one voxel is
    if np.isfinite(low) and np.isfinite(high):
        return None
    bad = np.isnan(image)
    if np.isinf(image).any() or bad.all():
        raise CaseError(case_id, "not-finite", "the volume holds values that are not finite")
    image[bad] = np.nanmin(image)
    notes.append("not-a-number")
    return np.asarray(bad.any(axis=-1))


def _whole(values: NDArray[Any], case_id: str) -> NDArray[Any]:
    """(D, H, W[, C]) in the smallest of uint8, uint16 and int32 that holds the values."""
    low, high = values.min(), values.max()
    whole = values.dtype.kind in "ui" or (
        bool(np.isfinite(low) and np.isfinite(high)) and bool((np.rint(values) == values).all())
    )
    if not whole:
        message = "the mask holds values that are no whole numbers: give a label map"
        raise CaseError(case_id, "mask-values", message)
    for dtype in (np.uint8, np.uint16, np.int32):
        if low >= np.iinfo(dtype).min and high <= np.iinfo(dtype).max:
            mask = values.astype(dtype)
            return np.ascontiguousarray(mask[..., 0] if mask.shape[-1] == 1 else mask)
    raise CaseError(case_id, "mask-values", f"the mask holds values from {low} to {high}")

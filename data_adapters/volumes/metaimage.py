"""MetaImage headers, attached (.mha) and detached (.mhd): Kitware's MetaIO documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.volumes.header import (
    VolumeHeader,
    beside,
    is_sheared,
    lps_geometry,
    matrix_of,
    plain_geometry,
)
from data_adapters.volumes.text_header import numbers, read_head, wholes

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_ORIGINS = ("Offset", "Position", "Origin")


def read_metaimage_header(path: Path, *, case_id: str) -> VolumeHeader:
    """Read the header of a `.mha` or `.mhd` file.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.

    Returns:
        The layout; a fourth axis, or the elements' components, hold the channels.

    Raises:
        CaseError: `header`, `pixel-type`, `geometry`, `encoding` or `outside`.
    """
    fields, end = _fields(read_head(path), case_id)
    count = _whole(fields, "NDims", case_id)
    sizes = wholes(fields.get("DimSize", ""), case_id, field="DimSize")
    if len(sizes) != count or count not in (2, 3, 4):
        raise CaseError(case_id, "header", f"the header declares {count} axes of sizes {sizes}")
    components = _whole(fields, "ElementNumberOfChannels", case_id, default=1)
    if components > 1 and count == 4:
        raise CaseError(case_id, "header", "a fourth axis and several components are not read")
    stored, channel = tuple(reversed(sizes)), 0 if count == 4 else None
    if components != 1:
        stored, channel = (*stored, components), len(stored)
    if not _yes(fields, "BinaryData", default=True):
        raise CaseError(case_id, "encoding", "values in text are not read: save them as binary")
    data, offset = _place(path, fields, end, case_id)
    if _whole(fields, "HeaderSize", case_id, default=0) == -1:
        offset = -1
    zipped = _yes(fields, "CompressedData")
    notes: list[str] = []
    header = VolumeHeader(
        "metaimage",
        stored,
        channel,
        _dtype(fields, case_id),
        _geometry(fields, count, notes, case_id),
        data,
        offset,
        "zlib" if zipped else "raw",
        notes=tuple(notes),
    )
    return header if offset >= 0 else _from_end(header, case_id)


def _fields(head: bytes, case_id: str) -> tuple[dict[str, str], int]:
    """Fields by name, and where the header ends: behind `ElementDataFile`."""
    fields: dict[str, str] = {}
    at = 0
    while (stop := head.find(b"\n", at)) >= 0:
        name, mark, value = head[at:stop].decode("latin-1").partition("=")
        at = stop + 1
        if not mark:
            break
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            return fields, at
    raise CaseError(case_id, "header", "the file has no MetaImage header")


def _whole(fields: dict[str, str], name: str, case_id: str, *, default: int | None = None) -> int:
    if default is not None and name not in fields:
        return default
    found = wholes(fields.get(name, ""), case_id, field=name)
    if len(found) != 1:
        raise CaseError(case_id, "header", f"field {name!r} of the header is no single number")
    return found[0]


def _yes(fields: dict[str, str], name: str, *, default: bool = False) -> bool:
    return fields[name].lower() in ("true", "1", "yes") if name in fields else default


def _dtype(fields: dict[str, str], case_id: str) -> np.dtype[np.generic]:
    name = fields.get("ElementType", "").removesuffix("_ARRAY")
    if name not in _TYPES:
        message = "the header's ElementType is none of the numbers that MetaImage knows"
        raise CaseError(case_id, "pixel-type", message)
    big = _yes(fields, "BinaryDataByteOrderMSB") or _yes(fields, "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + _TYPES[name])


def _place(path: Path, fields: dict[str, str], end: int, case_id: str) -> tuple[Path, int]:
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return path, end
    if name.upper().startswith("LIST") or "%" in name:
        message = "values spread over several files are not read: save the volume as one file"
        raise CaseError(case_id, "encoding", message)
    return beside(path, name, case_id), max(_whole(fields, "HeaderSize", case_id, default=0), 0)


def _from_end(header: VolumeHeader, case_id: str) -> VolumeHeader:
    """`HeaderSize = -1`: the values are the end of the file."""
    try:
        size = header.data.stat().st_size
    except OSError:
        raise CaseError(case_id, "missing", "the file of values cannot be opened") from None
    if header.encoding != "raw" or size < header.bytes:
        raise CaseError(case_id, "truncated", "the file ends before the volume does")
    return VolumeHeader(**{**vars(header), "offset": size - header.bytes})


def _geometry(fields: dict[str, str], count: int, notes: list[str], case_id: str) -> Geometry:
    name = next((n for n in ("ElementSpacing", "ElementSize") if n in fields), None)
    spacing = numbers(fields[name], case_id, field=name) if name else [1.0] * count
    if len(spacing) != count or not all(v > 0 for v in spacing):
        raise CaseError(case_id, "geometry", f"the voxel spacing is {spacing} mm")
    place = next((n for n in _ORIGINS if n in fields), None)
    frame = next((n for n in _MATRICES if n in fields), None)
    if count == 2 or frame is None:
        notes.append("orientation-unknown")
        return plain_geometry(tuple(reversed(spacing[:3])), case_id)
    axes = numbers(fields[frame], case_id, field=frame)
    origin = numbers(fields[place], case_id, field=place) if place else [0.0] * count
    if len(axes) != count * count or len(origin) != count:
        raise CaseError(case_id, "geometry", "the matrix or the offset does not fit the axes")
    rows = np.asarray(axes).reshape(count, count)[:3, :3]
    steps = (rows * np.asarray(spacing[:3])[:, None])[::-1]
    geometry = lps_geometry(matrix_of(steps, np.asarray(origin[:3])), case_id)
    if is_sheared(geometry):
        notes.append("sheared")
    return geometry

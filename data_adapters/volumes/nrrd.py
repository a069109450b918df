"""NRRD headers, attached (.nrrd) and detached (.nhdr): teem's "Definition of NRRD File Format"."""

from __future__ import annotations

import re
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
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPE_OF = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
}
# Signs that turn a space's axes into LPS.
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_SPATIAL_KINDS = {"domain", "space", "???", "none", ""}


def read_nrrd_header(path: Path, *, case_id: str) -> VolumeHeader:
    """Read the header of a `.nrrd` or `.nhdr` file.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.

    Returns:
        The layout. An axis without a place in space (space direction `none`, or another kind
        than `domain` or `space`) holds the channels, wherever it stands.

    Raises:
        CaseError: `header`, `pixel-type`, `geometry`, `encoding` or `outside`.
    """
    fields, end = _fields(read_head(path), case_id)
    sizes = wholes(fields.get("sizes", ""), case_id, field="sizes")
    if [len(sizes)] != wholes(fields.get("dimension", ""), case_id, field="dimension"):
        raise CaseError(case_id, "header", "'dimension' and 'sizes' of the header disagree")
    dtype = _dtype(fields, case_id)
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        message = "the header's encoding is none of raw, gzip and bzip2: save the volume as gzip"
        raise CaseError(case_id, "encoding", message)
    data, offset = _place(path, fields, end, case_id)
    steps = _directions(fields, len(sizes), case_id)
    spatial = _spatial_axes(fields, steps, len(sizes))
    further = [axis for axis in range(len(sizes)) if axis not in spatial]
    if len(further) > 1 or len(spatial) not in (2, 3):
        message = f"the header declares sizes {tuple(sizes)}, {len(spatial)} of them in space"
        raise CaseError(case_id, "header", message)
    notes: list[str] = []
    geometry = _geometry(fields, steps, spatial, notes, case_id)
    return VolumeHeader(
        "nrrd",
        tuple(reversed(sizes)),
        len(sizes) - 1 - further[0] if further else None,
        dtype,
        geometry,
        data,
        offset,
        encoding,
        notes=tuple(notes),
    )


def _fields(head: bytes, case_id: str) -> tuple[dict[str, str], int]:
    """Fields by name, and where the header ends; key/value pairs (`:=`) are passed over."""
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise CaseError(case_id, "header", "the file has no NRRD header")
    stop = re.search(rb"\r?\n\r?\n", head)
    end = stop.end() if stop else len(head)
    fields: dict[str, str] = {}
    for line in head[: stop.start() if stop else end].decode("latin-1").splitlines()[1:]:
        name, mark, value = line.partition(":")
        if mark and not line.startswith("#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip()
    return fields, end


def _dtype(fields: dict[str, str], case_id: str) -> np.dtype[np.generic]:
    code = _TYPE_OF.get(fields.get("type", "").lower())
    if code is None:
        message = "the header's type is none of the numbers that NRRD knows"
        raise CaseError(case_id, "pixel-type", message)
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None:
        if code not in ("i1", "u1"):
            raise CaseError(case_id, "header", "the header does not give the byte order")
        order = "<"
    return np.dtype(order + code)


def _place(path: Path, fields: dict[str, str], end: int, case_id: str) -> tuple[Path, int]:
    skips = [fields.get(name) for name in ("line skip", "byte skip", "lineskip", "byteskip")]
    if any(skip not in (None, "0") for skip in skips):
        raise CaseError(case_id, "encoding", "NRRD line and byte skips are not read")
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        return path, end
    if name.upper().startswith("LIST") or "%" in name:
        message = "values spread over several files are not read: save the volume as one file"
        raise CaseError(case_id, "encoding", message)
    return beside(path, name, case_id), 0


def _directions(fields: dict[str, str], count: int, case_id: str) -> list[list[float] | None]:
    """The step vector of each axis, fastest first; None for an axis outside space."""
    text = fields.get("space directions")
    if text is None:
        return []
    steps: list[list[float] | None] = []
    for word in re.findall(r"\([^)]*\)|none", text, re.IGNORECASE):
        if word.lower() == "none" or "nan" in word.lower():
            steps.append(None)
        else:
            inside = word.strip("()").replace(",", " ")
            steps.append(_in_space(numbers(inside, case_id, field="space directions")))
    if len(steps) != count or any(s is not None and len(s) != 3 for s in steps):
        raise CaseError(case_id, "geometry", "'space directions' does not fit the axes")
    return steps


def _in_space(step: list[float]) -> list[float] | None:
    """A step of a four-dimensional space without its time, None for the axis of time."""
    if len(step) != 4 or (any(step[:3]) and step[3]):
        return step
    return step[:3] if any(step[:3]) else None


def _spatial_axes(fields: dict[str, str], steps: list[list[float] | None], count: int) -> list[int]:
    if steps:
        return [axis for axis, step in enumerate(steps) if step is not None]
    kinds = fields.get("kinds", "").lower().split()
    if len(kinds) == count:
        return [axis for axis, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    return list(range(min(count, 3)))


def _geometry(
    fields: dict[str, str],
    steps: list[list[float] | None],
    spatial: list[int],
    notes: list[str],
    case_id: str,
) -> Geometry:
    signs = _SPACES.get(fields.get("space", "").lower())
    known = [np.asarray(steps[axis], np.float64) for axis in reversed(spatial)] if steps else []
    if not known or signs is None:
        notes.append("orientation-unknown")
        return plain_geometry(_spacing(fields, known, spatial, case_id), case_id)
    flat = len(known) == 2
    if flat:
        normal = np.cross(known[1], known[0])
        known.insert(0, normal / (np.linalg.norm(normal) or 1.0))
    text = fields.get("space origin", "(0,0,0)").strip("()").replace(",", " ")
    origin = numbers(text, case_id, field="space origin")
    if len(origin) != 3:
        raise CaseError(case_id, "geometry", "'space origin' does not have three numbers")
    matrix = matrix_of(np.stack(known) * signs, np.asarray(origin) * signs)
    geometry = lps_geometry(matrix, case_id, flat=flat)
    if is_sheared(geometry):
        notes.append("sheared")
    return geometry


def _spacing(
    fields: dict[str, str], known: list[np.ndarray], spatial: list[int], case_id: str
) -> tuple[float, ...]:
    if known:
        return tuple(float(np.linalg.norm(step)) for step in known)
    words = fields.get("spacings", "").split()
    if not words:
        return tuple(1.0 for _ in spatial)
    if len(words) <= max(spatial):
        raise CaseError(case_id, "geometry", "'spacings' does not fit the axes")
    text = " ".join(words[axis] for axis in reversed(spatial))
    return tuple(numbers(text, case_id, field="spacings"))

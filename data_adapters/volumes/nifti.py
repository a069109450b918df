"""NIfTI-1 and NIfTI-2 headers (nifti1.h and nifti2.h of the NIfTI data format working group)."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.volumes.header import (
    VolumeHeader,
    is_sheared,
    lps_geometry,
    matrix_of,
    plain_geometry,
)

_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    128: "u1",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    2304: "u1",
}
_COLOUR = {128: 3, 2304: 4}
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Layout:
    """Where the fields stand: (offset, struct format) each."""

    size: int
    dim: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    slope: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]
    units: tuple[int, str]
    magic: int


_NIFTI1 = _Layout(
    348, (40, "8h"), 70, (76, "8f"), (108, "f"), (112, "2f"), (252, "2h"), (256, "6f"),
    (280, "12f"), (123, "B"), 344,
)  # fmt: skip
_NIFTI2 = _Layout(
    540, (16, "8q"), 12, (104, "8d"), (168, "q"), (176, "2d"), (344, "2i"), (352, "6d"),
    (400, "12d"), (500, "i"), 4,
)  # fmt: skip


def read_nifti_header(path: Path, *, case_id: str) -> VolumeHeader:
    """Read the header of a `.nii` or `.nii.gz` file.

    Which of the two transforms counts is decided as SimpleITK does: the sform where its code is 1
    (scanner) or the qform's is 0, else the qform; a sheared sform gives way to a qform. Where both
    are given and differ, a note says so.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.

    Returns:
        The layout; the fourth axis, or the fifth behind a fourth of one, holds channels.

    Raises:
        CaseError: `truncated`, `header`, `pixel-type` or `geometry`.
    """
    head, zipped = _head(path, case_id)
    layout, order = _layout(head, case_id)

    def get(field: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + field[1], head, field[0])

    if head[layout.magic : layout.magic + 2] == b"ni":
        message = "the values lie in a separate .img file: save the volume as one .nii file"
        raise CaseError(case_id, "header", message)
    (code,) = struct.unpack_from(order + "h", head, layout.datatype)
    if code not in _TYPES:
        raise CaseError(case_id, "pixel-type", f"NIfTI data type {code} is not read")
    axes, channel = _axes([int(v) for v in get(layout.dim)], _COLOUR.get(code), case_id)
    notes: list[str] = []
    geometry = _geometry(
        get(layout.pixdim),
        get(layout.codes),
        get(layout.quaternion),
        get(layout.rows),
        _UNITS.get(int(get(layout.units)[0]) & 7, 1.0),
        flat=len(axes) - (channel is not None) == 2,
        notes=notes,
        case_id=case_id,
    )
    slope, intercept = get(layout.slope)
    if not (math.isfinite(slope) and slope != 0 and math.isfinite(intercept)) or code in _COLOUR:
        slope, intercept = 1.0, 0.0
    (start,) = get(layout.vox_offset)
    if not math.isfinite(start) or start < 0:
        raise CaseError(case_id, "header", f"the values begin at byte {start}")
    return VolumeHeader(
        "nifti",
        axes,
        channel,
        np.dtype(order + _TYPES[code]),
        geometry,
        path,
        max(int(start), layout.size + 4),
        "gzip" if zipped else "raw",
        zipped,
        slope,
        intercept,
        tuple(notes),
    )


def _head(path: Path, case_id: str) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        head = file.read(8192)
    if not head.startswith(b"\x1f\x8b"):
        return head, False
    try:
        return zlib.decompressobj(31).decompress(head, 1024), True
    except zlib.error:
        raise CaseError(case_id, "corrupt", "the compressed file is damaged") from None


def _layout(head: bytes, case_id: str) -> tuple[_Layout, str]:
    for layout in (_NIFTI1, _NIFTI2):
        for order in "<>":
            if head[:4] == struct.pack(order + "i", layout.size):
                if len(head) < layout.size:
                    raise CaseError(case_id, "truncated", "the file ends within its header")
                return layout, order
    raise CaseError(case_id, "header", "the file has no NIfTI header")


def _axes(dim: list[int], colour: int | None, case_id: str) -> tuple[tuple[int, ...], int | None]:
    """Stored sizes, slowest first, and the axis of channels."""
    count = dim[0]
    if not 2 <= count <= 7 or any(n < 1 for n in dim[1 : count + 1]):
        raise CaseError(case_id, "header", f"the header declares sizes {tuple(dim)}")
    space = dim[1 : min(count, 3) + 1]
    further = [n for n in dim[4 : count + 1] if n > 1]
    if len(further) > 1 or (further and colour):
        message = f"the header declares sizes {tuple(dim)}: more than one axis beyond space"
        raise CaseError(case_id, "header", message)
    stored = tuple(reversed(space))
    if colour:
        return (*stored, colour), len(stored)
    return ((further[0], *stored), 0) if further else (stored, None)


def _geometry(
    pixdim: tuple[float, ...],
    codes: tuple[float, ...],
    quaternion: tuple[float, ...],
    rows: tuple[float, ...],
    unit: float,
    *,
    flat: bool,
    notes: list[str],
    case_id: str,
) -> Geometry:
    qform_code, sform_code = int(codes[0]), int(codes[1])
    spacing = [abs(v) * unit for v in pixdim[1:4]]
    if flat and not spacing[2] > 0:
        spacing[2] = 1.0
    qform = sform = None
    if qform_code > 0:
        axes, origin = _from_quaternion(quaternion, pixdim[0], spacing)
        qform = lps_geometry(matrix_of(axes, origin * [unit] * _RAS_TO_LPS), case_id, flat=flat)
    if sform_code > 0:
        table = np.asarray(rows, np.float64).reshape(3, 4) * unit * _RAS_TO_LPS[:, None]
        sform = lps_geometry(matrix_of(table[:, 2::-1].T, table[:, 3]), case_id, flat=flat)
        sform = _plain_spacing(sform, spacing, notes)
    if sform is None and qform is None:
        notes.append("orientation-unknown")
        return plain_geometry(tuple(reversed(spacing[:2] if flat else spacing)), case_id)
    if qform is None or sform is None:
        chosen = qform or sform
    else:
        if _far_apart(sform, qform):
            notes.append("sform-qform-differ")
        chosen = sform if sform_code == 1 and not is_sheared(sform) else qform
    assert chosen is not None
    if is_sheared(chosen):
        notes.append("sheared")
    return chosen


def _plain_spacing(sform: Geometry, spacing: list[float], notes: list[str]) -> Geometry:
    """The spacing as the header spells it, where the matrix agrees but for rounding."""
    named = tuple(reversed(spacing[: len(sform.spacing)]))
    if np.allclose(named, sform.spacing, rtol=1e-3, atol=0):
        return Geometry(named, sform.origin, sform.direction)
    notes.append("spacing-differs")
    return sform


def _far_apart(first: Geometry, second: Geometry) -> bool:
    apart = np.abs(np.subtract(first.origin, second.origin)).max() > 0.01
    turned = np.abs(np.subtract(first.direction, second.direction)).max() > 1e-3
    return bool(apart or turned)


def _from_quaternion(
    values: tuple[float, ...], handed: float, spacing: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps (slice, row, column) in LPS and the origin in RAS, of a qform (nifti1.h, method 2)."""
    b, c, d = values[:3]
    a2 = 1.0 - (b * b + c * c + d * d)
    if a2 < 1e-7:
        norm = math.sqrt(b * b + c * c + d * d) or 1.0
        a, b, c, d = 0.0, b / norm, c / norm, d / norm
    else:
        a = math.sqrt(a2)
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    with np.errstate(all="ignore"):  # what is no number is refused with the geometry
        steps = turn * np.asarray(spacing) * [1.0, 1.0, -1.0 if handed < 0 else 1.0]
    return (steps * _RAS_TO_LPS[:, None])[:, ::-1].T, np.asarray(values[3:6], np.float64)

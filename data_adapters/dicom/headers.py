"""The header facts of a DICOM file, read without its pixels and mostly without pydicom."""

from __future__ import annotations

import dataclasses
import errno
import struct
import warnings
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from data_adapters.dicom.dicomdir import DICOMDIR_CLASS, listed_files
from data_adapters.dicom.diffusion import b_value, gradient
from data_adapters.dicom.elements import (
    MEDIA_CLASS,
    TEXT_VRS,
    Elements,
    Unusual,
    read_elements,
    vr_of,
)
from data_adapters.dicom.identifiers import looks_identifying
from data_adapters.dicom.model import Instance
from data_adapters.dicom.terms import modality_term
from data_adapters.errors import CaseError

# Warnings of pydicom quote what they dislike, patient names included.
warnings.filterwarnings("ignore", module=r"pydicom\.")

LOSSY_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG baseline
        "1.2.840.10008.1.2.4.51",  # JPEG extended
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
        "1.2.840.10008.1.2.4.100",  # MPEG-2, MPEG-4, HEVC
        "1.2.840.10008.1.2.4.101",
        "1.2.840.10008.1.2.4.102",
        "1.2.840.10008.1.2.4.103",
        "1.2.840.10008.1.2.4.104",
        "1.2.840.10008.1.2.4.105",
        "1.2.840.10008.1.2.4.106",
        "1.2.840.10008.1.2.4.107",
        "1.2.840.10008.1.2.4.108",
    }
)
REFERRING = frozenset({"SEG", "RTSTRUCT", "SR", "KO", "PR", "M3D"})
"""Modalities whose objects are about other series."""
# What pydicom raises on damaged headers, beside OSError.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_WANTED = frozenset(
    {
        0x00080005,
        0x00080008,
        0x00080016,
        0x00080018,
        0x00080020,
        0x00080022,
        0x0008002A,
        0x00080032,
        0x00080060,
        0x00100030,
        0x00180050,
        0x00180081,
        0x00180086,
        0x00180088,
        0x00181060,
        0x00181120,
        0x00189087,
        0x00189089,
        0x0020000D,
        0x0020000E,
        0x00200012,
        0x00200013,
        0x00200032,
        0x00200037,
        0x00200052,
        0x00200100,
        0x00280002,
        0x00280004,
        0x00280008,
        0x00280010,
        0x00280011,
        0x00280030,
        0x00280100,
        0x00280103,
        0x00280120,
        0x00280301,
        0x00281052,
        0x00281053,
        0x00282110,
        0x20500020,
    }
)
_REFERENCES = (0x00081115, 0x00081200, 0x30060010, 0x0040A375, 0x0040A385)


def read_instance(
    path: str | Path, *, name: str, size: int, mtime_ns: int, case_id: str = "-"
) -> Instance:
    """Read the header facts of one DICOM file.

    Args:
        path: The file.
        name: Relative path, as the user knows it.
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds.
        case_id: Pseudonymous id that errors carry.

    Raises:
        CaseError: With `kind` one of `zero-byte`, `missing`, `unreadable`, `not-dicom`,
            `truncated`, `corrupt`.
    """
    if size == 0:
        raise CaseError(case_id, "zero-byte", "the file is empty (0 bytes)")
    try:
        cut = False
        try:
            found = read_elements(path, _WANTED)
        except Unusual as unusual:
            found, cut = _by_pydicom(path), unusual.cut
        instance = instance_of(found, str(path), name, size, mtime_ns)
        if not instance.rows and (cut or _is_image(instance.sop_class)):
            message = "the file ends before its pixels, or never had any: copy it again"
            raise CaseError(case_id, "truncated", message)
        if instance.sop_class == DICOMDIR_CLASS:
            return dataclasses.replace(instance, listed=listed_files(str(path)))
        if instance.modality in REFERRING:
            return with_references(instance)
        return instance
    except CaseError:
        raise
    except FileNotFoundError:
        raise CaseError(case_id, "missing", "the file does not exist") from None
    except EOFError:
        raise CaseError(case_id, "truncated", "the file ends inside its header") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # pydicom going to an impossible place
            message = "the DICOM header is damaged"
            raise CaseError(case_id, "corrupt", message) from None
        reason = error.strerror or type(error).__name__
        raise CaseError(case_id, "unreadable", f"the file cannot be read: {reason}") from None
    except _NoDicom:
        raise CaseError(case_id, "not-dicom", "the content is not DICOM") from None
    except DAMAGE as error:
        message = f"the DICOM header is damaged ({type(error).__name__})"
        raise CaseError(case_id, "corrupt", message) from None


@lru_cache(maxsize=256)
def _is_image(sop_class: str) -> bool:
    """Whether every object of a SOP class has pixels."""
    from pydicom.uid import UID

    return "Image Storage" in UID(sop_class).name


class _NoDicom(Exception):
    """pydicom finds no DICOM either."""


def might_be_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes carry DICOM's mark, or begin like a bare data set.

    Bare data sets (no preamble) begin with group 2 or 8 in either byte order.
    """
    if head[128:132] == b"DICM":
        return True
    return head[:2] in (b"\x08\0", b"\x02\0", b"\0\x08", b"\0\x02") and len(head) >= 64


def _by_pydicom(path: str | Path) -> Elements:
    """The same elements by pydicom: any encoding, with or without preamble."""
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with Path(path).open("rb") as file:
        head = file.read(132)
    if not might_be_dicom(head):
        raise _NoDicom
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        found = _elements_of(dataset)
    except (InvalidDicomError, BytesLengthException):
        raise _NoDicom from None
    bare = head[128:] != b"DICM"
    if bare and not {0x00080016, 0x00080060, 0x00280010} & found.values.keys():
        raise _NoDicom
    return found


def _elements_of(dataset: Any) -> Elements:
    """Raw elements of a data set that pydicom has read but not interpreted."""
    little = dataset.original_encoding[1]
    media = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    found = Elements(order=">" if little is False else "<")
    found.syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")).strip()
    found.values[MEDIA_CLASS] = media.encode("ascii", "replace")
    for key in sorted(dataset.keys()):
        tag, raw = int(key), dataset.get_item(key)
        if tag >= 0x52000000:
            found.grouped = found.grouped or tag in (0x52009229, 0x52009230)
            continue
        known = raw.VR not in (None, "", "UN") or (raw.VR and tag >> 16 & 1)
        vr = raw.VR.encode()[:2] if known else vr_of(tag)
        if vr == b"SQ":
            found.sequences[tag] = _nested_text(dataset[key].value)
            continue
        found.values[tag] = _as_stored(raw.value, found.order)
        if vr in TEXT_VRS:
            found.texts.append(tag)
    return found


def _as_stored(value: Any, order: str) -> bytes:
    """Bytes of a value that pydicom may have interpreted while reading."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int) and type(value) is int:
        return struct.pack(order + "H", value & 0xFFFF)
    if value is None or isinstance(value, str | int | float):
        return str("" if value is None else value).encode()
    return "\\".join(str(part) for part in value).encode()


def _nested_text(items: Any) -> bytes:
    """The text inside a sequence, in no particular form."""
    parts = [
        str(element.value) for item in items for element in item.iterall() if element.VR != "SQ"
    ]
    return "\\".join(part for part in parts if len(part) < 10000).encode("utf-8", "replace")


def instance_of(found: Elements, path: str, name: str, size: int, mtime_ns: int) -> Instance:
    """Interpret a header's elements."""
    frames = found.integer(0x00280008)
    lossy = found.text(0x00282110) == "01" or found.syntax in LOSSY_SYNTAXES
    echo_time = found.number(0x00180081)
    echo = (found.text(0x00180086), "" if echo_time is None else f"{echo_time:.4g}")
    orientation = found.numbers(0x00200037, 6)
    acquired = found.text(0x00080022) + found.text(0x00080032)
    samples = found.short(0x00280002)
    modality = modality_term(found.text(0x00080060))
    magnetic = modality == "MR"
    return Instance(
        path=path,
        name=name,
        size=size,
        mtime_ns=mtime_ns,
        sop_class=found.text(0x00080016) or found.text(MEDIA_CLASS),
        sop_uid=found.text(0x00080018),
        study_uid=found.text(0x0020000D),
        series_uid=found.text(0x0020000E),
        frame_of_reference=found.text(0x00200052),
        transfer_syntax=found.syntax,
        modality=modality,
        patient_id=found.text(0x00100020),
        image_type=found.parts(0x00080008),
        rows=found.short(0x00280010) or 0,
        columns=found.short(0x00280011) or 0,
        frames=1 if frames is None else max(1, frames),
        samples=1 if samples is None else samples,
        bits_allocated=found.short(0x00280100) or 0,
        photometric=found.text(0x00280004),
        position=_triple(found, 0x00200032),
        orientation=orientation,  # type: ignore[arg-type]
        spacing=_pair(found, 0x00280030),
        slice_thickness=found.number(0x00180050),
        spacing_between=found.number(0x00180088),
        gantry_tilt=found.number(0x00181120),
        slope=found.number(0x00281053),
        intercept=found.number(0x00281052),
        instance_number=found.integer(0x00200013),
        acquisition_number=found.integer(0x00200012),
        echo=" ".join(part for part in echo if part),
        b_value=b_value(found) if magnetic else None,
        temporal=found.text(0x00200100) or found.text(0x00181060),
        gradient=gradient(found) if magnetic else "",
        acquired=found.text(0x0008002A) or acquired,
        grouped=found.grouped,
        study_date=found.text(0x00080020),
        site=found.text(0x00080080),
        burned_in=found.text(0x00280301),
        lossy=lossy,
        padding_value=_padding(found),
        presentation_shape=found.text(0x20500020),
        texts=looks_identifying(found),
    )


def with_references(instance: Instance) -> Instance:
    """Add the series that an object refers to, read by pydicom.

    Raises:
        OSError: The file cannot be read.
        ValueError, AttributeError, ...: See `DAMAGE`.
    """
    import pydicom
    from pydicom.errors import BytesLengthException

    dataset = pydicom.dcmread(
        instance.path, stop_before_pixels=True, force=True, specific_tags=list(_REFERENCES)
    )
    uids: dict[str, None] = {}
    try:
        for element in dataset.iterall():
            if element.tag == 0x0020000E and element.value:
                uids[str(element.value).strip()] = None
    except BytesLengthException:
        raise ValueError("an element of an impossible length") from None
    uids.pop(instance.series_uid, None)
    return dataclasses.replace(instance, referenced_series=tuple(uids))


def _triple(found: Elements, tag: int) -> tuple[float, float, float] | None:
    values = found.numbers(tag, 3)
    return (values[0], values[1], values[2]) if values else None


def _pair(found: Elements, tag: int) -> tuple[float, float] | None:
    values = found.numbers(tag, 2)
    return (values[0], values[1]) if values else None


def _padding(found: Elements) -> int | None:
    """PixelPaddingValue, signed where the pixels are (PS3.3 C.7.5.1.1.2)."""
    return found.short(0x00280120, "h" if found.short(0x00280103) == 1 else "H")

"""The few facts of a DICOM header that an index needs, read without the pixels."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

# Warnings of pydicom quote what they dislike, patient names included.
warnings.filterwarnings("ignore", module=r"pydicom\.")

_WANTED = ("PatientID", "Modality")


def read_header(path: Path) -> dict[str, str]:
    """Read patient id and modality.

    Args:
        path: A file, DICOM or not.

    Returns:
        The elements that are there and not blank, by keyword; empty for a file that cannot be
        read as DICOM (reading its case says why).
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_WANTED))
        values = {keyword: str(dataset.get(keyword, "") or "").strip() for keyword in _WANTED}
    except (
        InvalidDicomError,
        BytesLengthException,
        OSError,
        EOFError,
        LookupError,
        AttributeError,
        NotImplementedError,
        TypeError,
        ValueError,
        struct.error,
    ):
        return {}
    return {keyword: value for keyword, value in values.items() if value}

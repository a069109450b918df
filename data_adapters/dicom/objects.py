"""Opening DICOM annotation objects: typed errors, references, and names that name no patient."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset

from data_adapters.dicom.pixels import DAMAGE, open_dataset
from data_adapters.errors import CaseError

# Warnings of pydicom and highdicom quote what they dislike, patient names included.
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\.")

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
REPORTS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.88.22",
        "1.2.840.10008.5.1.4.1.1.88.33",
        "1.2.840.10008.5.1.4.1.1.88.34",
    }
)
"""Enhanced, Comprehensive and Comprehensive 3D SR."""
ANNOTATIONS = frozenset({SEGMENTATION, LABEL_MAP, STRUCTURE_SET}) | REPORTS
"""SOP classes that `truth` reads."""

_IDENTIFIERS = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "OtherPatientIDs",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientBirthDate",
    "AccessionNumber",
    "ReferringPhysicianName",
    "OperatorsName",
    "PerformingPhysicianName",
    "ContentCreatorName",
)
IDENTIFIERS = [*_IDENTIFIERS, "SpecificCharacterSet"]
"""Elements that `safe_name` needs."""


@dataclass(frozen=True, slots=True)
class Label:
    """What an annotation is of.

    Attributes:
        name: Its name, without patient data.
        concept: Coded concept as text (schemes and values); empty where there is none.
    """

    name: str
    concept: str = ""


@contextmanager
def damage(case_id: str, what: str) -> Iterator[None]:
    """Turn what readers raise on damaged files into a `CaseError` of kind `corrupt`."""
    try:
        yield
    except CaseError:
        raise
    except DAMAGE as error:
        reason = type(error).__name__
        message = f"the {what} is damaged or unusual and cannot be read ({reason})"
        raise CaseError(case_id, "corrupt", message) from None


def open_object(
    path: str | Path,
    *,
    case_id: str,
    classes: Iterable[str],
    what: str,
    pixels: bool = True,
    tags: list[str] | None = None,
) -> FileDataset:
    """Read an annotation object.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        classes: SOP Class UIDs that fit.
        what: Name of the kind of object, for errors.
        pixels: Read the pixels too.
        tags: Keywords to read alone; all when None.

    Raises:
        CaseError: With `kind` one of `missing`, `zero-byte`, `not-dicom`, `truncated`,
            `unreadable`, `corrupt`, `other-object`.
    """
    dataset = open_dataset(path, case_id=case_id, pixels=pixels, tags=tags)
    with damage(case_id, what):
        if str(dataset.get("SOPClassUID", "")) not in classes:
            raise CaseError(case_id, "other-object", f"the DICOM object is no {what}")
    return dataset


def text(dataset: Dataset, keyword: str) -> str:
    """An element as stripped text; empty where absent."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where absent."""
    return list(dataset.get(keyword) or [])


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Numbers of an element; none where absent or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [float(v) for v in value] if hasattr(value, "__len__") else [float(value)]


def code(item: Dataset) -> str:
    """A coded concept as `scheme:value`; the older SNOMED designators count as one."""
    value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
    scheme = text(item, "CodingSchemeDesignator").upper()
    scheme = "SRT" if scheme in ("SNM3", "99SDM") else scheme
    return f"{scheme}:{value}" if value else ""


def safe_name(name: str, dataset: Dataset, *others: str) -> str:
    """A name from free text, unless it repeats what identifies somebody in the same file.

    Args:
        name: The free text.
        dataset: The object with its patient and people; see `IDENTIFIERS`.
        *others: What to fall back to, in that order; the last is taken as it is.

    Returns:
        The first of the names that is not blank and holds no part of an identifier, on one line.
    """
    parts: set[str] = set()
    for keyword in _IDENTIFIERS:
        value = dataset.get(keyword)
        for one in value if isinstance(value, list | pydicom.multival.MultiValue) else [value]:
            words = _words(str(one or ""))
            parts.update(word for word in words if len(word) > 2 and word != "none")
    for candidate in (name, *others[:-1]):
        plain = " ".join(candidate.split())
        folded = plain.casefold()
        repeated = parts & _words(plain) or any(part in folded for part in parts if len(part) > 4)
        if plain and not repeated:
            return plain
    return others[-1] if others else "unnamed"


def _words(value: str) -> set[str]:
    return set(re.split(r"[\W_]+", value.casefold()))

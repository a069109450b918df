"""One DICOM series in a folder of its own: finding its stack, and reading it as a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_adapters.adapter import IndexRow
from data_adapters.case import Case
from data_adapters.dicom.grouping import group
from data_adapters.dicom.model import Instance, Stack
from data_adapters.dicom.multiframe import list_volumes
from data_adapters.dicom.scan import scan_tree
from data_adapters.dicom.stack import read_stack
from data_adapters.errors import CaseError, DataError
from data_adapters.files import Found
from data_adapters.home import home
from data_adapters.privacy import uid_pseudonym

_NO_IMAGES = frozenset(("SEG", "RTSTRUCT", "SR", "RTPLAN", "PR", "KO", "REG", "RWV", "ANN", "SM"))


@dataclass(frozen=True, slots=True)
class Series:
    """The one image of a folder.

    Attributes:
        found: The folder, with the size of its files together and the time of the latest.
        stack: The files of the image.
    """

    found: Found
    stack: Stack

    @property
    def first(self) -> Instance:
        """The file that speaks for the series."""
        return min(self.stack.instances, key=lambda one: one.name)


def image_stacks(folder: Path) -> list[Stack]:
    """The images below a folder, localizers left out; headers are read, no pixels.

    Raises:
        DataError: There is no such folder.
    """
    stacks = group(scan_tree(folder, home=home()).instances)
    return [stack for stack in stacks if _is_image(stack.instances)]


def _is_image(instances: Sequence[Instance]) -> bool:
    first = instances[0]
    values = {value.upper() for value in first.image_type}
    localizer = bool(values & {"LOCALIZER", "SCOUT"})
    return bool(first.rows) and first.modality not in _NO_IMAGES and not localizer


def find_series(folder: Path, name: str) -> tuple[Series | None, str]:
    """The only image below a folder.

    Args:
        folder: The folder.
        name: What the user calls it.

    Returns:
        The series and an empty text; or None and `no-series` or `several-series`.
    """
    try:
        stacks = image_stacks(folder)
    except DataError:
        return None, "no-series"
    if not stacks:
        return None, "no-series"
    if len(stacks) > 1 or _volumes(stacks[0]) > 1:
        return None, "several-series"
    return as_series(stacks[0], folder, name), ""


def as_series(stack: Stack, folder: Path, name: str) -> Series:
    """A stack as the series of a folder."""
    size = sum(one.size for one in stack.instances)
    latest = max(one.mtime_ns for one in stack.instances)
    return Series(Found(name, folder, size, latest), stack)


def _volumes(stack: Stack) -> int:
    if stack.kind != "multiframe":
        return 1
    try:
        return len(list_volumes(stack.instances[0].path, case_id=""))
    except CaseError:  # reading the case says why
        return 1


def read_series(series: Series, row: IndexRow, modality: str | None) -> Case:
    """Read a series as the case of an index row.

    Raises:
        CaseError: One of its files cannot be read.
    """
    read = read_stack(series.stack, case_id=row.case_id)
    return Case(
        image=read.image,
        case_id=row.case_id,
        patient_id=row.patient_id,
        label=row.label,
        labels=None if row.labels is None else np.asarray(row.labels, np.float32),
        padding=read.padding,
        display=read.display,
        geometry=read.geometry,
        meta={"modality": modality, **read.meta, "reading": read.notes},
    )


def pseudonymous_uids(one: Instance) -> tuple[str | None, str | None]:
    """Pseudonyms of the study and series of a file."""
    return (
        uid_pseudonym(one.study_uid, "study") if one.study_uid else None,
        uid_pseudonym(one.series_uid, "series") if one.series_uid else None,
    )

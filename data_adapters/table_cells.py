"""What the cells of a table mean beside labels: parts, sites, days, files and series."""

from __future__ import annotations

import datetime
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from data_adapters.adapter import Skip
from data_adapters.errors import DataError
from data_adapters.files import Found
from data_adapters.image_folder import PART_NAMES
from data_adapters.privacy import case_ids, uid_pseudonym
from data_adapters.table_text import TextTable

if TYPE_CHECKING:
    from data_adapters.dicom.series import Series

_ABSENT = {
    "no-path": "the path is blank",
    "missing": "the listed file does not exist",
    "not-a-file": "the listed path is no plain file and no folder of a DICOM series",
    "zero-byte": "the listed file is empty (0 bytes)",
    "no-series": "the listed folder holds no DICOM image",
    "several-series": "the listed folder holds several DICOM images: list a folder of one series",
}
_DAY = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?:[T ].*)?", re.DOTALL)


def parts(table: TextTable, at: int | None) -> list[str | None]:
    """The part of each row.

    Raises:
        DataError: A cell names none.
    """
    found: list[str | None] = []
    for text, place in zip(table.column(at), table.places, strict=True):
        part = PART_NAMES.get((text or "").casefold())
        if text and part is None:
            raise DataError(
                f"column {table.header[at or 0]!r} of {table.name} holds {text[:20]!r} in {place}: "
                "a part is train, val or test, or blank"
            )
        found.append(part)
    return found


def sites(table: TextTable, at: int | None) -> list[str | None]:
    """Pseudonym of the site of each row; None where it is blank."""
    return [uid_pseudonym(text, "hospital") if text else None for text in table.column(at)]


def days(table: TextTable, at: int | None, *, named: bool) -> tuple[list[str | None], list[str]]:
    """The day of each row as `YYYY-MM-DD`, and sentences for the report.

    Args:
        table: The table.
        at: Position of the column.
        named: The user named the column, so that it must hold days.

    Raises:
        DataError: A named column holds something else.
    """
    found: list[str | None] = []
    for text, place in zip(table.column(at), table.places, strict=True):
        day = _day(text) if text else None
        if text and day is None:
            column = table.header[at or 0]
            if not named:
                return [None] * len(table.rows), [f"column {column!r} holds no days and is ignored"]
            raise DataError(
                f"column {column!r} of {table.name} holds no day in {place}: a day is YYYY-MM-DD "
                "or YYYYMMDD"
            )
        found.append(day)
    return found, []


def _day(text: str) -> str | None:
    match = _DAY.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    except ValueError:
        return None


def looks_like_paths(table: TextTable, at: int | None) -> bool:
    """Whether a column holds names of files: something with a dot, and no mere number."""
    texts = [text for text in table.column(at) if text]
    return bool(texts) and all("." in t and not re.fullmatch(r"[0-9.eE+-]+", t) for t in texts)


def find_files(
    table: TextTable, at: int, folder: Path
) -> tuple[list[Found | None], dict[int, Series], list[Skip]]:
    """The file of each row, None where there is none; series by row; records of what is absent.

    Raises:
        DataError: No listed file can be read.
    """
    found: list[Found | None] = []
    series: dict[int, Series] = {}
    absent: list[tuple[str, str, str]] = []
    for i, (row, place) in enumerate(zip(table.rows, table.places, strict=True)):
        file, kind = find_file(row[at], folder)
        if file is not None and file.path.is_dir():
            one, kind = _series(file)
            file = None if one is None else one.found
            if one is not None:
                series[i] = one
        found.append(file)
        if file is None:
            absent.append((row[at] or place, kind, f"{place}: {_ABSENT[kind]}"))
    if len(absent) == len(found):
        raise DataError(
            f"none of the {len(found)} files listed in {table.name} can be read (the first: "
            f"{absent[0][2]}); paths are relative to the table's folder"
        )
    ids = case_ids([name for name, _, _ in absent])
    skips = [Skip(i, kind, text) for i, (_, kind, text) in zip(ids, absent, strict=True)]
    return found, series, skips


def _series(file: Found) -> tuple[Series | None, str]:
    from data_adapters.dicom.series import find_series

    return find_series(file.path, file.name)


def find_file(text: str, folder: Path) -> tuple[Found | None, str]:
    """The file or folder that a cell means, and why not.

    Args:
        text: A path relative to the table's folder, or absolute, with either kind of slash.
        folder: The table's folder.
    """
    if not text:
        return None, "no-path"
    for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
        path = folder / spelling
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: a zero character in the path
            continue
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return None, "not-a-file"
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            return None, "zero-byte"
        name = Path(os.path.normpath(spelling))
        if name.is_absolute() and name.is_relative_to(folder.absolute()):
            name = name.relative_to(folder.absolute())
        return Found(name.as_posix(), path, status.st_size, status.st_mtime_ns), ""
    return None, "missing"

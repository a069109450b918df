"""Cases listed in a table: a path per row, a label or label columns, patient, part."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from data_adapters.adapter import (
    IndexRow,
    Skip,
    labelled_rows,
    local_path,
    register_adapter,
)
from data_adapters.errors import DataError, nearest, option_hint
from data_adapters.files import FileCases, Found, header_facts
from data_adapters.image_folder import PART_NAMES
from data_adapters.indexing import check_positive, pseudonyms
from data_adapters.privacy import case_ids
from data_adapters.table_labels import TableLabels, no_labels, read_labels
from data_adapters.table_text import TABLE_SUFFIXES, TextTable, read_table

PATH_NAMES = ("path", "file", "filename", "filepath", "file_path", "image", "image_path")
PATIENT_NAMES = ("patient", "patient_id", "patientid", "subject", "subject_id")
SPLIT_NAMES = ("split", "part")


def sniff(source: str) -> str | None:
    """None when the source is a file named like a table, else why it does not fit."""
    path = local_path(source)
    if not path.is_file():
        return "not a file"
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return f"its name does not end in {', '.join(TABLE_SUFFIXES)}"
    return None


@register_adapter("table", sniff)
class Table(FileCases):
    """Cases listed in a CSV, TSV or parquet table.

    A path is relative to the table's folder; absolute ones and those that lead upwards are taken
    as they stand. A missing file is left out and recorded. A blank label or patient is unknown.
    Without a column named `label`, two or more further columns that hold only 0, 1 and blanks
    are the labels of a multi-label task.

    Args:
        source: The table.
        path: Column of file paths; by default `path`, `file`, `filename`, `image`, ...
        label: Column of class names or whole numbers; by default `label` or `class`.
        labels: Columns of a multi-label task, as names or one text with commas.
        patient: Column of patients; by default `patient`, `patient_id`, `subject`, ..., and DICOM
            headers where there is no such column.
        split: Column of parts (train, val, test, blank); by default `split` or `part`.
        id: Column that names the cases; by default the path does.
        positive: Name of the positive class of a two-class task.
        modality: `CT`, `XR-chest`, `US`, ... where known.
        encoding: Encoding of a text table, UTF-8 by default.
        labelled: False when the labels are not to be looked at.

    Raises:
        DataError: A column is missing or holds what it must not, rows contradict each other, or
            no listed file exists; the message names the place and the way out.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        path: str | None = None,
        label: str | None = None,
        labels: str | Sequence[str] | None = None,
        patient: str | None = None,
        split: str | None = None,
        id: str | None = None,
        positive: str | None = None,
        modality: str | None = None,
        encoding: str | None = None,
        labelled: bool = True,
    ) -> None:
        place = local_path(source)
        table = read_table(place, encoding=encoding)
        path_at = _path_column(table, path)
        patient_at = table.find(patient, PATIENT_NAMES, option="patient")
        split_at = table.find(split, SPLIT_NAMES, option="split")
        id_at = table.find(id, option="id") if id is not None else None
        taken = {at for at in (path_at, patient_at, split_at, id_at) if at is not None}

        def truth_of(rows: TextTable) -> TableLabels:
            return read_labels(rows, label, labels, taken) if labelled else no_labels(rows)

        found, skipped = _find_files(table, path_at, place.parent)
        facts = _facts(truth_of(table), table.column(patient_at), _parts(table, split_at))
        kept, repeats = _without_repeats(table, found, facts)
        files = [file for i in kept if (file := found[i]) is not None]
        table = table.only(kept)
        truth, parts = truth_of(table), _parts(table, split_at)
        headers, seen_modality = header_facts(files)
        people, people_notes = pseudonyms(
            headers if patient_at is None else table.column(patient_at)
        )
        names = [file.name for file in files] if id_at is None else _ids(table, id_at)
        rows = [
            IndexRow(*row)
            for row in zip(case_ids(names), people, truth.single, truth.vectors, parts, strict=True)
        ]
        super().__init__(
            files,
            rows,
            kind="table",
            root=str(place.resolve().parent),
            class_names=truth.class_names,
            task=truth.task,
            positive=check_positive(positive, truth.class_names, truth.task),
            modality=modality or seen_modality,
            skipped=skipped + repeats,
            notes=[*truth.notes, *people_notes, *_more_notes(rows, truth.task, parts)],
        )


def _path_column(table: TextTable, wanted: str | None) -> int:
    at = table.find(wanted, PATH_NAMES, option="path")
    if at is None:
        columns = [name for name in table.header if name]
        raise DataError(
            f"no column 'path' of files in {table.name}: name it with "
            f"{option_hint('path', 'COLUMN')}{nearest('path', columns)}"
        )
    return at


def _parts(table: TextTable, at: int | None) -> list[str | None]:
    parts: list[str | None] = []
    for text, place in zip(table.column(at), table.places, strict=True):
        part = PART_NAMES.get((text or "").casefold())
        if text and part is None:
            raise DataError(
                f"column {table.header[at or 0]!r} of {table.name} holds {text[:20]!r} in {place}: "
                "a part is train, val or test, or blank"
            )
        parts.append(part)
    return parts


def _find_files(table: TextTable, at: int, folder: Path) -> tuple[list[Found | None], list[Skip]]:
    """The file of each row, None where there is none, and records of those."""
    found: list[Found | None] = []
    absent: list[tuple[str, str, str]] = []
    for row, place in zip(table.rows, table.places, strict=True):
        file, kind = _find_file(row[at], folder)
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
    return found, skips


_ABSENT = {
    "no-path": "the path is blank",
    "missing": "the listed file does not exist",
    "not-a-file": "the listed path is not a plain file",
    "zero-byte": "the listed file is empty (0 bytes)",
}


def _find_file(text: str, folder: Path) -> tuple[Found | None, str]:
    if not text:
        return None, "no-path"
    for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
        path = folder / spelling
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: a zero character in the path
            continue
        if not stat.S_ISREG(status.st_mode):
            return None, "not-a-file"
        if status.st_size == 0:
            return None, "zero-byte"
        name = Path(os.path.normpath(spelling))
        if name.is_absolute() and name.is_relative_to(folder.absolute()):
            name = name.relative_to(folder.absolute())
        return Found(name.as_posix(), path, status.st_size, status.st_mtime_ns), ""
    return None, "missing"


def _without_repeats(
    table: TextTable, found: Sequence[Found | None], facts: Sequence[str]
) -> tuple[list[int], list[Skip]]:
    """Rows with a file, each file once; rows that contradict each other are an error."""
    first: dict[str, int] = {}
    kept: list[int] = []
    repeats: list[tuple[str, str]] = []
    for i, file in enumerate(found):
        if file is None:
            continue
        j = first.setdefault(os.path.realpath(file.path), i)
        if j == i:
            kept.append(i)
        elif facts[i] != facts[j]:
            raise DataError(
                f"{table.places[j]} and {table.places[i]} of {table.name} name the same file with "
                "different labels, patients or parts: keep one of them"
            )
        else:
            repeats.append((file.name, f"{table.places[i]} repeats {table.places[j]}"))
    ids = case_ids([name for name, _ in repeats])
    return kept, [Skip(i, "repeated", text) for i, (_, text) in zip(ids, repeats, strict=True)]


def _ids(table: TextTable, at: int) -> list[str]:
    """The ids that the user gave, checked to be there and different."""
    first: dict[str, int] = {}
    for i, row in enumerate(table.rows):
        if not row[at]:
            raise DataError(f"column {table.header[at]!r} is blank in {table.places[i]}")
        j = first.setdefault(row[at], i)
        if j != i:
            raise DataError(
                f"{table.places[j]} and {table.places[i]} of {table.name} have the same "
                f"{table.header[at]!r}: make the ids different, or leave the id option out"
            )
    return list(first)


def _facts(truth: TableLabels, people: list[str | None], parts: list[str | None]) -> list[str]:
    """What each row says of its file, as a text to compare (NaN equals NaN there)."""
    return [repr(row) for row in zip(truth.single, truth.vectors, people, parts, strict=True)]


def _more_notes(rows: Sequence[IndexRow], task: str, parts: Sequence[str | None]) -> list[str]:
    notes = []
    without = len(labelled_rows(rows)[1]) if task != "unlabelled" else 0
    if without:
        notes.append(f"{without} of {len(rows)} cases have no label")
    blank = sum(row.part is None for row in rows)
    if blank and any(parts):
        notes.append(f"{blank} of {len(rows)} cases belong to no part of the given split")
    return notes

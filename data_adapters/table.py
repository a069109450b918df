"""Cases listed in a table: a path per row, a label or label columns, patient, part."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_adapters.adapter import (
    IndexRow,
    Skip,
    labelled_rows,
    local_path,
    register_adapter,
)
from data_adapters.case import Case
from data_adapters.errors import DataError, nearest, option_hint
from data_adapters.files import FileCases, Found, header_facts
from data_adapters.indexing import check_positive, pseudonyms
from data_adapters.privacy import case_ids
from data_adapters.table_cells import days, find_files, parts, sites
from data_adapters.table_labels import LABEL_NAMES, TableLabels, no_labels, read_labels
from data_adapters.table_masks import mask_column, read_masks
from data_adapters.table_text import TABLE_SUFFIXES, TextTable, read_table

if TYPE_CHECKING:
    from data_adapters.dicom.series import Series

PATH_NAMES = ("path", "file", "filename", "filepath", "file_path", "image", "image_path")
PATIENT_NAMES = ("patient", "patient_id", "patientid", "subject", "subject_id")
SPLIT_NAMES = ("split", "part")
SITE_NAMES = ("site", "hospital", "institution", "centre", "center")
DATE_NAMES = ("date", "study_date", "studydate")


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

    A path names a picture, a volume (NIfTI, NRRD, MetaImage) or the folder of one DICOM series. It
    is relative to the table's folder; absolute ones and those that lead upwards are taken as they
    stand. A missing file is left out and recorded. A blank label or patient is unknown. Without a
    column named `label`, two or more further columns that hold only 0, 1 and blanks are the labels
    of a multi-label task. With a column of masks the task is segmentation, and labels are not
    looked at.

    Args:
        source: The table.
        path: Column of file paths; by default `path`, `file`, `filename`, `image`, ...
        label: Column of class names or whole numbers; by default `label` or `class`.
        labels: Columns of a multi-label task, as names or one text with commas.
        patient: Column of patients; by default `patient`, `patient_id`, `subject`, ..., and DICOM
            headers where there is no such column.
        split: Column of parts (train, val, test, blank); by default `split` or `part`.
        id: Column that names the cases; by default the path does.
        site: Column of hospitals or other sources; by default `site`, `hospital`, ...; only a
            pseudonym of it is kept.
        date: Column of the studies' days, YYYY-MM-DD or YYYYMMDD; by default `date`, ...
        mask: Column of mask files on the same grid; by default `mask` or `mask_path`, where that
            holds file names and there is no column of labels.
        classes: Names of the masks' values, such as `background,liver` or `0=background,255=mass`.
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
        site: str | None = None,
        date: str | None = None,
        mask: str | None = None,
        classes: str | Sequence[str] | Mapping[int, str] | None = None,
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
        site_at = table.find(site, SITE_NAMES, option="site")
        date_at = table.find(date, DATE_NAMES, option="date")
        labels_named = bool(label or labels or table.find(None, LABEL_NAMES) is not None)
        mask_at = mask_column(table, mask, labels_named) if labelled else None
        every = (path_at, patient_at, split_at, id_at, site_at, date_at, mask_at)
        taken = {at for at in every if at is not None}

        def truth_of(rows: TextTable) -> TableLabels:
            if not labelled or mask_at is not None:
                return no_labels(rows)
            return read_labels(rows, label, labels, taken)

        found, series, skipped = find_files(table, path_at, place.parent)
        facts = _facts(
            truth_of(table), *(table.column(at) for at in (patient_at, split_at, site_at, mask_at))
        )
        parts(table, split_at)
        kept, repeats = _without_repeats(table, found, facts)
        if mask_at is not None:
            masks, kept, without = read_masks(table, mask_at, kept, place.parent, classes)
            skipped += without
        elif classes is not None:
            raise DataError("classes= names the values of masks: name their column with mask=")
        files = [file for i in kept if (file := found[i]) is not None]
        table = table.only(kept)
        truth = truth_of(table)
        day_of, day_notes = days(table, date_at, named=date is not None)
        self._series = {k: series[i] for k, i in enumerate(kept) if i in series}
        self._masks = masks if mask_at is not None else None
        headers, seen_modality = _headers(files, self._series)
        people, people_notes = pseudonyms(
            headers if patient_at is None else table.column(patient_at)
        )
        names = [file.name for file in files] if id_at is None else _ids(table, id_at)
        part_of = parts(table, split_at)
        uids = _uids(len(files), self._series)
        rows = [
            IndexRow(case_id, *row)
            for case_id, *row in zip(
                case_ids(names),
                people,
                truth.single,
                truth.vectors,
                part_of,
                *zip(*uids, strict=True),
                sites(table, site_at),
                day_of,
                strict=True,
            )
        ]
        task = truth.task if self._masks is None else "segmentation"
        super().__init__(
            files,
            rows,
            kind="table",
            root=str(place.resolve().parent),
            class_names=truth.class_names if self._masks is None else self._masks.classes.names,
            task=task,
            positive=check_positive(positive, truth.class_names, task),
            modality=modality or seen_modality,
            skipped=skipped + repeats,
            notes=[
                *truth.notes,
                *people_notes,
                *day_notes,
                *_more_notes(rows, truth.task, part_of),
            ],
        )

    def __getitem__(self, i: int) -> Case:
        """Read case `i` with its mask.

        Raises:
            CaseError: A file cannot be read; `grid` or `mask-values` where the mask does not fit.
        """
        row = self.index[operator.index(i)]
        place = range(len(self))[operator.index(i)]
        if place in self._series:
            from data_adapters.dicom.series import read_series

            case = read_series(self._series[place], row, self.modality)
        else:
            case = super().__getitem__(place)
        return case if self._masks is None else self._masks.put_on(case, place)

    def file_key(self, i: int) -> str:
        """Names, sizes and times of the file of case `i` and of its mask, and its classes."""
        key = super().file_key(i)
        return key if self._masks is None else f"{key}|{self._masks.key(i)}"


def _path_column(table: TextTable, wanted: str | None) -> int:
    at = table.find(wanted, PATH_NAMES, option="path")
    if at is None:
        columns = [name for name in table.header if name]
        raise DataError(
            f"no column 'path' of files in {table.name}: name it with "
            f"{option_hint('path', 'COLUMN')}{nearest('path', columns)}"
        )
    return at


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


def _facts(truth: TableLabels, *columns: list[str | None]) -> list[str]:
    """What each row says of its file, as a text to compare (NaN equals NaN there)."""
    return [repr(row) for row in zip(truth.single, truth.vectors, *columns, strict=True)]


def _headers(
    files: Sequence[Found], series: Mapping[int, Series]
) -> tuple[list[str | None], str | None]:
    """Patients and modality as DICOM headers give them, those of whole series too."""
    people, modality = header_facts([f for i, f in enumerate(files) if i not in series])
    if not series:
        return people, modality
    firsts = {i: one.first for i, one in series.items()}
    seen = {first.modality or None for first in firsts.values()}
    seen |= {modality} if people else set()
    rest = iter(people)
    every = [firsts[i].patient_id or None if i in firsts else next(rest) for i in range(len(files))]
    return every, seen.pop() if len(seen) == 1 else None


def _uids(count: int, series: Mapping[int, Series]) -> list[tuple[str | None, str | None]]:
    """Pseudonyms of study and series of each row that is a DICOM series."""
    if not series:
        return [(None, None)] * count
    from data_adapters.dicom.series import pseudonymous_uids

    return [
        pseudonymous_uids(series[i].first) if i in series else (None, None) for i in range(count)
    ]


def _more_notes(rows: Sequence[IndexRow], task: str, parts: Sequence[str | None]) -> list[str]:
    notes = []
    without = len(labelled_rows(rows)[1]) if task != "unlabelled" else 0
    if without:
        notes.append(f"{without} of {len(rows)} cases have no label")
    blank = sum(row.part is None for row in rows)
    if blank and any(parts):
        notes.append(f"{blank} of {len(rows)} cases belong to no part of the given split")
    return notes

"""splits.csv: which case lies in which part, and why."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import SplitError

if TYPE_CHECKING:
    from data_adapters.splits import Splits


@dataclass(frozen=True)
class SplitRow:
    """One line of splits.csv; every field is text, "" where there is nothing to say.

    Attributes:
        case_id: pseudonymous case id.
        patient: pseudonym of the patient.
        study: pseudonym of the study.
        series: pseudonym of the series.
        label: class name or number; a label vector as 1;0;;1 with nothing for unknown.
        part: "train", "val", "test" or "" (not used).
        fold: number of the fold from 0, where there are folds.
        pixel_sha256: digest of the pixel values (`hashing.pixel_sha256`).
        note: why the case was dropped or what else is to be said of it.
    """

    case_id: str
    patient: str = ""
    study: str = ""
    series: str = ""
    label: str = ""
    part: str = ""
    fold: str = ""
    pixel_sha256: str = ""
    note: str = ""


COLUMNS = tuple(field.name for field in fields(SplitRow))
_LATER = ("study", "series", "fold")
"""Columns that tables of earlier versions lack."""


def split_rows(
    index: Sequence[IndexRow],
    splits: Splits,
    *,
    sha256s: Sequence[str] | None = None,
    notes: Mapping[str, str] | None = None,
    class_names: Sequence[str] = (),
) -> list[SplitRow]:
    """The lines of splits.csv: one per index row, with pseudonyms only.

    Args:
        index: rows of an adapter.
        splits: their parts.
        sha256s: pixel digests, same rows.
        notes: remark per case id, such as why it was dropped (`LeakageResult.case_notes`).
        class_names: written instead of class numbers where given.
    """
    numbers = splits.folds or [-1] * len(index)
    remarks = notes or {}
    digests = sha256s if sha256s is not None else [""] * len(index)
    return [
        SplitRow(
            case_id=entry.case_id,
            patient=entry.patient_id or "",
            study=entry.study_id or "",
            series=entry.series_id or "",
            label=_label_text(entry, class_names),
            part=part,
            fold=str(fold) if fold >= 0 else "",
            pixel_sha256=digest,
            note=remarks.get(entry.case_id, ""),
        )
        for entry, part, digest, fold in zip(index, splits.parts, digests, numbers, strict=True)
    ]


def write_splits(path: Path | str, rows: Iterable[SplitRow]) -> None:
    """Write splits.csv (UTF-8, one header line), complete or not at all.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([getattr(row, column) for column in COLUMNS])
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def read_splits(path: Path | str) -> list[SplitRow]:
    """Read splits.csv back; the columns may stand in any order.

    Raises:
        SplitError: the file is absent or no UTF-8 table, lacks a column, names an unknown part, a
            fold that is no number, or the same case twice.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        lines = list(reader)
    except FileNotFoundError:
        raise SplitError(f"{source.name} is not there: write it with write_splits") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SplitError(f"{source.name} is no UTF-8 table of commas: {error}") from None
    have = reader.fieldnames or ()
    missing = [column for column in COLUMNS if column not in (*have, *_LATER)]
    if missing:
        raise SplitError(
            f"{source.name} lacks the column{'s' if missing[1:] else ''} {', '.join(missing)}; "
            f"it needs {', '.join(COLUMNS)}"
        )
    rows = [SplitRow(**{column: line.get(column) or "" for column in COLUMNS}) for line in lines]
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        if row.part not in ("", *PARTS):
            raise SplitError(
                f"{source.name}, row {number}: unknown part {row.part!r}; parts are called "
                "train, val and test, and empty means not used"
            )
        if row.fold and not (row.fold.isascii() and row.fold.isdigit()):
            raise SplitError(
                f"{source.name}, row {number}: fold {row.fold!r} is no whole number from 0"
            )
        if row.case_id in seen:
            raise SplitError(f"{source.name}, row {number}: case {row.case_id} stands there twice")
        seen.add(row.case_id)
    return rows


def _label_text(entry: IndexRow, class_names: Sequence[str]) -> str:
    if entry.labels is not None:
        return ";".join("" if math.isnan(value) else f"{value:g}" for value in entry.labels)
    if entry.label is None:
        return ""
    return class_names[entry.label] if entry.label < len(class_names) else str(entry.label)

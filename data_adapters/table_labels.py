"""The label columns of a table: one column of classes, or one column per label."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_adapters.adapter import Task
from data_adapters.errors import DataError, nearest, option_hint
from data_adapters.indexing import class_name_notes, class_order
from data_adapters.table_text import TextTable

LABEL_NAMES = ("label", "class")
_BLANK = frozenset({"", "na", "n/a", "nan", "null"})
_BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class TableLabels:
    """What the label columns say.

    Attributes:
        task: `single`, `multilabel` or `unlabelled`.
        class_names: Names of the classes or labels.
        single: Class index per row; None where unknown or where the task is another.
        vectors: 0.0, 1.0 or NaN per label, per row; None where the task is another.
        notes: Sentences for the report.
    """

    task: Task
    class_names: tuple[str, ...]
    single: list[int | None]
    vectors: list[tuple[float, ...] | None]
    notes: list[str]


def no_labels(table: TextTable) -> TableLabels:
    """What is known when nobody looks at the labels."""
    none = len(table.rows)
    return TableLabels("unlabelled", (), [None] * none, [None] * none, [])


def read_labels(
    table: TextTable, label: str | None, labels: str | Sequence[str] | None, taken: set[int]
) -> TableLabels:
    """Read the labels of a table.

    Args:
        table: The table.
        label: Name of the column of classes, if the user gave one.
        labels: Names of the columns of a multi-label task, if the user gave them.
        taken: Positions of the columns that are something else.

    Returns:
        The labels, row by row.

    Raises:
        DataError: The columns are not there, or hold what labels cannot be.
    """
    if label is not None and labels is not None:
        raise DataError("label names one column of classes and labels several: give one of them")
    if labels is not None:
        names = labels.split(",") if isinstance(labels, str) else list(labels)
        wanted = [name.strip() for name in names if name.strip()]
        if not wanted or len(set(wanted)) < len(wanted):
            raise DataError(f"labels={labels!r}: wanted different names of columns")
        found = [table.find(name, option="labels") for name in wanted]
        return _multilabel(table, [at for at in found if at is not None], named=True)
    at = table.find(label, LABEL_NAMES, option="label")
    if at is not None:
        return _single(table, at)
    rest = [i for i, name in enumerate(table.header) if name and i not in taken]
    if len(rest) < 2:
        names = [table.header[i] for i in rest]
        raise DataError(
            f"no column 'label' in {table.name}: name it with "
            f"{option_hint('label', 'COLUMN')}, or several with "
            f"{option_hint('labels', '[A,B]')}{nearest('label', names)}"
        )
    return _multilabel(table, rest, named=False)


def _single(table: TextTable, at: int) -> TableLabels:
    texts = ["" if row[at].casefold() in _BLANK else row[at] for row in table.rows]
    given = [text for text in texts if text]
    if not given:
        raise DataError(f"column {table.header[at]!r} of {table.name} holds no label at all")
    if all(_WHOLE.fullmatch(text) for text in given):
        texts = [str(int(text.split(".")[0])) if text else "" for text in texts]
    elif all(_NUMBER.fullmatch(text) for text in given) and not all(t.isdigit() for t in given):
        place, value = next(
            (table.places[i], t) for i, t in enumerate(texts) if t and not _WHOLE.fullmatch(t)
        )
        raise DataError(
            f"column {table.header[at]!r} of {table.name} holds {value} in {place}: "
            "classes are names or whole numbers"
        )
    names = class_order(text for text in texts if text)
    index = {name: i for i, name in enumerate(names)}
    single = [index.get(text) for text in texts]
    return TableLabels("single", names, single, [None] * len(texts), class_name_notes(names))


def _multilabel(table: TextTable, columns: Sequence[int], *, named: bool) -> TableLabels:
    vectors: list[tuple[float, ...] | None] = []
    for place, row in zip(table.places, table.rows, strict=True):
        vectors.append(tuple(_binary(table, at, place, row[at], named) for at in columns))
    names = tuple(table.header[at] for at in columns)
    notes = []
    if not named:
        notes.append(f"the labels are the columns {', '.join(names)}")
    for k, name in enumerate(names):
        if all(math.isnan(vector[k]) for vector in vectors if vector is not None):
            notes.append(f"label {name!r} is unknown for every case")
    return TableLabels("multilabel", names, [None] * len(vectors), vectors, notes)


def _binary(table: TextTable, at: int, place: str, text: str, named: bool) -> float:
    folded = text.casefold()
    if folded in _BLANK:
        return math.nan
    value = _BINARY.get(folded)
    if value is not None:
        return value
    column = table.header[at]
    if not named:  # the column may be anything, so its value is not shown
        names = [name for name in table.header if name]
        raise DataError(
            f"no column 'label' in {table.name}, and {column!r} holds more than 0, 1 and blanks in "
            f"{place}, so it is no label column either: name the columns with "
            f"{option_hint('label', 'COLUMN')} or {option_hint('labels', '[A,B]')}"
            f"{nearest('label', names)}"
        )
    shown = repr(text if len(text) <= 20 else text[:20] + "...")
    raise DataError(
        f"column {column!r} of {table.name} holds {shown} in {place}: a label is 0, 1, or blank "
        "where it is unknown or uncertain"
    )

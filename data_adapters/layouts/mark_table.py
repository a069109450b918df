"""Tables of points and boxes, one mark per row: LUNA16's `annotations.csv` and its like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data_adapters.errors import DataError, nearest, option_hint
from data_adapters.indexing import class_order
from data_adapters.table_text import TextTable

Frame = Literal["world", "voxel"]
SERIES_NAMES = ("seriesuid", "series_uid", "series")
PATH_NAMES = ("path", "file", "filename", "image", "image_path")
CLASS_NAMES = ("class", "label")
LUNA_POINT = ("coordx", "coordy", "coordz")
_POINTS = (LUNA_POINT, ("x", "y", "z"), ("x", "y"))
_BOXES = (
    ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax"),
    ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max"),
    ("x1", "y1", "z1", "x2", "y2", "z2"),
)
_DIAMETERS = ("diameter_mm", "diameter")
_RADII = ("radius_mm", "radius")


@dataclass(frozen=True, slots=True)
class Mark:
    """One row.

    Attributes:
        label: Index of the class.
        corners: Two corners or one point, each (x, y, z) or (x, y), as the table gives them.
        radius: Radius; None when the table gives none.
    """

    label: int
    corners: tuple[tuple[float, ...], ...]
    radius: float | None = None


@dataclass(frozen=True)
class MarkTable:
    """A table of marks.

    Attributes:
        marks: Marks by series or path, in the table's order; a row without coordinates gives a
            series an empty entry.
        class_names: Names of the classes.
        by_path: The keys are paths, not names of series.
        frame: What the coordinates count in: millimetres (LPS) or voxels.
        radius_in_mm: Radii are millimetres though the coordinates are voxels.
        patients: Patient by key, as the table gives it; empty without such a column.
    """

    marks: dict[str, list[Mark]]
    class_names: tuple[str, ...]
    by_path: bool
    frame: Frame
    radius_in_mm: bool
    patients: dict[str, str]


def is_luna(header: Sequence[str]) -> bool:
    """Whether a header is LUNA16's: a series and `coordX,coordY,coordZ`."""
    folded = {name.strip().casefold() for name in header}
    return set(LUNA_POINT) <= folded and bool(folded & set(SERIES_NAMES))


def read_marks(
    table: TextTable,
    *,
    path: str | None = None,
    label: str | None = None,
    patient: str | None = None,
    frame: Frame | None = None,
) -> MarkTable:
    """Read the rows of a table of marks.

    Args:
        table: The table.
        path: Column of series or paths.
        label: Column of classes.
        patient: Column of patients.
        frame: What coordinates count in; known without it for LUNA's columns only.

    Raises:
        DataError: A column is missing, or a cell is no number; the message names the place.
    """
    key_at = table.find(path, (*SERIES_NAMES, *PATH_NAMES), option="path")
    if key_at is None:
        raise DataError(
            f"no column 'seriesuid' or 'path' in {table.name}: name it with "
            f"{option_hint('path', 'COLUMN')}{nearest('path', [c for c in table.header if c])}"
        )
    points, is_box = _coordinates(table)
    size_at = next((at for n in (*_DIAMETERS, *_RADII) if (at := _at(table, n)) is not None), None)
    size_name = "" if size_at is None else table.header[size_at].casefold()
    luna = _at(table, LUNA_POINT[0]) in points
    if frame not in (None, "world", "voxel"):
        raise DataError(f"frame={frame!r}: wanted 'world' (mm, LPS) or 'voxel'")
    if frame is None and not luna:
        raise DataError(
            f"{table.name} does not say what its coordinates count in: give frame='world' (mm, "
            "LPS) or frame='voxel'"
        )
    class_at = table.find(label, CLASS_NAMES, option="label")
    names, labels = _classes(table, class_at, "nodule" if luna else "finding")
    marks: dict[str, list[Mark]] = {}
    for row, place, number in zip(table.rows, table.places, labels, strict=True):
        if not row[key_at]:
            raise DataError(f"column {table.header[key_at]!r} is blank in {place} of {table.name}")
        found = marks.setdefault(row[key_at], [])
        if not any(row[at] for at in points):
            continue
        values = [_number(table, row[at], at, place) for at in points]
        half = len(values) // 2 if is_box else len(values)
        corners = (tuple(values[:half]), tuple(values[half:])) if is_box else (tuple(values),)
        radius = None
        if size_at is not None and row[size_at] and not is_box:
            size = _number(table, row[size_at], size_at, place)
            radius = size / 2 if size_name in _DIAMETERS else size
        if number is None:
            raise DataError(f"{place} of {table.name} has coordinates and no class")
        found.append(Mark(number, corners, radius))
    by_path = table.header[key_at].casefold() not in SERIES_NAMES
    in_mm = size_name.endswith("_mm")
    return MarkTable(
        marks, names, by_path, frame or "world", in_mm, _patients(table, key_at, patient)
    )


def _at(table: TextTable, name: str) -> int | None:
    folded = [column.casefold() for column in table.header]
    return folded.index(name) if name in folded else None


def _coordinates(table: TextTable) -> tuple[list[int], bool]:
    """Positions of the columns of coordinates, and whether they are two corners."""
    for names in _BOXES:
        flat = tuple(n for n in names if "z" not in n)
        for box in ((*names,), flat):
            found = [at for name in box if (at := _at(table, name)) is not None]
            if len(found) == len(box):
                return found, True
    for point in _POINTS:
        found = [at for name in point if (at := _at(table, name)) is not None]
        if len(found) == len(point):
            return found, False
    raise DataError(
        f"no columns of coordinates in {table.name}: wanted coordX,coordY,coordZ or x,y,z or "
        "xmin,ymin,zmin,xmax,ymax,zmax (z left out for pictures)"
    )


def _number(table: TextTable, text: str, at: int, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        column = table.header[at]
        raise DataError(f"column {column!r} of {table.name} holds no number in {place}")
    return value


def _classes(
    table: TextTable, at: int | None, only: str
) -> tuple[tuple[str, ...], list[int | None]]:
    """Class names, and the class of each row."""
    if at is None:
        return (only,), [0] * len(table.rows)
    texts = table.column(at)
    names = class_order(text for text in texts if text)
    if not names:
        raise DataError(f"column {table.header[at]!r} of {table.name} holds no class at all")
    order = {name: k for k, name in enumerate(names)}
    return names, [order.get(text or "") for text in texts]


def _patients(table: TextTable, key_at: int, patient: str | None) -> dict[str, str]:
    at = table.find(patient, ("patient", "patient_id"), option="patient")
    if at is None:
        return {}
    known: dict[str, str] = {}
    for row, place in zip(table.rows, table.places, strict=True):
        if known.setdefault(row[key_at], row[at]) != row[at]:
            raise DataError(f"{place} of {table.name}: a series has two patients")
    return known

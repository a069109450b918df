"""Findings and candidates of any program, as tables in LUNA16's form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.errors import DataError
from data_adapters.table_text import TextTable, read_table
from recipes.errors import RecipeError
from recipes.evaluation.froc.hits import HitRule
from recipes.evaluation.froc.matching import Candidates, Findings, match
from recipes.evaluation.froc.summary import summarise_froc

SCAN = "seriesuid"
PLACE = ("coordX", "coordY", "coordZ")
UNKNOWN_MM = 10.0
"""Diameter of an excluded finding whose own is negative, as LUNA16's script takes it."""


def score_tables(
    truth: Path,
    candidates: Path,
    *,
    excluded: Path | None = None,
    scans: Path | None = None,
    patients: Path | None = None,
    max_candidates: int | None = None,
    rule: HitRule | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score candidates against findings, both in LUNA16's CSV form.

    Ids are text, never numbers. Rows of scans that are not in the list of scans do not count and
    are reported. Scans without candidates stay in the denominator.

    Args:
        truth: ``seriesuid,coordX,coordY,coordZ,diameter_mm``: the lesions, LPS mm.
        candidates: ``seriesuid,coordX,coordY,coordZ,probability``: the marks.
        excluded: Findings that count neither way, in the form of `truth`; a negative diameter
            means 10 mm.
        scans: One id per line: the scans that were looked at. Without it they are those that any
            table names, and scans without lesions and candidates are unknown.
        patients: ``seriesuid,patient``: the unit of intervals; without it the scan.
        max_candidates: Candidates of a scan that count, the highest first.
        rule: When a candidate hits; None: nearer than the radius. Tables have no boxes.
        n_boot: Bootstrap resamples of patients.
        seed: Seed of the resamples.

    Returns:
        `summarise_froc`'s figures with the plain numbers on top: "froc" rate -> sensitivity,
        "cpm"; "intervals" of both; "unit"; "rule"; "notes".

    Raises:
        data_adapters.errors.DataError: A table cannot be read; the message names file and line.
        RecipeError: A setting out of range, or no lesions at all.
    """
    rule = rule or HitRule()
    if rule.rule not in ("radius", "distance"):
        raise RecipeError(f"hit rule {rule.rule!r} wants boxes, which these tables do not have")
    lesions = _rows(truth, "diameter_mm", unknown=None)
    marks = _rows(candidates, "probability", unknown=None)
    left_out = ([], []) if excluded is None else _rows(excluded, "diameter_mm", unknown=UNKNOWN_MM)
    listed = None if scans is None else _listed(scans)
    named = list(dict.fromkeys([*lesions[0], *marks[0], *left_out[0]]))
    ids = named if listed is None else listed
    number = {name: k for k, name in enumerate(ids)}
    notes = _notes(number, (("lesions", lesions), ("candidates", marks)), listed is None)
    kept = [_kept(table, number) for table in (lesions, marks, left_out)]
    if not len(kept[0][0]):
        raise RecipeError(f"{truth.name} holds no lesion of any scan, so there is no sensitivity")
    groups = _patients(patients, ids) if patients is not None else ()
    found = match(
        len(ids),
        Findings(scan=kept[0][0], centre=kept[0][1], radius=kept[0][2] / 2),
        Candidates(scan=kept[1][0], centre=kept[1][1], score=kept[1][2]).capped(max_candidates),
        rule,
        excluded=Findings(scan=kept[2][0], centre=kept[2][1], radius=kept[2][2] / 2),
        groups=groups,
    )
    result = summarise_froc(found, n_boot=n_boot, seed=seed)
    return _plain(result) | {
        "unit": "patient" if patients is not None else "scan",
        "rule": str(rule),
        "max_candidates": max_candidates,
        "notes": notes,
    }


Rows = tuple[list[str], list[list[float]]]
"""Ids, and per row the place and the last column."""


def _rows(path: Path, last: str, *, unknown: float | None) -> Rows:
    """Read a table.

    Args:
        path: The table.
        last: Its column beside id and place.
        unknown: What a negative value of it stands for; None: it may not be negative where it is
            a diameter.
    """
    table = read_table(path, empty=True)
    columns = [_column(table, name) for name in (SCAN, *PLACE, last)]
    ids, values = [], []
    for row, place in zip(table.rows, table.places, strict=True):
        cells = [row[k] for k in columns]
        if not cells[0]:
            raise DataError(f"{place} of {table.name}: {SCAN} is empty")
        figures = [
            _figure(cell, name, place, table.name)
            for cell, name in zip(cells[1:], (*PLACE, last), strict=True)
        ]
        if last == "diameter_mm" and figures[-1] <= 0:
            if unknown is None or figures[-1] == 0:
                raise DataError(
                    f"{place} of {table.name}: {last} is {figures[-1]:g}; a lesion wants a "
                    "diameter above 0 (only excluded findings may be negative: unknown)"
                )
            figures[-1] = unknown
        ids.append(cells[0])
        values.append(figures)
    return ids, values


def _column(table: TextTable, name: str) -> int:
    at = table.find(name)
    assert at is not None, "a wanted column that is not there raises"
    return at


def _figure(cell: str, column: str, place: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{place} of {name}: {column} is {cell!r}, no number") from None
    if not math.isfinite(value):
        raise DataError(f"{place} of {name}: {column} is {cell!r}, not finite")
    return value


def _listed(path: Path) -> list[str]:
    """Ids of the list of scans; a header is known by its name."""
    table = read_table(path, empty=True)
    first = table.header[0]
    names = [] if first.casefold() in (SCAN, "scan", "id") else [first]
    names += [row[0] for row in table.rows]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise DataError(f"{path.name} lists no scan")
    return names


def _kept(rows: Rows, number: dict[str, int]) -> tuple[Any, Any, Any]:
    """Scan numbers, places and last figures of the rows whose scan counts."""
    inside = [k for k, name in enumerate(rows[0]) if name in number]
    figures = np.asarray([rows[1][k] for k in inside], np.float64).reshape(-1, len(PLACE) + 1)
    scans = np.asarray([number[rows[0][k]] for k in inside], np.int64)
    return scans, figures[:, :-1], figures[:, -1]


def _notes(
    number: dict[str, int], tables: Sequence[tuple[str, Rows]], open_list: bool
) -> list[str]:
    notes = []
    if open_list:
        notes.append(
            "the scans are those that a table names; give --scans where others were looked at too"
        )
    for what, (ids, _) in tables:
        outside = sum(name not in number for name in ids)
        if outside:
            notes.append(f"{outside} {what} of scans that are not in the list do not count")
    return notes


def _patients(path: Path, ids: Sequence[str]) -> list[str]:
    table = read_table(path)
    scan, patient = _column(table, SCAN), _column(table, "patient")
    of = {row[scan]: row[patient] for row in table.rows}
    missing = [name for name in ids if not of.get(name)]
    if missing:
        raise DataError(f"{table.name} names no patient for {len(missing)} of {len(ids)} scans")
    return [of[name] for name in ids]


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """Plain numbers where tables of other programs have them, intervals beside them."""
    figures = {**result["froc"], **{key: result[key] for key in ("cpm", "jafroc", "roc")}}
    return {
        **result,
        "froc": {rate: figure["value"] for rate, figure in result["froc"].items()},
        **{key: result[key]["value"] for key in ("cpm", "jafroc", "roc")},
        "intervals": {key: [one["low"], one["high"]] for key, one in figures.items()},
    }

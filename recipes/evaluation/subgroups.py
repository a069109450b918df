"""Figures of a classifier in groups of cases: by sex, by band of age, by site, by scanner."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import ConfigError
from recipes.evaluation.assess import evaluate

LEAST = 20
"""Cases below which a group's figures are not shown."""
LEAST_OF_CLASS = 5
"""Cases of each class that a group of a two-class question must have."""
MOST = 30
"""Groups of one column; more are no grouping but names."""
SHOWN = (
    "auc", "sensitivity", "specificity", "sensitivity_op", "specificity_op", "accuracy",
    "balanced_accuracy", "brier",
)  # fmt: skip
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Grouping:
    """What ``--by`` asks for.

    Attributes:
        column: Name of a column of the table, or of a fact that adapters know.
        width: Width of bands of a number; None groups by the value itself.
    """

    column: str
    width: float | None = None


def parse_grouping(text: str) -> Grouping:
    """Read ``sex`` or ``age:10``.

    Raises:
        ConfigError: The width is no number above 0, or nothing is named.
    """
    column, colon, width = text.strip().rpartition(":") if ":" in text else (text.strip(), "", "")
    if not column:
        raise ConfigError(f"--by {text!r}: wanted a column, or a column and a width such as age:10")
    if not colon:
        return Grouping(column)
    try:
        number = float(width)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(f"--by {text!r}: the width of bands must be a number above 0")
    return Grouping(column, number)


def group_names(values: Sequence[str | None], grouping: Grouping) -> list[str]:
    """The group of each case; `UNKNOWN` where the value is blank.

    Args:
        values: Cells of the column. DICOM ages such as ``063Y`` count in years.
        grouping: How to group.

    Raises:
        ConfigError: A value is no number though bands are asked for, or there are too many groups.
    """
    names = []
    for value in values:
        text = (value or "").strip()
        if not text:
            names.append(UNKNOWN)
        elif grouping.width is None:
            names.append(text)
        else:
            low = math.floor(_number(text, grouping) / grouping.width) * grouping.width
            names.append(f"{low:g} to below {low + grouping.width:g}")
    found = set(names) - {UNKNOWN}
    if len(found) > MOST:
        way = "" if grouping.width else f"; numbers can be put into bands: {grouping.column}:10"
        raise ConfigError(
            f"--by {grouping.column}: {len(found)} different groups, and at most {MOST} make "
            f"sense{way}"
        )
    return names


_AGE = re.compile(r"0*(\d+)([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def _number(text: str, grouping: Grouping) -> float:
    age = _AGE.fullmatch(text.upper())
    if age is not None:
        return int(age[1]) * _YEARS[age[2]]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"--by {grouping.column}:{grouping.width:g}: a value of {grouping.column} is no "
            f"number; leave the width out to group by the values themselves"
        )
    return number


def subgroups(
    y: npt.NDArray[Any],
    prob: npt.NDArray[Any],
    patients: Sequence[object] | None,
    names: Sequence[str],
    **options: Any,
) -> list[dict[str, Any]]:
    """Figures of every group, with intervals over its patients.

    A group with fewer than `LEAST` cases, or of a two-class question fewer than `LEAST_OF_CLASS`
    of a class, gets no figures: they would say more about chance than about the group.

    Args:
        y: Truth, as for `evaluate`.
        prob: Probabilities, ``(N, K)``.
        patients: Patient of each case, None where unknown.
        names: Group of each case, ``(N,)``.
        **options: Further arguments of `evaluate`.

    Returns:
        One row each, in order of name and unknown last: ``group``, ``n``, ``n_patients``,
        ``n_positive`` (two classes with a named positive one, else None), and ``figures``, or
        ``refused`` with the reason.
    """
    order = sorted(set(names), key=lambda name: (name == UNKNOWN, _sort_key(name)))
    return [_one(name, y, prob, patients, names, options) for name in order]


def _sort_key(name: str) -> tuple[float, str]:
    head = name.split(" ")[0]
    try:
        return float(head), name
    except ValueError:
        return math.inf, name


def _one(
    name: str,
    y: npt.NDArray[Any],
    prob: npt.NDArray[Any],
    patients: Sequence[object] | None,
    names: Sequence[str],
    options: dict[str, Any],
) -> dict[str, Any]:
    rows = np.flatnonzero([one == name for one in names])
    own = None if patients is None else [patients[int(i)] for i in rows]
    known = {str(p) for p in own or () if p is not None}
    positive = options.get("positive")
    classes = list(options["class_names"])
    n_positive = None
    if positive is not None and len(classes) == 2 and options["task"] == "single":
        n_positive = int((np.asarray(y)[rows] == classes.index(positive)).sum())
    row: dict[str, Any] = {
        "group": name,
        "n": len(rows),
        "n_patients": len(known) or None,
        "n_positive": n_positive,
    }
    few = n_positive is not None and min(n_positive, len(rows) - n_positive) < LEAST_OF_CLASS
    if len(rows) < LEAST or few:
        reason = f"fewer than {LEAST} cases" if len(rows) < LEAST else (
            f"fewer than {LEAST_OF_CLASS} cases of a class"
        )  # fmt: skip
        return row | {"refused": f"{reason}: figures would be chance"}
    found = evaluate(np.asarray(y)[rows], np.asarray(prob)[rows], own, **options)
    return row | {"figures": {key: found[key] for key in SHOWN if key in found}}

"""Other readers of the same cases, people or programs, beside the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.errors import nearest
from data_adapters.table_text import read_table
from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.compare import paired_difference
from recipes.evaluation.metrics import counts, ranking, rates

Array = npt.NDArray[np.float64]
CASE_NAMES = ("case", "case_id", "id", "path", "file", "filename")


class ReadersError(RecipeError):
    """A table of readers' scores does not fit; the message says where and the way out."""


def read_scores(
    path: Path, names: Sequence[Sequence[str]], *, classes: Sequence[str], positive: str
) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
    """Scores of readers for cases, from a table with a column of cases and one for each reader.

    Args:
        path: CSV, TSV or parquet.
        names: For every case the names by which the table may call it (case id, path, file name).
        classes: Names of the two classes, which calls may be given by.
        positive: The positive one.

    Returns:
        Positions of the cases that the table has, ascending; and reader to scores in that order.

    Raises:
        ReadersError: A case is unknown or twice there, or a cell is no score.
        DataError: The table cannot be read.
    """
    table = read_table(path)
    at = table.find(None, CASE_NAMES)
    if at is None:
        raise ReadersError(f"--compare {path.name}: no column of cases; name one 'case'")
    places = _places(names)
    rows: dict[int, int] = {}
    for number, (row, line) in enumerate(zip(table.rows, table.places, strict=True)):
        place = places.get(row[at])
        if place is None:
            continue
        if place in rows:
            raise ReadersError(f"--compare {path.name}: {line} repeats a case")
        rows[place] = number
    if not rows:
        raise ReadersError(
            f"--compare {path.name}: none of its {len(table.rows)} cases is among those evaluated; "
            "name them by case id (predictions.csv of the run) or as the data do"
        )
    found = np.array(sorted(rows), "int64")
    readers = [k for k, name in enumerate(table.header) if k != at and name]
    if not readers:
        raise ReadersError(f"--compare {path.name}: no column of scores beside that of cases")
    scores = {}
    for k in readers:
        cells = [(table.rows[rows[i]][k], table.places[rows[i]]) for i in found]
        where = f"--compare {path.name}: column {table.header[k]!r}"
        scores[table.header[k]] = _scores(cells, where, classes, positive)
    return found, scores


def _places(names: Sequence[Sequence[str]]) -> dict[str, int]:
    """Name to position, names of several cases left out."""
    found: dict[str, int] = {}
    twice = set()
    for place, own in enumerate(names):
        for name in dict.fromkeys(own):
            if found.setdefault(name, place) != place:
                twice.add(name)
    return {name: place for name, place in found.items() if name not in twice}


def _scores(
    cells: Sequence[tuple[str, str]], where: str, classes: Sequence[str], positive: str
) -> Array:
    values = []
    named = {name.casefold(): float(name == positive) for name in classes}
    for text, line in cells:
        value = named.get(text.casefold())
        if value is None:
            try:
                value = float(text)
            except ValueError:
                value = math.nan
        if not math.isfinite(value):
            hint = nearest(text, list(classes)) if text else ": the cell is blank"
            raise ReadersError(f"{where} holds no score in {line}{hint}")
        values.append(value)
    return np.array(values)


def compare_readers(
    y: npt.ArrayLike,
    network: npt.ArrayLike,
    readers: dict[str, Array],
    patients: Sequence[object] | None,
    *,
    threshold: float | None,
    n_boot: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Each reader beside the network on the same cases and the same bootstrap resamples.

    Scores with more than two values are compared by the area under the ROC curve; yes-or-no calls
    by sensitivity and specificity, the network's being read off its ROC curve at the reader's own
    specificity (and sensitivity), anew in each resample. That the threshold is matched on these
    cases favours neither side, but it is no threshold that one could have used.

    Args:
        y: Truth, 0 or 1, ``(N,)``.
        network: The network's probability of the positive class, ``(N,)``.
        readers: Reader to scores, ``(N,)``; calls are 0 or 1.
        patients: Patient of each case, None where unknown.
        threshold: The network's operating threshold, for calls.
        n_boot: Bootstrap resamples.
        seed: Seed.

    Returns:
        One row a reader: ``reader``, ``kind`` (``scores`` or ``calls``), ``reader_figures``,
        ``network_figures`` and ``difference`` (network minus reader), each figure with its
        interval.

    Raises:
        ReadersError: A class is missing among the cases.
    """
    truth, p = np.asarray(y, "float64"), np.asarray(network, "float64")
    if not 0 < truth.sum() < len(truth):
        raise ReadersError("the cases that the readers scored are all of one class")
    group_of, _ = group_index(patients, len(truth))
    if int(group_of.max()) < 1:
        raise ReadersError("the cases that the readers scored are all of one patient")
    rows = []
    for name, scores in readers.items():
        if set(np.unique(scores).tolist()) <= {0.0, 1.0}:
            found = _calls(truth, p, scores > 0.5, group_of, threshold, n_boot, seed)
        else:
            found = _scored(truth, p, scores, patients, group_of, n_boot, seed)
        rows.append({"reader": name} | found)
    return rows


def _scored(
    y: Array,
    p: Array,
    scores: Array,
    patients: Sequence[object] | None,
    group_of: npt.NDArray[np.int64],
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    figures = {}
    for side, values in (("reader", scores), ("network", p)):
        value = float(ranking(y, values, np.ones((1, len(y))))[0][0])
        draws = [ranking(y, values, w)[0] for w in resamples(group_of, n_boot, seed=seed)]
        figures[f"{side}_figures"] = {"auc": _figure(value, np.concatenate(draws))}
    # Ranks are probabilities enough: the area depends on the order alone.
    own, theirs = (np.stack([1 - r, r], axis=1) for r in (_ranks(p), _ranks(scores)))
    gap = paired_difference(
        y.astype(int), own, theirs, patients, "auc", class_names=("no", "yes"), positive="yes",
        task="single", n_boot=n_boot, seed=seed,
    )  # fmt: skip
    return {"kind": "scores", **figures, "difference": {"auc": gap}}


def _ranks(values: Array) -> Array:
    _, place = np.unique(values, return_inverse=True)
    return np.asarray(place / max(1, int(place.max())), "float64")


def _calls(
    y: Array,
    p: Array,
    called: npt.NDArray[np.bool_],
    group_of: npt.NDArray[np.int64],
    threshold: float | None,
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    chunks = [np.ones((1, len(y))), *resamples(group_of, n_boot, seed=seed)]
    columns: dict[str, list[Array]] = {}
    for weights in chunks:
        got = rates(counts(y, called, weights))
        own = {"sensitivity": got["sensitivity"], "specificity": got["specificity"]}
        matched = _matched(y, p, weights, own)
        for name in own:
            columns.setdefault(f"reader {name}", []).append(own[name])
            columns.setdefault(f"network {name}", []).append(matched[name])
            columns.setdefault(f"gap {name}", []).append(matched[name] - own[name])
        if threshold is not None:
            at = rates(counts(y, p >= threshold, weights))
            for name in own:
                columns.setdefault(f"network {name}_op", []).append(at[name])
    table = {key: np.concatenate(parts) for key, parts in columns.items()}
    figures = {key: _figure(float(values[0]), values[1:]) for key, values in table.items()}

    def side(word: str) -> dict[str, Any]:
        return {k.split(" ")[1]: v for k, v in figures.items() if k.startswith(word)}

    network = {
        {"sensitivity": "sensitivity_at_their_specificity",
         "specificity": "specificity_at_their_sensitivity"}.get(key, key): value
        for key, value in side("network").items()
    }  # fmt: skip
    return {
        "kind": "calls",
        "reader_figures": side("reader"),
        "network_figures": network,
        "difference": side("gap"),
    }


def _matched(y: Array, p: Array, weights: Array, own: dict[str, Array]) -> dict[str, Array]:
    """Sensitivity of a score at given specificities, and the other way round; ``(B,)`` each.

    Between two thresholds the ROC curve is a straight line, as in its area.
    """
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    ends = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]]))
    drawn = weights[:, order]
    hits = np.cumsum(drawn * y[order], axis=1)[:, ends]
    alarms = np.cumsum(drawn * (1 - y[order]), axis=1)[:, ends]
    nothing = np.zeros((len(weights), 1))
    hits, alarms = np.hstack([nothing, hits]), np.hstack([nothing, alarms])
    sensitivity, specificity = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    for b in range(len(weights)):
        if hits[b, -1] > 0 and alarms[b, -1] > 0:
            tpr, fpr = hits[b] / hits[b, -1], alarms[b] / alarms[b, -1]
            sensitivity[b] = _upper(1 - own["specificity"][b], fpr, tpr)
            specificity[b] = 1 - _lower(own["sensitivity"][b], tpr, fpr)
    return {"sensitivity": sensitivity, "specificity": specificity}


def _upper(x: float, xs: Array, ys: Array) -> float:
    """Height of a rising staircase of lines at x, the top of a vertical step."""
    last = np.flatnonzero(np.concatenate([xs[1:] > xs[:-1], [True]]))
    return float(np.interp(x, xs[last], ys[last]))


def _lower(x: float, xs: Array, ys: Array) -> float:
    """The same, the bottom of a vertical step."""
    first = np.flatnonzero(np.concatenate([[True], xs[1:] > xs[:-1]]))
    return float(np.interp(x, xs[first], ys[first]))


def _figure(value: float, draws: Array) -> dict[str, float | None]:
    low, high, _ = percentile_interval(draws, 0.95)
    ends = {"value": value, "low": low, "high": high}
    return {name: v if np.isfinite(v) else None for name, v in ends.items()}

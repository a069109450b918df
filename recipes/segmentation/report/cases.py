"""The best, the median and the worst case of the evaluated part, drawn where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipes.classification.thumbnails import may_show
from recipes.report.wording import number
from recipes.segmentation.inference import postprocess
from recipes.segmentation.report import wording
from recipes.segmentation.report.inputs import Finished
from recipes.segmentation.report.overlays import overlay

Row = dict[str, Any]


def examples(run: Finished) -> list[Row]:
    """Best, median and worst case by Dice, averaged over the classes that are in the case."""
    ranked = rank(run.shown.rows)
    return [_card(run, name, case, dice) for name, case, dice in chosen(ranked)]


def rank(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Cases with their mean Dice, the best first; without those that have nothing to find.

    Args:
        rows: One per case and class.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["dice"] is not None:
            values.setdefault(row["case"], []).append(float(row["dice"]))
    means = [(case, float(np.mean(found))) for case, found in values.items()]
    return sorted(means, key=lambda item: (-item[1], item[0]))


def chosen(ranked: Sequence[tuple[str, float]]) -> list[tuple[str, str, float]]:
    """(name, case, mean Dice) of the best, the median and the worst; each case once."""
    places = {"Best": 0, "Median": (len(ranked) - 1) // 2, "Worst": len(ranked) - 1}
    taken: dict[int, str] = {}
    for name in ("Best", "Worst", "Median"):
        if ranked:
            taken.setdefault(places[name], name)
    return [(name, *ranked[place]) for place, name in sorted(taken.items())]


def _card(run: Finished, name: str, case_id: str, dice: float) -> Row:
    rows = [row for row in run.shown.rows if row["case"] == case_id]
    image, smaller = _picture(run, case_id)
    return {
        "title": f"{name} case",
        "case": case_id,
        "dice": number(dice),
        "image": image,
        "smaller": smaller,
        "rows": [
            {
                "name": row["class"],
                "dice": number(row["dice"]),
                "hd95": _amount(row["hd95"]),
                "truth": _amount(row["truth_volume"]),
                "prediction": _amount(row["prediction_volume"]),
            }
            for row in rows
        ],
    }


def _picture(run: Finished, case_id: str) -> tuple[str | None, bool]:
    """The drawing of a case, None where it is not to be shown; and whether it is cut out."""
    if run.config.report.pictures == "no":
        return None, False
    predicted = run.shown.predicted
    index = run.prepared.adapter.index
    place = next(i for i, row in enumerate(predicted.rows) if index[row].case_id == case_id)
    truth, case = predicted.truth(place)
    if not may_show(case, run.config.report.pictures):
        return None, False
    found = postprocess(predicted.labels(place), run.facts.get("postprocess") or ())
    return overlay(case, truth, found, run.prepared.plan.classes)


def _amount(value: Any) -> str:
    """A distance or volume; infinite ones are written as text in the rows."""
    return "infinite" if value == "inf" else wording.amount_text(value)

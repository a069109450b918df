"""The cases a reader should look at: the most confident mistakes, and near duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.report.images import thumbnail
from recipes.report.inputs import ReportInputs, scrub
from recipes.report.view import part_name

PER_ROW = 6
MOST_PAIRS = 6

Row = dict[str, Any]
Picture = Callable[[str], npt.NDArray[np.uint8] | None]


def mistakes(inputs: ReportInputs) -> list[Row]:
    """Groups of wrong answers, the most confident first, with thumbnails."""
    k = inputs.positive_index
    if k is not None:
        return _binary(inputs, k)
    if inputs.task == "multilabel":
        return _multilabel(inputs)
    return _multiclass(inputs)


def _binary(inputs: ReportInputs, k: int) -> list[Row]:
    truth = inputs.truth[:, k] > 0.5
    p = np.asarray(inputs.prob, dtype=np.float64)[:, k]
    name, other = inputs.class_names[k], inputs.class_names[1 - k]
    missed = [i for i in np.argsort(p, kind="stable") if truth[i] and p[i] < 0.5]
    alarms = [i for i in np.argsort(-p, kind="stable") if not truth[i] and p[i] >= 0.5]
    limit = inputs.threshold
    groups = []
    for title, rows, true in (
        (f"True class {name}, given the lowest probability of it", missed, name),
        (f"True class {other}, given the highest probability of {name}", alarms, other),
    ):
        cards = []
        for i in rows[:PER_ROW]:
            answered = k if p[i] >= 0.5 else 1 - k
            card = _card(inputs, int(i), [f"true: {true}", f"p({name}) = {p[i]:.3f}"], answered)
            if limit is not None and (p[i] >= limit) == bool(truth[i]):
                card["tag"] = "right at the operating point"
            cards.append(card)
        groups.append({"title": title, "n": len(rows), "cards": cards})
    return groups


def _multiclass(inputs: ReportInputs) -> list[Row]:
    prob, y = np.asarray(inputs.prob, dtype=np.float64), np.asarray(inputs.y, dtype=np.int64)
    answer = np.argmax(prob, axis=1)
    wrong = np.flatnonzero(answer != y)
    order = wrong[np.argsort(-prob[wrong, answer[wrong]], kind="stable")]
    names = inputs.class_names
    cards = [
        _card(
            inputs,
            int(i),
            [
                f"true: {names[y[i]]} ({prob[i, y[i]]:.3f})",
                f"answered: {names[answer[i]]} ({prob[i, answer[i]]:.3f})",
            ],
            int(answer[i]),
        )
        for i in order[: 2 * PER_ROW]
    ]
    return [{"title": "Wrong class given the highest probability", "n": len(wrong), "cards": cards}]


def _multilabel(inputs: ReportInputs) -> list[Row]:
    prob, truth = np.asarray(inputs.prob, dtype=np.float64), inputs.truth
    gap = np.where(np.isfinite(truth), np.abs(prob - truth), 0.0)
    wrong = np.argwhere(np.isfinite(truth) & ((prob >= 0.5) != (truth > 0.5)))
    order = wrong[np.argsort(-gap[wrong[:, 0], wrong[:, 1]], kind="stable")]
    cards = []
    for i, k in order[: 2 * PER_ROW]:
        present = "present" if truth[i, k] > 0.5 else "absent"
        name = inputs.class_names[k]
        lines = [f"{name}: {present}", f"p({name}) = {prob[i, k]:.3f}"]
        cards.append(_card(inputs, int(i), lines, int(k)))
    title = "Labels given the most confident wrong probability"
    return [{"title": title, "n": len(wrong), "cards": cards}]


def _card(inputs: ReportInputs, i: int, lines: list[str], k: int) -> Row:
    """A case, and the map of what spoke for class `k`."""
    case = str(inputs.case_ids[i])
    found = None if inputs.maps is None else thumbnail(inputs.maps(case, k))
    image = _picture(inputs.thumbnails, case)
    return {"case": case, "lines": lines, "image": image, "map": found, "tag": None}


def _picture(picture: Picture | None, case: str) -> str | None:
    return thumbnail(picture(case)) if picture is not None else None


def leakage(found: Mapping[str, Any], picture: Picture | None = None) -> Row | None:
    """What the leakage check found and did, from `LeakageResult.to_dict()`."""
    if not found:
        return None
    near = list(found.get("near") or ())
    across = [group for group in found.get("exact") or () if group.get("across", True)]
    return {
        "policy": found.get("policy", "stop"),
        "marked": bool(found.get("marked")),
        "exact": len(across),
        "near": len(near),
        "patients": len(found.get("patients") or ()),
        "studies": len(found.get("studies") or ()) + len(found.get("series") or ()),
        "conflicts": len(found.get("conflicts") or ()),
        "dropped": len(found.get("dropped") or ()),
        "pairs": [_pair(picture, pair) for pair in near[:MOST_PAIRS]],
        "notes": [scrub(note) for note in found.get("notes") or ()],
    }


def _pair(picture: Picture | None, pair: Mapping[str, Any]) -> Row:
    """The two cases of a near-duplicate pair and how alike they are."""
    parts = [part_name(str(part)) for part in pair.get("parts") or ("", "")]
    cards = [
        {"case": str(case), "lines": [part], "image": _picture(picture, str(case)), "tag": None}
        for case, part in zip(pair["case_ids"], parts, strict=True)
    ]
    text = f"correlation {pair['correlation']:.3f}, {pair.get('transform', 'same way up')}"
    if pair.get("conflict"):
        text += "; their labels differ"
    return {"cases": cards, "text": text}

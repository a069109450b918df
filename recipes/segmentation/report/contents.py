"""The tables and sentences of a segmentation run's pages, before any markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.report.inputs import scrub
from recipes.report.view import part_name
from recipes.report.wording import interval, number, text_of
from recipes.segmentation.report import wording
from recipes.segmentation.report.inputs import Finished

Row = dict[str, Any]

_UNIT = re.compile(r"\bmm²|\bm[mL]\b")
MOST_CASES = 8
"""Patients listed whose total volume is furthest off."""
_OPTIMISTIC = (
    "There is no test part: the figures below are from the validation part, which also chose the "
    "weights{steps}, so they are optimistic."
)
_ALLOWED = (
    "The leakage policy is “allow”, and leaks were found and left in: the same patient is on two "
    "sides of the split, so the figures below may be too good."
)


def warnings(run: Finished) -> list[str]:
    """What must stand at the top of the page."""
    lines = []
    if run.prepared.leakage.marked:
        lines.append(_ALLOWED)
    if run.shown.part == "val":
        steps = " and the postprocessing" if run.config.evaluate.postprocess else ""
        lines.append(_OPTIMISTIC.format(steps=steps))
    if not run.prepared.fingerprint.spacings:
        lines.append(
            f"The files name no {'voxel' if run.solid else 'pixel'} size: distances are in "
            f"{run.distance}, {'volumes' if run.solid else 'areas'} in {run.size}."
        )
    return lines


def title(run: Finished) -> str:
    """The classes as the page's heading."""
    return " / ".join(run.classes[:6]) + (" ..." if run.classes[6:] else "")


def summary(run: Finished) -> str:
    """One line under the title."""
    metrics = run.metrics
    cases = f"{part_name(run.shown.part).capitalize()} part: {metrics['n']} cases"
    if run.unit == "patient":
        cases += f" of {metrics['n_patients']} patients"
    minutes = sum(run.seconds.values()) / 60
    return f"{cases} · seed {run.config.seed} · wall time {minutes:.1f} min"


def tiles(run: Finished) -> list[Row]:
    """The few figures that come first: means over the classes, with what they leave out."""
    rows = []
    for figure in wording.TILES:
        entries = run.metrics[figure].values()
        out = {k: sum(e[k] for e in entries) for k in ("undefined", "infinite")}
        extra = ["mean over classes"] if len(run.classes) > 1 else []
        extra += [f"{count} {k} left out" for k, count in out.items() if count]
        rows.append(
            {
                "name": _heading(run, figure),
                **cell(figure, run.metrics["mean"][figure]),
                "extra": "; ".join(extra),
            }
        )
    return rows


def table(run: Finished, figures: Sequence[str], metrics: Mapping[str, Any]) -> Row:
    """One row per class and their mean, one column per figure."""
    rows: list[Row] = [
        {"name": name, "cells": [cell(f, metrics[f][name]) for f in figures], "mean": False}
        for name in run.classes
    ]
    if len(run.classes) > 1:
        means = [cell(f, metrics["mean"][f]) for f in figures]
        rows.append({"name": "Mean over classes", "cells": means, "mean": True})
    return {"heads": [_heading(run, figure) for figure in figures], "rows": rows}


def cell(figure: str, entry: Mapping[str, Any]) -> Row:
    """A figure with its interval, and how many cases it rests on."""
    bounds = {"value": None, "low": entry.get("low"), "high": entry.get("high")}
    if figure in wording.DISTANCES | wording.VOLUMES and bounds["low"] is not None:
        between = " to ".join(wording.value(figure, bounds[key]) for key in ("low", "high"))
    else:
        between = interval(bounds)
    counts = []
    if "n" in entry:
        counts = [f"n {entry['n']}"]
        counts += [f"{entry[k]} {k}" for k in ("undefined", "infinite") if entry.get(k)]
    return {
        "value": wording.value(figure, entry["value"]),
        "interval": between,
        "counts": ", ".join(counts),
    }


def _heading(run: Finished, figure: str) -> str:
    return wording.title(figure, distance=run.distance, size=run.size, solid=run.solid)


def rules(run: Finished, figures: Sequence[str]) -> list[tuple[str, str]]:
    """Figures with what they say and how they are defined."""
    definitions = run.metrics.get("definitions") or {}
    result = []
    for figure in figures:
        text, meaning = _in_units(run, definitions.get(figure, "")), wording.MEANINGS.get(figure)
        if meaning:
            text = f"{meaning}. Defined as: {text}" if text else meaning
        result.append((_name(run, figure), text))
    return result


def _in_units(run: Finished, text: str) -> str:
    """A definition in the units of the run, where the size of a voxel is not known."""
    if run.prepared.fingerprint.spacings:
        return text
    return _UNIT.sub(lambda m: run.distance if m[0] == "mm" else run.size, text)


def _name(run: Finished, figure: str) -> str:
    return _heading(run, figure).split(",", maxsplit=1)[0]


def lesions(run: Finished) -> list[Row]:
    """Connected pieces over all cases together."""
    return [
        {
            "name": name,
            **{key: found[key] for key in ("lesions", "found", "claimed", "right")},
            **{key: number(found[key]) for key in ("sensitivity", "precision", "f1")},
        }
        for name, found in run.metrics["lesions"].items()
    ]


def agreement(run: Finished) -> list[Row]:
    """Bias and limits of agreement of the volumes, one row per class."""
    text = wording.amount_text
    rows = []
    for name, found in run.metrics["agreement"].items():
        bias = found["bias"]
        between = "–"
        if bias["low"] is not None and bias["high"] is not None:
            between = f"{text(bias['low'])} to {text(bias['high'])}"
        limits = "–"
        if found["lower"] is not None:
            limits = f"{text(found['lower'])} to {text(found['upper'])}"
        rows.append(
            {
                "name": name,
                "n": found["n"],
                "bias": text(bias["value"]),
                "interval": between,
                "limits": limits,
            }
        )
    return rows


def burden(run: Finished) -> list[Row]:
    """Patients whose total volume is furthest off, named by their cases."""
    text = wording.amount_text
    worst = sorted(run.metrics["burden"], key=lambda row: -abs(row["difference"]))
    return [
        {
            "cases": [str(case) for case in row["cases"][:3]],
            "more": max(0, len(row["cases"]) - 3),
            "truth": text(row["truth"]),
            "prediction": text(row["prediction"]),
            "difference": text(row["difference"]),
        }
        for row in worst[:MOST_CASES]
    ]


def parts(run: Finished) -> Row:
    """Cases and patients of every part, and the share of training cases that hold each class."""
    names = [part for part in ("train", "val", "test") if run.prepared.rows(part)]
    patients = []
    if run.prepared.leakage.splits.unit == "patient":
        for part in names:
            groups = run.prepared.groups(run.prepared.rows(part))
            patients.append(len({g for g in groups if g is not None}))
    return {
        "heads": [part_name(part) for part in names],
        "cases": [len(run.prepared.rows(part)) for part in names],
        "patients": patients,
    }


def contents_of_classes(run: Finished) -> list[Row]:
    """How common and how large each class is in the training part."""
    found = run.prepared.fingerprint
    rows = []
    for name in run.classes:
        volumes = sorted(found.volumes.get(name, ()))
        size = "–"
        if volumes:
            half = volumes[len(volumes) // 2]
            size = " / ".join(wording.amount_text(v) for v in (volumes[0], half, volumes[-1]))
        present = found.present.get(name)
        rows.append(
            {"name": name, "present": "–" if present is None else f"{present:.0%}", "size": size}
        )
    return rows


def notes(run: Finished, pictures: str) -> list[str]:
    """All sentences for the reader, each once."""
    lines = [*run.prepared.notes, *run.metrics.get("notes", ())]
    lines += [*(run.facts.get("devices") or {}).get("notes", ()), pictures]
    return list(dict.fromkeys(scrub(line) for line in lines))


def skips(run: Finished) -> list[Row]:
    """Cases that were left out."""
    return [
        {"case_id": skip.case_id, "kind": skip.kind, "message": skip.message}
        for skip in run.prepared.skipped
    ]


def augmentation(run: Finished) -> list[tuple[str, str]]:
    """What training did to its patches."""
    policy = run.facts.get("augment")
    if policy is None:
        return [("Augmentation", "none")]
    settings = {
        key: value
        for key, value in policy.items()
        if key not in ("bans", "swaps") and value not in (0, 0.0, False, None)
    }
    names = run.prepared.plan.classes
    rows = [
        ("Strength", run.config.augment.strength),
        ("Bans", text_of(policy.get("bans") or "none")),
    ]
    if policy.get("swaps"):
        pairs = (f"{names[a]} and {names[b]}" for a, b in policy["swaps"])
        rows.append(("Classes exchanged by a flip from left to right", "; ".join(pairs)))
    rows.append(("Settings", text_of(settings)))
    return [(name, scrub(value)) for name, value in rows]

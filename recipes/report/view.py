"""The report's contents as rows and cells, before any markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.evaluation.calibration import BINS
from recipes.report import wording
from recipes.report.inputs import ReportInputs, public, scrub

Row = dict[str, Any]

_PARTS = {"train": "training", "val": "validation", "test": "test", "all": "all labelled cases"}
_OPTIMISTIC = (
    "There is no test part: the figures below are from the validation part, which also chose the "
    "epoch and the operating point, so they are optimistic."
)
_TRAINING_APART = ("weights", "phases", "frozen", "cached_features", "augmentation")


def part_name(part: str) -> str:
    """`val` as `validation`, and so on."""
    return _PARTS.get(part, part)


def warnings(inputs: ReportInputs) -> list[str]:
    """What must stand at the top of the page."""
    lines = []
    leakage = inputs.leakage
    if leakage.get("marked"):
        lines.append(
            "The leakage policy is “allow”, and leaks were found and left in: the same patient or "
            "the same picture is on two sides of the split, so the figures below may be too good."
        )
    elif leakage.get("policy") == "allow":
        lines.append("The leakage policy is “allow”; the check found nothing that had to be kept.")
    if inputs.part == "val":
        lines.append(_OPTIMISTIC)
    point = inputs.operating_point
    if isinstance(point, Mapping) and point.get("met") is False:
        lines.append(
            f"The rule for the operating point ({point.get('rule')}) could not be met on the "
            "validation part; the nearest threshold is used."
        )
    return lines


def headline(inputs: ReportInputs) -> list[Row]:
    """The few figures that come first."""
    metrics = inputs.metrics
    if inputs.positive_index is not None:
        op = "_op" if "sensitivity_op" in metrics else ""
        names = ["auc", f"sensitivity{op}", f"specificity{op}", "balanced_accuracy", "brier"]
    elif inputs.task == "multilabel":
        names = ["auc", "average_precision", "accuracy", "brier", "ece"]
    else:
        names = ["auc", "accuracy", "balanced_accuracy", "brier", "ece"]
    rows = []
    for name in names:
        base = name.removesuffix("_op")
        extra = "at the operating point" if name.endswith("_op") else _average(inputs, base)
        rows.append(_figure(inputs, name, metrics.get(name)) | {"extra": extra})
    return rows


def metric_sections(inputs: ReportInputs) -> list[Row]:
    """The table of all metrics, in sections."""
    metrics = inputs.metrics
    plain, mean = "Decisions by the most probable class", ""
    if inputs.positive_index is not None or inputs.task == "multilabel":
        plain = "Decisions at a probability of 0.5"
    if inputs.task == "multilabel":
        mean = ": mean over the labels"
    elif inputs.positive_index is None:
        mean = ": each class against the rest, mean over the classes"
    sections = [
        (f"Ranking{mean}", [*wording.RANKING]),
        (plain + mean, [*wording.DECISIONS]),
        (_op_heading(inputs) + mean, [f"{name}_op" for name in wording.DECISIONS]),
        ("Probabilities", [*wording.CALIBRATION]),
    ]
    result = []
    for title, names in sections:
        rows = [
            _figure(inputs, name, metrics[name])
            for name in names
            if name in metrics and not _unasked(metrics, name)
        ]
        if rows:
            result.append({"title": title, "rows": rows})
    return result


def _unasked(metrics: Mapping[str, Any], name: str) -> bool:
    return "_at_prevalence" in name and metrics.get("prevalence") is None


def _op_heading(inputs: ReportInputs) -> str:
    if inputs.threshold is None:
        return "Decisions at the operating points"
    return f"Decisions at the operating point (probability ≥ {inputs.threshold:.3g})"


def _figure(inputs: ReportInputs, name: str, entry: Mapping[str, Any] | None) -> Row:
    entry = dict(entry or {"value": None, "low": None, "high": None})
    base = name.removesuffix("_op")
    prevalence = inputs.metrics.get("prevalence")
    words = {"bins": BINS, "prevalence": "unknown" if prevalence is None else f"{prevalence:.3%}"}
    words["prevalence"] = _tidy_percent(str(words["prevalence"]))
    meaning = wording.MEANINGS.get(base, "").format(**words)
    if base == "brier" and inputs.task == "single" and len(inputs.class_names) > 2:
        meaning += " Summed over the classes (0 to 2)."
    if base == "accuracy" and inputs.task == "multilabel":
        meaning += " Averaged over the labels."
    value, low, high = (entry.get(key) for key in ("value", "low", "high"))
    share = base in wording.SHARES and value is not None and low is not None and value <= 1
    validation = (inputs.val_metrics or {}).get(name) if inputs.part != "val" else None
    return {
        "key": name,
        "name": wording.NAMES.get(base, wording.label(base)).format(**words),
        "value": wording.number(value),
        "interval": wording.interval(entry),
        "meaning": meaning,
        "bar": {"low": low, "high": min(high, 1.0), "value": value} if share and high else None,
        "validation": wording.number(validation["value"]) if validation else None,
    }


def _tidy_percent(text: str) -> str:
    """`5.000%` as `5%`."""
    return re.sub(r"\.?0+%$", "%", text)


def _average(inputs: ReportInputs, base: str) -> str:
    if inputs.positive_index is not None or base in ("accuracy", "brier", "ece"):
        return ""
    return "mean over labels" if inputs.task == "multilabel" else "mean over classes"


def calibration(inputs: ReportInputs) -> list[Row]:
    """The calibration figures, for the place beside the reliability diagram."""
    names = [name for name in wording.CALIBRATION if name != "log_loss"]
    metrics = inputs.metrics
    return [_figure(inputs, name, metrics[name]) for name in names if name in metrics]


def summary(inputs: ReportInputs, unit: str) -> str:
    """One line under the title."""
    metrics = inputs.metrics
    n = metrics.get("n", len(inputs.case_ids))
    cases = (
        f"{part_name(inputs.part).capitalize()}{'' if inputs.part == 'all' else ' part'}: {n} cases"
    )
    if unit == "patient" and metrics.get("n_groups"):
        cases += f" of {metrics['n_groups']} patients"
    items = [cases]
    if inputs.positive_index is not None:
        items.append(f"positive class: {inputs.positive}")
    if inputs.seed is not None:
        items.append(f"seed {inputs.seed}")
    if inputs.timings.get("total") is not None:
        items.append(f"wall time {wording.seconds(float(inputs.timings['total']))}")
    if inputs.date:
        items.append(inputs.date)
    return " · ".join(items)


def origin(inputs: ReportInputs) -> list[str]:
    """Sentences on where the data and the parts come from."""
    data = inputs.data
    lines = []
    if data.get("adapter"):
        modality = f", modality {data['modality']}" if data.get("modality") else ""
        lines.append(f"Read as {data['adapter']}{modality}.")
    if data.get("sizes"):
        lines.append(f"Native size {data['sizes']}.")
    if data.get("official") is not None:
        drawn = "were drawn here, stratified by class"
        lines.append(f"The parts {'came with the data' if data['official'] else drawn}.")
    return lines


def per_class(inputs: ReportInputs) -> Row | None:
    """One row per class or label with its own figures; None for a question about one class."""
    classes: Mapping[str, Any] = inputs.metrics.get("per_class", {})
    names = ["auc", "average_precision", "sensitivity", "specificity", "ppv", "f1"]
    if any("sensitivity_op" in row for row in classes.values()):
        names = ["auc", "average_precision", "sensitivity_op", "specificity_op", "ppv_op", "f1_op"]
    names = [n for n in names if any(n in row for row in classes.values())]
    if inputs.positive_index is not None or not names:
        return None
    short = {"average_precision": "Average precision", "ppv": "PPV", "f1": "F1"}
    rows = []
    for name, figures in classes.items():
        cells = [figures.get(n) or {} for n in names]
        known = figures.get("n_known")
        rows.append(
            {
                "name": name,
                "n": figures.get("n"),
                "known": known,
                "cells": [
                    {"value": wording.number(c.get("value")), "interval": wording.interval(dict(c))}
                    for c in cells
                ],
            }
        )
    bases = [n.removesuffix("_op") for n in names]
    heads = [short.get(b, wording.NAMES[b]) for b in bases]
    return {
        "heads": heads,
        "rows": rows,
        "multilabel": inputs.task == "multilabel",
        "at_op": any(n.endswith("_op") for n in names),
    }


def operating_points(inputs: ReportInputs) -> Row | None:
    """The operating point's box: one row for a two-class task, one per label otherwise."""
    points = inputs.operating_point
    if not points:
        return None
    many = [points] if isinstance(points, Mapping) else list(points)
    names = [inputs.positive] if isinstance(points, Mapping) else list(inputs.class_names)
    rows = []
    for name, point in zip(names, many, strict=False):
        rows.append(
            {
                "name": name or "positive",
                "threshold": f"{point['threshold']:.4g}",
                "rule": point.get("rule"),
                "sensitivity": wording.number(point.get("sensitivity")),
                "specificity": wording.number(point.get("specificity")),
                "met": point.get("met", True),
                "n_pos": point.get("n_pos"),
                "n_neg": point.get("n_neg"),
            }
        )
    reached = [
        _figure(inputs, name, inputs.metrics[name])
        for name in ("sensitivity_op", "specificity_op", "ppv_op", "npv_op")
        if name in inputs.metrics
    ]
    return {"rows": rows, "reached": reached, "single": isinstance(points, Mapping)}


def split_table(inputs: ReportInputs) -> Row | None:
    """Classes by parts: one row per class, one column per part, then totals and patients."""
    counts: Mapping[str, Mapping[str, int]] = inputs.data.get("counts") or {}
    if not counts:
        return None
    totals, patients = inputs.data.get("totals") or {}, inputs.data.get("patients") or {}
    unknown = inputs.data.get("unknown") or {}
    parts = {part: totals.get(part, sum(row.values())) for part, row in counts.items()}
    rows = []
    for name in inputs.class_names:
        cells = []
        for part, total in parts.items():
            n, blank = counts[part].get(name, 0), (unknown.get(part) or {}).get(name, 0)
            share = f"{n / (total - blank):.1%}" if total > blank else ""
            cells.append({"n": n, "share": share, "unknown": blank})
        rows.append({"name": name, "cells": cells})
    return {
        "heads": [part_name(part) for part in parts],
        "rows": rows,
        "totals": list(parts.values()),
        "patients": [patients.get(part, "–") for part in parts] if patients else [],
    }


def skipped(skips: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Cases that could not be used, counted by reason, with a few of them named."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for skip in skips:
        kinds.setdefault(str(skip.get("kind", "other")), []).append(skip)
    rows = []
    for kind, cases in sorted(kinds.items(), key=lambda item: -len(item[1])):
        rows.append(
            {
                "kind": kind.replace("-", " "),
                "n": len(cases),
                "example": scrub(cases[0].get("message", "")),
                "cases": [str(case.get("case_id", "")) for case in cases[:5]],
                "more": max(0, len(cases) - 5),
            }
        )
    return rows


def training_rows(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What was trained, as headings and values."""
    training = public(inputs.training)
    rows = [
        (wording.label(key), _training_text(key, value))
        for key, value in training.items()
        if key not in _TRAINING_APART and key != "paper"
    ]
    if training.get("paper"):
        rows.append((wording.label("paper"), scrub(training["paper"])))
    rows += _frozen_rows(training)
    return rows


def _training_text(key: str, value: object) -> str:
    if key == "input_shape" and isinstance(value, list | tuple):
        return " × ".join(str(v) for v in value)
    if key == "input_range" and isinstance(value, list | tuple):
        return " to ".join(wording.text_of(v) for v in value)
    return scrub(wording.text_of(value))


def _frozen_rows(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    frozen, cached = training.get("frozen"), training.get("cached_features")
    if isinstance(frozen, Mapping):
        moved = frozen.get("moved", 0)
        verdict = "none moved" if not moved else f"{wording.text_of(moved)} moved"
        rows.append(
            (
                "Frozen variables",
                f"{frozen.get('variables', '?')} compared after training: {verdict}",
            )
        )
    if isinstance(cached, Mapping):
        text = "computed once and kept" if cached.get("used") else "not used"
        if cached.get("used") and cached.get("seconds_saved") is not None:
            text += f", saving about {wording.seconds(float(cached['seconds_saved']))}"
        if cached.get("note"):
            text += f" ({scrub(cached['note'])})"
        rows.append(("Features of the frozen backbone", text))
    return rows


def weights_rows(weights: Any) -> list[tuple[str, str]]:
    """Pretrained weights: name, source, licence, citation."""
    if not isinstance(weights, Mapping):
        text = scrub(weights) if weights else "none: trained from scratch"
        return [("Pretrained weights", text)]
    return [(wording.label(k), scrub(wording.text_of(v))) for k, v in public(weights).items()]


def augmentation_rows(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Augmentation preset, its magnitudes, and what is banned because the label depends on it."""
    augmentation = public(inputs.training.get("augmentation") or {})
    rows = []
    for key, value in augmentation.items():
        if key == "settings" and isinstance(value, Mapping):
            used = {k: v for k, v in value.items() if v not in (0, 0.0, False, None)}
            value = used or "none"
        rows.append((wording.label(key), scrub(wording.text_of(value))))
    return rows


def phase_table(inputs: ReportInputs) -> Row | None:
    """The training phases with all their columns."""
    phases: Sequence[Mapping[str, Any]] = inputs.training.get("phases") or ()
    heads: list[str] = []
    for phase in phases:
        heads += [key for key in phase if key not in heads]
    if not heads:
        return None
    rows = [[scrub(wording.text_of(phase.get(key, "–"))) for key in heads] for phase in phases]
    return {"heads": [wording.label(key) for key in heads], "rows": rows}


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions and processors, without names of hosts or users."""
    return [
        (wording.label(key), scrub(wording.text_of(value)))
        for key, value in public(environment).items()
    ]


def timing_rows(timings: Mapping[str, float]) -> list[tuple[str, str]]:
    """Wall time of each phase, the total last."""
    items = sorted(timings.items(), key=lambda item: item[0] == "total")
    return [(wording.label(key), wording.seconds(float(value))) for key, value in items]


def notes(inputs: ReportInputs) -> list[str]:
    """All sentences for the reader, each once."""
    lines = [
        *inputs.notes,
        *(inputs.data.get("notes") or ()),
        *(inputs.metrics.get("notes") or ()),
    ]
    return list(dict.fromkeys(scrub(line) for line in lines))

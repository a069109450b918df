"""What a reader must know beside the figures: definitions and notes."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.evaluation.calibration import BINS
from recipes.evaluation.panel import WHOLE, Panel
from recipes.evaluation.question import HALF, Question

FEW_GROUPS = 10
"""Below this many groups the notes warn that the intervals cannot be trusted."""

DEFINITIONS = {
    "auc": "area under the ROC curve (Mann-Whitney; ties count one half)",
    "average_precision": "sum over distinct scores of precision times the step in recall",
    "accuracy": "share of right answers",
    "balanced_accuracy": "mean of the sensitivities of the classes",
    "f1": "harmonic mean of sensitivity and PPV",
    "ppv_at_prevalence": "PPV by Bayes' rule at the stated prevalence",
    "npv_at_prevalence": "NPV by Bayes' rule at the stated prevalence",
    "log_loss": "mean of minus the natural logarithm of the probability given to the truth",
    "calibration_slope": "slope of the logistic regression of the truth on the logit of the "
    "probability (1 is ideal; below 1: too extreme)",
    "calibration_intercept": "intercept of that regression (0 is ideal)",
    "calibration_in_the_large": "its intercept with the slope held at 1 (0 is ideal; above 0: "
    "probabilities too low on the whole)",
}


def definitions(question: Question) -> dict[str, str]:
    """Exact definition of every figure whose definition varies in the literature."""
    out = dict(DEFINITIONS)
    many = question.kind == "multiclass" and len(question.class_names) > 2
    out["brier"] = (
        "sum over the classes of (p - y)^2, mean over cases (0 to 2)"
        if many
        else "mean of (p - y)^2 (0 to 1)"
    )
    what = (
        "the probability of the first choice against how often it is right"
        if many
        else ("probability against observed share")
    )
    out["ece"] = (
        f"calibration error: {what}, {BINS} bins of equal width, weighted by cases; its interval "
        "is moved by the bootstrap's estimate of bias"
    )
    if question.kind == "multilabel":
        out["accuracy"] = "mean over the labels of the share of right answers at 0.5"
    elif question.kind == "multiclass":
        out["accuracy"] += " (the most probable class)"
    else:
        out["accuracy"] += " at 0.5"
    return out


def notes(
    question: Question, result: dict[str, Any], draws: Panel, *, known: int, n_groups: int
) -> list[str]:
    """Plain sentences on the intervals, on what is undefined and on what was averaged."""
    lines = _on_intervals(result, draws, known=known, n_groups=n_groups)
    lines += _on_averages(question)
    lines += _on_undefined(question, result)
    lines += _on_replicates(result, draws)
    lines += _on_certainty(question, result)
    return lines


def _on_intervals(result: dict[str, Any], draws: Panel, *, known: int, n_groups: int) -> list[str]:
    n, n_boot = result["n"], result["n_boot"]
    what = "patients" if result["unit"] == "patient" else "images"
    lines = [
        f"Intervals are {result['level']:.0%} percentile intervals of a cluster bootstrap: "
        f"{n_boot} resamples of {n_groups} {what}, all cases of a drawn one together "
        f"({n} cases).",
        "The intervals cover the choice of cases only. They leave out training variability: "
        "another seed or another training part would give another model.",
    ]
    if known < n and result["unit"] != "patient":
        lines.append(
            f"The patient is unknown for {n - known} of {n} cases, which are resampled by image; "
            "if several images show one patient, the intervals are too narrow."
        )
    if not draws:
        lines.append("No interval can be given: there is only one group, or none was asked for.")
    elif n_groups < FEW_GROUPS:
        lines.append(f"Only {n_groups} {what}: the intervals are rough and likely too narrow.")
    slope = draws.get((WHOLE, "calibration_slope"))
    if slope is not None and len(slope) < n_boot:
        lines.append(f"The recalibration figures use {len(slope)} resamples to save time.")
    return lines


def _on_averages(question: Question) -> list[str]:
    if question.kind == "binary":
        return []
    both = question.both()
    out = [name for k, name in enumerate(question.class_names) if k not in both]
    noun = "labels" if question.kind == "multilabel" else "classes"
    lines = []
    if question.kind == "multiclass":
        lines.append(
            "Figures of a single class are averaged over the classes, one against the rest, each "
            "class counting the same."
        )
        if len(question.class_names) == 2:
            lines.append("No positive class is named; name one to get its sensitivity and so on.")
        lines.append(
            "The recalibration intercept has no meaning as an average over classes (the signs "
            "cancel): see each class."
        )
    else:
        lines.append("Figures are averaged over the labels, each label counting the same.")
    if out and both:
        lines.append(f"Left out of the averages, since only one value occurs: {noun} {_list(out)}.")
    return lines


def _on_undefined(question: Question, result: dict[str, Any]) -> list[str]:
    empty = [name for name, entry in result.items() if _is_figure(entry) and _blank(entry)]
    lines = []
    if not question.both():
        lines.append(
            "Only one class occurs among these cases: figures that compare classes are "
            f"undefined (null): {_list(empty)}."
        )
        return lines
    prevalence = [name for name in empty if "_at_prevalence" in name]
    if prevalence and result["prevalence"] is None:
        lines.append("No prevalence was stated: PPV and NPV at a stated prevalence are null.")
        empty = [name for name in empty if name not in prevalence]
    if "calibration_slope" in empty:
        lines.append(
            "Calibration slope and intercept are undefined (null): the classes are perfectly "
            "separated, or all probabilities are equal, so that the regression has no solution."
        )
    rest = [name for name in empty if not name.startswith("calibration_")]
    if rest:
        lines.append(
            f"Undefined (null): {_list(rest)}. A predictive value has none where that answer is "
            "never given (for an average: by any one class)."
        )
    return lines


def _on_replicates(result: dict[str, Any], draws: Panel) -> list[str]:
    lines = []
    for (k, name), values in sorted(draws.items()):
        entry = result.get(name, {})
        if k != WHOLE or not _is_figure(entry) or _blank(entry):
            continue
        lost = int((~np.isfinite(values)).sum())
        if entry["low"] is None:
            lines.append(f"{name}: {lost} of {len(values)} resamples undefined; no interval given.")
        elif lost:
            lines.append(f"{name}: {lost} of {len(values)} resamples undefined and left out.")
    return lines


def _on_certainty(question: Question, result: dict[str, Any]) -> list[str]:
    """Intervals of zero width understate the uncertainty."""
    flat = [
        name
        for name, entry in result.items()
        if _is_figure(entry) and entry["low"] is not None and entry["low"] == entry["high"]
    ]
    if not flat:
        return []
    line = (
        f"All resamples agree on {_list(flat)}: the interval of zero width understates the "
        "uncertainty"
    )
    if question.positive is not None:
        n_pos = int((question.truth[:, question.positive] > HALF).sum())
        line += (
            f"; by the rule of three, none wrong in m cases is compatible with a true error of "
            f"3/m (here {n_pos} positive and {result['n'] - n_pos} other cases)"
        )
    return [line + "."]


def _is_figure(entry: object) -> bool:
    return isinstance(entry, dict) and set(entry) == {"value", "low", "high"}


def _blank(entry: dict[str, Any]) -> bool:
    return entry["value"] is None


def _list(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + ", ..."

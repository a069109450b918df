"""What a report says of the data and of the training."""

from __future__ import annotations

from typing import Any

import zoo
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared, count_table
from recipes.engine.loop import LAST
from recipes.fewlabels.phase import unlabelled_text
from zoo.weights.sets import imported_weights


def data_section(prepared: Prepared) -> dict[str, Any]:
    table = count_table(prepared)
    totals = {part: counts.pop("cases") for part, counts in table.items()}
    patients = {
        part: len({p for p in prepared.groups(prepared.rows(part)) if p is not None})
        for part in totals
    }
    splits = prepared.leakage.splits
    return {
        "counts": table,
        "totals": totals,
        "patients": patients if splits.unit == "patient" else None,
        "unit": splits.unit,
        "official": splits.official,
        "adapter": prepared.adapter.kind,
        "modality": prepared.modality,
        "sizes": ", ".join(
            f"{k} ({n})" for k, n in list(prepared.decoded.native_shapes.items())[:5]
        ),
        "notes": list(prepared.notes),
    }


def training_section(
    config: ClassificationConfig, prepared: Prepared, facts: dict[str, Any]
) -> dict[str, Any]:
    spec = zoo.get_spec(config.model.backbone)
    settings = facts["settings"]
    features = facts.get("features")
    augment = facts["augment"]
    return {
        "backbone": spec.name,
        "family": spec.family,
        "parameters": facts["parameters"],
        "head": _head_text(settings),
        "paper": spec.paper,
        "input_shape": list(prepared.input_shape),
        "input_range": list(prepared.input_range),
        "weights": weights_row(config.model.weights, spec),
        "members": settings["members"],
        "phases": _phase_rows(config, settings),
        "frozen": {"variables": facts.get("frozen_verified", 0), "moved": 0},
        "cached_features": None
        if features is None
        else {
            "used": True,
            "seconds_saved": features["seconds_saved"],
            "note": f"computed once in {features['seconds_once']} s instead of in each of "
            f"{features['head_epochs']} epochs",
        },
        "augmentation": {
            "preset": prepared.modality or "generic",
            "strength": config.augment.strength,
            "bans": augment["bans"],
            "settings": {k: v for k, v in augment.items() if v and k not in ("bans", "border")},
        },
        "loss": "cross-entropy on logits, class weights undone on the logits afterwards",
        "balance": {
            "none": "none",
            "sqrt": "square root of the inverse class frequency",
            "inverse": "inverse class frequency",
        }[config.train.balance],
        "label_smoothing": config.train.label_smoothing,
        "mixup": config.train.mixup,
        "semi_supervised": unlabelled_text(facts["unlabelled"]) if "unlabelled" in facts else None,
        "tta": f"mean logits of {facts['views']} views" if facts["views"] > 1 else "none",
        "early_stopping": "none, last epoch kept"
        if config.train.monitor == LAST
        else f"{config.train.monitor}, best epoch restored",
    }


def _head_text(settings: dict[str, Any]) -> str:
    pooled = {"avg": "mean", "max": "maximum", "stats": "mean and standard deviation"}
    hidden = f"hidden layer of {settings['hidden']}, " if settings["hidden"] else ""
    return (
        f"{pooled[settings['pooling']]} of every channel of {' and '.join(settings['levels'])}, "
        f"{hidden}dropout {settings['dropout']:g}"
    )


def weights_row(name: str, spec: zoo.BackboneSpec) -> dict[str, Any] | None:
    """Where training started from; None from scratch, a placeholder for a file of the user."""
    if name == "none":
        return None
    offered = (*spec.weights, *imported_weights().get(spec.name, ()))
    found = next((weights for weights in offered if weights.name == name), None)
    if found is None:
        return {"name": "WEIGHTS (local file)", "licence": "unknown"}
    return {
        "name": found.name,
        "source": found.package or found.source,
        "licence": found.licence,
        "citation": found.citation,
        "sha256": found.sha256,
    }


def _phase_rows(config: ClassificationConfig, settings: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    if settings["head_epochs"]:
        rows.append(
            {
                "phase": "head",
                "epochs": settings["head_epochs"],
                "learning rate": config.train.head.learning_rate,
                "patience": settings["head_patience"],
                "unfrozen": "head only",
                "rate per stage down": "",
                "batch norm": "frozen",
            }
        )
    policy = settings["policy"]
    if settings["finetune_epochs"]:
        rows.append(
            {
                "phase": "finetune",
                "epochs": settings["finetune_epochs"],
                "learning rate": policy["learning_rate"],
                "patience": settings["patience"],
                "unfrozen": _unfrozen(policy),
                "rate per stage down": f"x {policy['decay']:g}",
                "batch norm": policy["batch_norm"],
            }
        )
    return rows


def _unfrozen(policy: dict[str, Any]) -> str:
    """What trains in phase 2, in words."""

    def words(train: str | int) -> str:
        return "head only" if train == "head" else f"{train} stages"

    steps = [f"{words(train)} from epoch {epoch + 1}" for epoch, train in policy["schedule"]]
    begins = policy["schedule"] and policy["schedule"][0][0] == 0
    parts = [*([] if begins else [words(policy["train"])]), *steps]
    if policy["adapters"]:
        parts.append(f"by adapters of rank {policy['adapters']['rank']}")
    if policy["ema"]:
        parts.append(f"averaged with momentum {policy['ema']:g}")
    return ", ".join(parts)

"""The ``auto`` values of a configuration, resolved from the size of the training part."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import zoo
from recipes.classification.config import ClassificationConfig
from recipes.config import digest

SMALL = 1500
"""Training cases below which a set counts as small."""
SCRATCH_RATE = 1e-3
MEMBERS = 3
HEAD_STEPS = 400
"""Steps that phase 1 may take at least."""
HEAD_BATCH = 128
"""Rows of cached features in a step of phase 1."""


@dataclass(frozen=True)
class Settings:
    """What a run does, after every ``auto`` has become a number.

    Attributes:
        members: Networks in the ensemble.
        weights: Argument of ``zoo.create_model``.
        levels: Likewise.
        pooling: Likewise.
        hidden: Likewise.
        dropout: Likewise.
        head_epochs: Most epochs of phase 1; 0 skips it.
        head_patience: Patience of phase 1.
        finetune_epochs: Most epochs of phase 2; 0 skips it.
        finetune_rate: Peak learning rate of phase 2.
        patience: Patience of phase 2.
        stages: Unfrozen stages from the top.
        decay: Rate factor from stage to stage.
        batch_norm: BatchNorm policy.
        digest: Hash of these settings and the configuration.
    """

    members: int
    weights: str | None
    levels: tuple[str, ...]
    pooling: str
    hidden: int
    dropout: float
    head_epochs: int
    head_patience: int
    finetune_epochs: int
    finetune_rate: float
    patience: int
    stages: int | Literal["all"]
    decay: float
    batch_norm: Literal["frozen", "train"]
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report."""
        values = {key: value for key, value in asdict(self).items() if key != "digest"}
        if self.weights not in ("imagenet", None):
            values["weights"] = "file"
        return values


def resolve(config: ClassificationConfig, *, train_cases: int) -> Settings:
    """Turn ``auto`` into numbers.

    Small sets get more epochs, which cost little there, at a lower rate. The head on a pretrained
    network sits on the level below the top, whose features are less bound to the classes of
    ImageNet, and has a hidden layer (measured, see the CHANGELOG). From scratch there is nothing to
    freeze and no reason to hold lower stages back, so phase 1 is skipped, every stage trains at one
    rate, BatchNorm learns and the head is the usual one.

    Args:
        config: The run's configuration.
        train_cases: Cases in the training part.
    """
    tune = config.train.finetune
    scratch = config.model.weights == "none"
    epochs = tune.epochs if tune.epochs != "auto" else _epochs(train_cases)
    members = config.model.members
    rate = tune.learning_rate
    if rate == "auto":
        rate = SCRATCH_RATE if scratch else _rate(train_cases)
    head = _head(config, pretrained=not scratch)
    head_epochs = config.train.head.epochs
    if head_epochs == "auto":
        head_epochs = max(30, -(-HEAD_STEPS * HEAD_BATCH // max(1, train_cases)))
    patience = config.train.head.patience
    values: dict[str, Any] = {
        "members": MEMBERS if members == "auto" else members,
        "weights": None if scratch else config.model.weights,
        **head,
        "head_epochs": 0 if scratch else head_epochs,
        "head_patience": max(5, int(head_epochs) // 6) if patience == "auto" else patience,
        "finetune_epochs": epochs,
        "finetune_rate": rate,
        "patience": max(8, 2 * epochs // 3) if tune.patience == "auto" else tune.patience,
        "stages": "all" if scratch else tune.stages,
        "decay": 1.0 if scratch else tune.decay,
        "batch_norm": "train" if scratch else tune.batch_norm,
    }
    return Settings(**values, digest=digest([values, config.computed()]))


def _head(config: ClassificationConfig, *, pretrained: bool) -> dict[str, Any]:
    """The head's options: the usual ones from scratch; a given one wins."""
    taps = [f"P{stride.bit_length() - 1}" for stride, _ in zoo.get_spec(config.model.backbone).taps]
    model = config.model
    wanted = taps[-2:-1] if pretrained and len(taps) > 1 else taps[-1:]
    hidden = (256 if pretrained else 0) if model.hidden == "auto" else model.hidden
    return {
        "levels": tuple(wanted if model.levels == "auto" else model.levels),
        "pooling": ("stats" if pretrained else "avg") if model.pooling == "auto" else model.pooling,
        "hidden": hidden,
        "dropout": (0.5 if hidden else 0.2) if model.dropout == "auto" else model.dropout,
    }


def _epochs(train_cases: int) -> int:
    return 8 if train_cases < SMALL else 4


def _rate(train_cases: int) -> float:
    return 3e-4 if train_cases < SMALL else 5e-4

"""The ``auto`` values of a configuration, resolved from the size of the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import zoo
from recipes.classification.config import ClassificationConfig
from recipes.config import digest
from recipes.errors import ConfigError
from zoo.finetune.policy import Adapters, FineTunePolicy, Train

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
        patience: Patience of phase 2.
        head_policy: What trains in phase 1 and how fast.
        policy: What trains in phase 2 and how fast.
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
    patience: int
    head_policy: FineTunePolicy
    policy: FineTunePolicy
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report."""
        values = {key: value for key, value in asdict(self).items() if key != "digest"}
        values |= {name: getattr(self, name).to_dict() for name in ("head_policy", "policy")}
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

    Raises:
        ConfigError: Adapters on a network that starts from scratch.
        ZooError: A fine-tuning policy that contradicts itself.
    """
    tune = config.train.finetune
    scratch = config.model.weights == "none"
    epochs = tune.epochs if tune.epochs != "auto" else _epochs(train_cases)
    members = config.model.members
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
        "patience": max(8, 2 * epochs // 3) if tune.patience == "auto" else tune.patience,
        "head_policy": _policy(config, train="head", learning_rate=config.train.head.learning_rate),
    }
    if scratch:
        values["policy"] = _from_scratch(config)
    else:
        values["policy"] = _pretrained(config, epochs, head["levels"], train_cases)
    plain = values | {name: values[name].to_dict() for name in ("head_policy", "policy")}
    return Settings(**values, digest=digest([plain, config.computed()]))


def _policy(config: ClassificationConfig, **fields: Any) -> FineTunePolicy:
    train = config.train
    return FineTunePolicy(weight_decay=train.weight_decay, warmup=train.warmup, **fields)


def _from_scratch(config: ClassificationConfig) -> FineTunePolicy:
    tune = config.train.finetune
    if tune.adapters.rank:
        raise ConfigError(
            "train.finetune.adapters need a pretrained network, and model.weights is none; set "
            "train.finetune.adapters.rank=0"
        )
    rate = SCRATCH_RATE if tune.learning_rate == "auto" else tune.learning_rate
    return _policy(config, train="all", learning_rate=rate, batch_norm="train", ema=tune.ema)


def _pretrained(
    config: ClassificationConfig, epochs: int, levels: Sequence[str], train_cases: int
) -> FineTunePolicy:
    tune = config.train.finetune
    rate = _rate(train_cases) if tune.learning_rate == "auto" else tune.learning_rate
    adapters = tune.adapters
    schedule = tune.schedule
    return _policy(
        config,
        train=tune.stages,
        schedule=_gradual(config, epochs, levels) if schedule == "gradual" else schedule,
        decay=tune.decay,
        batch_norm=tune.batch_norm,
        learning_rate=rate,
        ema=tune.ema,
        adapters=Adapters(rank=adapters.rank, alpha=adapters.alpha, layers=adapters.layers)
        if adapters.rank
        else None,
    )


def _gradual(
    config: ClassificationConfig, epochs: int, levels: Sequence[str]
) -> tuple[tuple[int, Train], ...]:
    """One stage more at equal intervals, the last as early as the epochs allow."""
    taps = [f"P{stride.bit_length() - 1}" for stride, _ in zoo.get_spec(config.model.backbone).taps]
    there = max(taps.index(level) for level in levels) + 1
    wanted = config.train.finetune.stages
    stages = there if wanted == "all" else min(wanted, there)
    every = max(1, epochs // (stages + 1))
    return ((0, "head"), *((every * k, k) for k in range(1, stages + 1)))


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

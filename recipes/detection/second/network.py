"""The second network: built, trained on a bank of patches, applied to candidates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import zoo
from recipes.classification.monitor import macro_auc
from recipes.detection.config import SecondConfig
from recipes.detection.second.bank import Bank
from recipes.engine.checkpoint import PhaseCheckpoint
from recipes.engine.loop import Hooks, PhasePlan, run_phase
from zoo.heads import create_model

APPLIED = 64
"""Patches in a batch that is only looked at."""
LIGHT = 0.15
"""Largest change of contrast and, as a share of the range, of brightness in training."""


class PatchBatches(keras.utils.PyDataset):
    """One epoch of a bank, all classes drawn equally often, in an order of (seed, epoch) alone."""

    def __init__(self, bank: Bank, *, batch: int, seed: int, epoch: int) -> None:
        """Draw the epoch's rows: as many as the bank holds, shared evenly among the classes."""
        super().__init__()
        self.bank, self.batch = bank, batch
        rng = np.random.default_rng([seed, epoch])
        groups = [np.flatnonzero(bank.targets == k) for k in np.unique(bank.targets)]
        each = max(batch, len(bank.targets) // len(groups))
        rows = np.concatenate([_drawn(group, each, rng) for group in groups])
        self.rows = rng.permutation(rows)
        self.seed = (seed, epoch)

    def __len__(self) -> int:
        """Batches in the epoch."""
        return max(1, len(self.rows) // self.batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Batch ``index``: images 0 to 255 with a little other light, and targets."""
        rows = self.rows[index * self.batch : (index + 1) * self.batch]
        rng = np.random.default_rng([*self.seed, index])
        images = self.bank.images[rows].astype(np.float32)
        shape = (len(rows), *(1,) * (images.ndim - 1))
        contrast = rng.uniform(1 - LIGHT, 1 + LIGHT, shape)
        offset = rng.uniform(-LIGHT, LIGHT, shape) * 255
        changed = np.clip((images - 127.5) * contrast + 127.5 + offset, 0, 255)
        return changed.astype(np.float32), self.bank.targets[rows]


def _drawn(
    group: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """So many of a group, each once before any comes again."""
    turns = [rng.permutation(group) for _ in range(-(-count // len(group)))]
    return np.concatenate(turns)[:count]


def build(config: SecondConfig, shape: tuple[int, ...], classes: int) -> keras.Model:
    """A zoo backbone with one logit for no lesion and one per class.

    Args:
        config: Backbone and weights.
        shape: Shape of a patch.
        classes: Classes of lesions.
    """
    return create_model(
        config.backbone,
        input_shape=shape,
        classes=classes + 1,
        weights=None if config.weights == "none" else config.weights,
        dims=len(shape) - 1,
        levels=config.levels,
        pooling="avg",
    )


def train(
    model: keras.Model,
    config: SecondConfig,
    bank: Bank,
    held: Bank,
    *,
    round_: int,
    seed: int,
    folder: Path,
    fingerprint: str,
    hooks: Callable[[int], Hooks],
) -> list[dict[str, Any]]:
    """Train on a bank and leave the weights of the best epoch on the held-out one.

    Args:
        model: The network, its weights those of the round before.
        config: Epochs and rates.
        bank: What it learns from.
        held: Candidates of validation cases.
        round_: From 1; later rounds learn at a third of the rate.
        seed: Seed.
        folder: Folder of the checkpoint.
        fingerprint: Of data and settings.
        hooks: Epochs to progress callbacks.

    Returns:
        One record per epoch.
    """
    spec = zoo.get_spec(config.backbone)
    policy = zoo.FineTunePolicy(
        train="all",
        decay=config.decay,
        learning_rate=config.learning_rate * (1.0 if round_ == 1 else 1 / 3),
        weight_decay=0.01,
    )
    policy.apply(model, spec)
    first = PatchBatches(bank, batch=config.batch, seed=seed, epoch=1)
    steps = len(first)
    model.compile(
        optimizer=policy.optimizer(model, spec, steps=config.epochs * steps, steps_per_epoch=steps),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        auto_scale_loss=False,
    )
    state = run_phase(
        model,
        plan=PhasePlan(
            member=0, phase=f"second-{round_}", epochs=config.epochs,
            patience=config.epochs + 1, monitor="val_auc", seed=seed,
        ),
        data=lambda epoch: PatchBatches(bank, batch=config.batch, seed=seed, epoch=epoch),
        steps=steps,
        validate=lambda: _validated(model, held),
        checkpoint=PhaseCheckpoint(folder, fingerprint=fingerprint),
        hooks=hooks(config.epochs),
    )  # fmt: skip
    return state.history


def _validated(model: keras.Model, held: Bank) -> dict[str, float]:
    logits = model.predict(held.images.astype(np.float32), batch_size=APPLIED, verbose=0)
    onehot = np.eye(logits.shape[1])[held.targets]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(held.targets, logits)
    auc = macro_auc(onehot, logits, task="single")
    return {"val_loss": float(loss), "val_auc": auc if np.isfinite(auc) else 0.5}


def log_odds(
    model: keras.Model, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Log odds that a patch shows a lesion of its candidate's class.

    Args:
        model: The network.
        images: ``(N, *patch, C)``.
        labels: Class of each candidate.
    """
    if not len(images):
        return np.empty(0)
    logits = [
        keras.ops.convert_to_numpy(
            model(images[k : k + APPLIED].astype(np.float32), training=False)
        )
        for k in range(0, len(images), APPLIED)
    ]
    values = np.concatenate(logits).astype(np.float64)
    rows = np.arange(len(values))
    mine = values[rows, labels + 1].copy()
    values[rows, labels + 1] = -np.inf
    others = values.max(axis=1, keepdims=True)
    rest = others[:, 0] + np.log(np.exp(values - others).sum(axis=1))
    return np.asarray(mine - rest)

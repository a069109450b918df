"""One phase of training: epochs, validation, early stopping, exact resume.

On a CPU a phase is a pure function of (initial weights, data, seed): every epoch starts by
resetting each layer's random state from (seed, epoch, layer), so an epoch that was killed and
done again ends in the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recipes.engine.batchnorm import fused_batch_norm
from recipes.engine.checkpoint import Arrays, PhaseCheckpoint, PhaseState
from recipes.errors import RecipeError
from zoo.finetune import averaged

HIGHER_IS_BETTER = {
    "val_loss": False,
    "val_auc": True,
    "val_accuracy": True,
    "val_dice": True,
    "val_ap": True,
}
LAST = "epoch"
"""Monitored in place of a figure: the last epoch is kept."""


@dataclass(frozen=True)
class PhasePlan:
    """What a phase may do.

    Attributes:
        member: Index of the ensemble member.
        phase: ``"head"`` or ``"finetune"``.
        epochs: Most epochs.
        patience: Epochs without improvement after which training stops.
        monitor: Validation figure that chooses the epoch; ``"epoch"`` keeps the last one.
        seed: Seed of this member.
        rate_key: Configuration key of the learning rate; None: the phase's own.
    """

    member: int
    phase: str
    epochs: int
    patience: int
    monitor: str
    seed: int
    rate_key: str | None = None


@dataclass(frozen=True)
class Hooks:
    """Where a phase reports to; each is called with plain values."""

    batch: Callable[[int, int], None] = lambda done, total: None
    epoch: Callable[[dict[str, Any]], None] = lambda record: None


def reset_random_state(model: keras.Model, *, seed: int, epoch: int) -> None:
    """Set every layer's seed generator from (seed, epoch, position of the layer)."""
    for position, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            words = np.random.SeedSequence([seed, epoch, position]).generate_state(2)
            generator.state.assign(words.astype(generator.state.dtype))


def run_phase(
    model: keras.Model,
    *,
    plan: PhasePlan,
    data: Callable[[int], Any],
    steps: int,
    validate: Callable[[], dict[str, float]],
    checkpoint: PhaseCheckpoint,
    hooks: Hooks | None = None,
    before_epoch: Callable[[int], None] = lambda epoch: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> PhaseState:
    """Train a compiled model and leave its best weights in it.

    Where the optimizer keeps a moving average of the weights, that is what is validated and what
    is left in the model.

    Args:
        model: Compiled Keras model; its optimizer's schedule covers the whole phase.
        plan: Limits, monitored figure and seed.
        data: Epoch number (from 1) to the batches of that epoch.
        steps: Batches in an epoch, for progress.
        validate: Figures of the model as it stands; must hold ``plan.monitor``, if
            that is one.
        checkpoint: Where the phase is kept; a finished one is restored without training.
        hooks: Progress callbacks.
        before_epoch: Called with the number of the epoch that begins; may change what trains and
            compile the model again with the same optimizer.
        after_epoch: Called behind every trained epoch, before it is stored; may raise.

    Returns:
        The state at the end, with the history.

    Raises:
        RecipeError: The loss became NaN or infinite.
    """
    hooks = hooks or Hooks()
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    state, best = _resume(model, checkpoint)
    if state.done:
        _assign(model.variables, best)
        return state
    if state.best_value is None:
        state.best_value = _monitored(validate(), plan, 0)
        best = _arrays(model.variables)
    while state.epoch < plan.epochs and not state.stopped:
        epoch = state.epoch + 1
        before_epoch(epoch)
        record = _one_epoch(model, plan, data(epoch), epoch, steps, hooks)
        after_epoch()
        with averaged(model):
            record |= validate()
            value = _monitored(record, plan, epoch)
            improved = value > state.best_value if _up(plan) else value < state.best_value
            if improved:
                state.best_value, state.best_epoch, state.wait = value, epoch, 0
                best = _arrays(model.variables)
            else:
                state.wait += 1
        state.epoch = epoch
        state.stopped = state.wait >= plan.patience and epoch < plan.epochs
        state.history.append(record)
        hooks.epoch(record | {"best": improved})
        checkpoint.save(state, _groups(model, best))
    for record in state.history:
        record["best"] = record["epoch"] == state.best_epoch
    state.done = True
    _assign(model.variables, best)
    checkpoint.save(state, {"best": best})
    return state


def _one_epoch(
    model: keras.Model, plan: PhasePlan, batches: Any, epoch: int, steps: int, hooks: Hooks
) -> dict[str, Any]:
    """Train one epoch and return its record."""
    reset_random_state(model, seed=plan.seed, epoch=epoch)
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    start = time.perf_counter()
    report = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: hooks.batch(batch + 1, steps)
    )
    with fused_batch_norm(model):
        logs = model.fit(batches, epochs=1, verbose=0, callbacks=[report], shuffle=False).history
    loss = float(logs["loss"][0])
    if not math.isfinite(loss):
        key = f"train.{plan.phase}.learning_rate"
        raise RecipeError(
            f"the training loss became {loss} in epoch {epoch} of phase {plan.phase!r}; lower the "
            f"learning rate (--set {plan.rate_key or key}=...) and start a new run"
        )
    figures = {name: float(values[0]) for name, values in logs.items() if name != "loss"}
    return {
        "member": plan.member,
        "phase": plan.phase,
        "epoch": epoch,
        "loss": loss,
        **figures,
        "learning_rate": rate,
        "seconds": time.perf_counter() - start,
    }


def _resume(model: keras.Model, checkpoint: PhaseCheckpoint) -> tuple[PhaseState, Arrays]:
    stored = checkpoint.load()
    if stored is None:
        return PhaseState(), []
    state, groups = stored
    if not state.done:
        _assign(model.variables, groups["model"])
        _assign(model.optimizer.variables, groups["optimizer"])
    return state, groups["best"]


def _groups(model: keras.Model, best: Arrays) -> dict[str, Any]:
    return {
        "model": _arrays(model.variables),
        "optimizer": _arrays(model.optimizer.variables),
        "best": best,
    }


def _arrays(variables: list[Any]) -> Arrays:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], arrays: Arrays) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _monitored(figures: dict[str, Any], plan: PhasePlan, epoch: int) -> float:
    """The monitored figure; an undefined one (one class in validation) falls back to the loss."""
    if plan.monitor == LAST:
        return float(epoch)
    value = float(figures[plan.monitor])
    if math.isfinite(value):
        return value
    loss = float(figures["val_loss"])
    return -loss if _up(plan) else loss


def _up(plan: PhasePlan) -> bool:
    return plan.monitor == LAST or HIGHER_IS_BETTER[plan.monitor]

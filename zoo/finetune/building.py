"""From a fine-tuning policy to its optimizer."""

from __future__ import annotations

import keras

from zoo.devices import scale_loss
from zoo.errors import ZooError
from zoo.finetune.optimizer import LayerwiseAdamW, rate_multipliers
from zoo.finetune.policy import FineTunePolicy
from zoo.finetune.trainable import set_trainable
from zoo.spec import BackboneSpec


def build_optimizer(
    policy: FineTunePolicy,
    model: keras.Model,
    spec: BackboneSpec,
    *,
    steps: int,
    steps_per_epoch: int | None,
    epoch: int,
) -> keras.Optimizer:
    """Make the optimizer of a run; see ``FineTunePolicy.optimizer``.

    Raises:
        ZooError: For steps below 1, a schedule without ``steps_per_epoch``, or one on JAX.
    """
    for name, value in (("steps", steps), ("steps_per_epoch", steps_per_epoch)):
        if value is not None and value < 1:
            raise ZooError(f"{name} is {value}; give a whole number of at least 1")
    if policy.schedule and steps_per_epoch is None:
        raise ZooError("a policy with a schedule needs steps_per_epoch to make its optimizer")
    if policy.schedule and keras.backend.backend() == "jax":
        raise ZooError(
            "an optimizer of a whole schedule does not work on JAX, whose optimizers take all of "
            "their variables in every step; make one for each phase, from "
            "dataclasses.replace(policy, train=policy.at(epoch), schedule=())"
        )
    multipliers: dict[str, float] = {}
    starts: dict[str, int] = {}
    variables: dict[int, keras.Variable] = {}
    for first in sorted({0, *(start for start, _ in policy.schedule)}):
        set_trainable(model, spec, stages=policy.at(first), batch_norm=policy.batch_norm)
        multipliers |= rate_multipliers(model, spec, decay=policy.decay)
        for variable in model.trainable_variables:
            variables.setdefault(id(variable), variable)
            starts.setdefault(variable.path, first * (steps_per_epoch or 0))
    optimizer = LayerwiseAdamW(
        learning_rate=rate_schedule(policy.learning_rate, steps, warmup=policy.warmup),
        weight_decay=policy.weight_decay,
        multipliers=multipliers,
        starts={path: start for path, start in starts.items() if start},
        use_ema=policy.ema is not None,
        ema_momentum=0.99 if policy.ema is None else policy.ema,
    )
    scaled = scale_loss(optimizer, model)
    if policy.schedule:
        scaled.build(list(variables.values()))
        set_trainable(model, spec, stages=policy.at(epoch), batch_norm=policy.batch_norm)
    return scaled


def rate_schedule(
    peak: float, steps: int, *, warmup: float
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A rate that rises linearly in a share of the steps, then falls as a half cosine to 0.

    Args:
        peak: The highest rate.
        steps: Steps in all.
        warmup: Share of them in which it rises; at least one step.
    """
    rise = max(1, round(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(
        peak / rise, max(1, steps - rise), warmup_target=peak, warmup_steps=rise
    )

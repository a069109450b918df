"""From a plan to a network, and the optimizer it trains with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

import zoo
from data_adapters.errors import nearest
from recipes.errors import ConfigError
from recipes.segmentation.config import TrainConfig
from recipes.segmentation.patchwise import build_classifier
from recipes.segmentation.plan import Network, Plan
from zoo import losses
from zoo.decoders.supervision import supervision_weights, without_supervision
from zoo.devices import scale_loss
from zoo.finetune import FineTunePolicy, LayerwiseAdamW
from zoo.residual_unet import residual_unet3d
from zoo.segmenters import create_segmenter
from zoo.unets import UNetPlan, build_unet

LOSSES = {
    "dice_ce": losses.DiceCrossentropy,
    "dice": losses.Dice,
    "tversky": losses.Tversky,
    "focal_tversky": losses.FocalTversky,
    "generalised_dice": losses.GeneralizedDice,
    "topk_ce": losses.TopKCrossentropy,
}
SCRATCH_RATE, PRETRAINED_RATE = 3e-3, 1e-3
POLY_POWER = 0.9


def build_network(plan: Plan, *, size: tuple[int, ...] | None = None) -> keras.Model:
    """Build the plan's network with new weights (pretrained where the plan names them).

    Args:
        plan: The plan.
        size: Sides of the input instead of the patch.

    Returns:
        A model with input ``(batch, *sides, channels)`` and float32 logits, a dict of them under
        deep supervision; of a patch classifier logits ``(batch, classes)``.
    """
    network = plan.network
    if network.kind == "patch":
        return build_classifier(plan)
    shape = (*(size or plan.patch), plan.channels)
    classes = len(plan.classes)
    if network.kind == "backbone":
        if network.backbone is None:
            raise ConfigError("plan.network.backbone is missing; name an encoder")
        return create_segmenter(
            network.backbone,
            input_shape=shape,
            classes=classes,
            decoder=network.decoder or "unet",
            weights=None if network.weights in (None, "none") else network.weights,
            dims=plan.axes,
            norm=network.norm,
            deep_supervision=network.deep_supervision,
            input_range=network.input_range,
        )
    if network.kind == "vnet":
        return residual_unet3d(
            input_shape=shape,
            classes=classes,
            norm=network.norm,
            deep_supervision=network.deep_supervision,
        )
    return build_unet(
        unet_plan(network),
        input_shape=shape,
        classes=classes,
        deep_supervision=network.deep_supervision,
    )


def unet_plan(network: Network) -> UNetPlan:
    """The plan of a network from scratch in the zoo's terms."""
    levels = len(network.widths)
    residual = network.kind == "residual"
    return UNetPlan(
        widths=network.widths,
        strides=network.strides,
        kernels=network.kernels,
        encoder_blocks=(1, *(2,) * (levels - 1)) if residual else (2,) * levels,
        decoder_blocks=(1 if residual else 2,) * (levels - 1),
        norm=network.norm,
        activation="leaky_relu",
        residual=residual,
        downsampling="stride",
    )


def make_optimizer(
    model: keras.Model, plan: Plan, train: TrainConfig, *, steps: int
) -> keras.Optimizer:
    """AdamW for the whole run; stages of a pretrained encoder at falling rates.

    Args:
        model: The plan's network.
        plan: The plan.
        train: Rates, decay, schedule, average.
        steps: Steps of the run.
    """
    pretrained = plan.network.pretrained
    peak = train.learning_rate
    if peak == "auto":
        peak = PRETRAINED_RATE if pretrained else SCRATCH_RATE
    ema = None if train.ema is None else min(train.ema, 1 - 10 / max(steps, 20))
    if pretrained and plan.network.backbone is not None:
        spec = zoo.get_spec(plan.network.backbone)
        policy = FineTunePolicy(
            train="all",
            decay=train.decay,
            batch_norm="train",
            learning_rate=peak,
            weight_decay=train.weight_decay,
            warmup=train.warmup,
            ema=ema,
        )
        policy.apply(model, spec)
        optimizer = policy.optimizer(model, spec, steps=steps)
        if train.schedule == "poly":
            optimizer.learning_rate = make_rate(train, peak, steps)
        return optimizer
    return scale_loss(
        LayerwiseAdamW(
            {},
            learning_rate=make_rate(train, peak, steps),
            weight_decay=train.weight_decay,
            use_ema=ema is not None,
            ema_momentum=0.99 if ema is None else ema,
        ),
        model,
    )


def make_rate(
    train: TrainConfig, peak: float, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A linear rise, then a half cosine or a polynomial of power 0.9 down to 0."""
    rise = max(1, round(train.warmup * steps))
    if train.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            peak / rise, max(1, steps - rise), warmup_target=peak, warmup_steps=rise
        )
    return keras.optimizers.schedules.PolynomialDecay(peak, steps, 0.0, power=POLY_POWER)


def make_loss(train: TrainConfig, classes: Sequence[str]) -> keras.losses.Loss:
    """The loss of ``train.loss`` with its class weights; takes labels and logits, -1 is unknown."""
    return LOSSES[train.loss](ignore_index=-1, class_weights=weights_by_name(train, classes))


def weights_by_name(train: TrainConfig, classes: Sequence[str]) -> list[float] | None:
    """``train.class_weights`` in the order of the classes; None where none are given.

    Raises:
        ConfigError: A name is no class.
    """
    for name in train.class_weights:
        if name not in classes:
            raise ConfigError(f"train.class_weights: {name!r} is no class{nearest(name, classes)}")
    if not train.class_weights:
        return None
    return [train.class_weights.get(name, 1.0) for name in classes]


def compile_network(
    model: keras.Model,
    optimizer: keras.Optimizer,
    train: TrainConfig,
    classes: Sequence[str],
    *,
    jit: bool,
) -> None:
    """Compile with the loss on every output, coarser ones weighing less."""
    options: dict[str, Any] = {"loss": make_loss(train, classes)}
    if not isinstance(model.output, dict) and len(model.output.shape) == 2:
        options["loss"] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if isinstance(model.output, dict):
        options = {
            "loss": {name: make_loss(train, classes) for name in model.output},
            "loss_weights": supervision_weights(model),
        }
    model.compile(optimizer=optimizer, jit_compile=jit, auto_scale_loss=False, **options)


def main_output(model: keras.Model) -> keras.Model:
    """The network without its coarser outputs: one tensor of logits, weights shared."""
    return without_supervision(model) if isinstance(model.output, dict) else model

"""Staged fine-tuning: stages, movement of every variable, and frozen means frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from zoo.backbones import create_backbone
from zoo.errors import FrozenMovedError, ZooError
from zoo.finetune import (
    LayerwiseAdamW,
    frozen_snapshot,
    layer_stages,
    rate_multipliers,
    set_trainable,
    verify_frozen,
)
from zoo.heads import create_model
from zoo.registry import get_spec

SPEC = get_spec("mobilenet_v2")
HEAD = 6


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return create_model("mobilenet_v2", input_shape=(32, 32, 3), classes=2, weights=None)


def test_a_layer_belongs_to_the_first_tap_that_needs_it(model: keras.Model) -> None:
    stages = layer_stages(model, SPEC)
    assert set(stages) == {layer.name for layer in model.layers}
    assert stages["image"] == stages["Conv1"] == stages["block_1_expand_relu"] == 0
    assert stages["block_1_depthwise"] == stages["block_2_add"] == 1
    assert stages["block_13_expand_relu"] == 3
    assert stages["block_13_depthwise"] == stages["out_relu"] == 4
    assert stages["pool"] == stages["dropout"] == stages["logits"] == HEAD


def test_a_classifier_on_a_lower_level_ends_there() -> None:
    model = create_model(
        "mobilenet_v2", input_shape=(32, 32, 3), classes=2, weights=None, levels=("P4",), hidden=4
    )
    stages = layer_stages(model, SPEC)
    assert set(stages.values()) == {0, 1, 2, 3, HEAD}
    rates = rate_multipliers(model, SPEC, decay=0.5)
    assert rates["logits/kernel"] == rates["hidden/kernel"] == 1
    assert rates["block_12_project/kernel"] == 0.5
    assert rates["Conv1/kernel"] == 0.5**4
    set_trainable(model, SPEC, stages=1)
    assert model.get_layer("block_12_project").trainable
    assert not model.get_layer("block_6_expand").trainable
    with pytest.raises(ZooError, match="has 4 stages: give 0 to 4"):
        set_trainable(model, SPEC, stages=5)


def test_shortcuts_count_with_what_needs_them() -> None:
    """The strided shortcut of a ResNetV2 block runs beside the tap, yet behind it in the net."""
    spec = get_spec("resnet50v2")
    stages = layer_stages(create_backbone(spec.name, input_shape=(32, 32, 3), weights=None), spec)
    assert stages["conv1_conv"] == 0
    assert stages["conv2_block3_preact_relu"] == stages["conv2_block1_0_conv"] == 1
    assert stages["conv2_block3_1_conv"] == stages["max_pooling2d"] == 2
    assert stages["post_relu"] == 4


def test_stages_of_another_network(model: keras.Model) -> None:
    with pytest.raises(ZooError, match="no layer 'conv1_relu': not a 'resnet50'"):
        layer_stages(model, get_spec("resnet50"))


@pytest.mark.parametrize(("stages", "lowest"), [(0, HEAD), (1, 4), (3, 2), (5, 0), ("all", 0)])
def test_set_trainable(model: keras.Model, stages: Any, lowest: int) -> None:
    of_layer = layer_stages(model, SPEC)
    for policy in ("frozen", "train"):
        set_trainable(model, SPEC, stages=stages, batch_norm=policy)  # type: ignore[arg-type]
        for layer in model.layers:
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            wanted = of_layer[layer.name] >= lowest and not (is_norm and policy == "frozen")
            assert layer.trainable is wanted, layer.name
    assert model.get_layer("logits").trainable


@pytest.mark.parametrize("stages", [-1, 6, True, "top"])
def test_stages_out_of_range(model: keras.Model, stages: Any) -> None:
    with pytest.raises(ZooError, match="'mobilenet_v2' has 5 stages: give 0 to 5, or 'all'"):
        set_trainable(model, SPEC, stages=stages)


def test_unknown_batch_norm_policy(model: keras.Model) -> None:
    with pytest.raises(ZooError, match="unknown batch_norm 'half'"):
        set_trainable(model, SPEC, stages=0, batch_norm="half")  # type: ignore[arg-type]


def test_multipliers_fall_by_stage(model: keras.Model) -> None:
    set_trainable(model, SPEC, stages="all")
    rates = rate_multipliers(model, SPEC, decay=0.5)
    assert set(rates) == {variable.path for variable in model.trainable_variables}
    assert rates["logits/kernel"] == rates["logits/bias"] == 1.0
    assert rates["Conv_1/kernel"] == 0.5
    assert rates["block_12_project/kernel"] == 0.25
    assert rates["Conv1/kernel"] == 0.5**5
    with pytest.raises(ZooError, match=r"decay is 0\.0"):
        rate_multipliers(model, SPEC, decay=0.0)


def _adamw(start: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float) -> np.ndarray:
    """Loshchilov and Hutter's AdamW, written out (beta 0.9 and 0.999, epsilon 1e-7)."""
    x, m, v = start.astype("float64"), np.zeros_like(start), np.zeros_like(start)
    for step, gradient in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        corrected = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        x = x - rate * decay * x - corrected * m / (np.sqrt(v) + 1e-7)
    return x


def _linear(multipliers: Mapping[str, float], decay: float) -> keras.Model:
    """Two dense layers side by side, so that the gradients are known in closed form."""
    image = keras.Input((3,))
    branches = [keras.layers.Dense(2, name=name)(image) for name in ("low", "high")]
    model = keras.Model(image, keras.layers.Add()(branches))
    for layer in ("low", "high"):
        model.get_layer(layer).set_weights([np.full((3, 2), 0.7), np.array([0.3, -0.2])])
    optimizer = LayerwiseAdamW(multipliers, learning_rate=0.01, weight_decay=decay)
    model.compile(optimizer, loss=lambda y, p: keras.ops.mean(p * y, axis=-1))
    return model


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_update_and_decay_scale_with_the_multiplier(decay: float) -> None:
    model = _linear({"low/kernel": 0.1, "low/bias": 0.1, "high/kernel": 1.0}, decay)
    rng = np.random.default_rng(5)
    steps = [(rng.normal(size=(4, 3)), rng.normal(size=(4, 2))) for _ in range(6)]
    for x, y in steps:
        model.train_on_batch(x.astype("float32"), y.astype("float32"))
    # loss = mean over samples and outputs of (x W + b) y, whatever W and b are
    kernels = [x.T @ y / 8 for x, y in steps]
    biases = [y.sum(axis=0) / 8 for _, y in steps]
    for name, share in (("low", 0.1), ("high", 1.0)):
        kernel, bias = model.get_layer(name).get_weights()
        wanted = _adamw(np.full((3, 2), 0.7), kernels, 0.01 * share, decay)
        np.testing.assert_allclose(kernel, wanted, rtol=2e-5)
        wanted = _adamw(np.array([0.3, -0.2]), biases, 0.01 * share, 0.0)
        np.testing.assert_allclose(bias, wanted, rtol=2e-5)


def test_rate_can_change_and_config_round_trips() -> None:
    model = _linear({"low/kernel": 0.0}, 0.1)
    before = model.get_layer("low").kernel.numpy()
    x, y = np.ones((2, 3), "float32"), np.ones((2, 2), "float32")
    model.train_on_batch(x, y)
    np.testing.assert_array_equal(model.get_layer("low").kernel, before)
    moved = model.get_layer("high").kernel.numpy()
    model.optimizer.learning_rate.assign(0.0)
    model.train_on_batch(x, y)
    np.testing.assert_array_equal(model.get_layer("high").kernel, moved)
    config = keras.saving.serialize_keras_object(model.optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, LayerwiseAdamW)
    assert again.get_config() == model.optimizer.get_config()
    assert again.get_config()["weight_decay"] == 0.1
    assert again.get_config()["multipliers"] == {"low/kernel": 0.0}


def test_norms_biases_and_channel_scales_do_not_decay() -> None:
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3, 1, name="conv")(image)
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(1, use_bias=False, name="scale")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Dense(1, name="logit")(keras.layers.Flatten()(x))
    model = keras.Model(image, x)
    for weight in model.weights:
        weight.assign(np.ones(weight.shape))
    optimizer = LayerwiseAdamW({}, learning_rate=1.0, weight_decay=0.5)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(one.shape) for one in model.trainable_variables])
    halved = {weight.path for weight in model.weights if weight.numpy().max() == 0.5}
    assert halved == {"conv/kernel", "depthwise/kernel", "logit/kernel"}


def test_frozen_batch_norm_does_not_move_and_the_rest_does(model: keras.Model) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 255, (4, 32, 32, 3)).astype("float32"), np.eye(2)[[0, 0, 0, 1]]
    for weight in model.weights:
        if "kernel" in weight.path:
            weight.assign(rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    set_trainable(model, SPEC, stages=1)
    model.compile(LayerwiseAdamW(rate_multipliers(model, SPEC, decay=0.5)), loss, run_eagerly=True)
    snapshot = frozen_snapshot(model)
    before = {weight.path: weight.numpy() for weight in model.weights}
    model.train_on_batch(x, y)
    verify_frozen(model, snapshot)
    moved = {one.path for one in model.weights if (one.numpy() != before[one.path]).any()}
    assert moved == {one.path for one in model.trainable_variables}
    assert "Conv_1_bn/moving_mean" in snapshot
    assert "Conv_1/kernel" not in snapshot

    set_trainable(model, SPEC, stages=1, batch_norm="train")
    model.compile(LayerwiseAdamW(rate_multipliers(model, SPEC, decay=0.5)), loss, run_eagerly=True)
    assert "Conv_1_bn/moving_mean" not in frozen_snapshot(model)
    model.train_on_batch(x, y)
    with pytest.raises(
        FrozenMovedError, match=r"\d+ frozen variables moved.*block_13_\w+_BN/.*more"
    ):
        verify_frozen(model, snapshot)

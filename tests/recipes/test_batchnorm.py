"""The fused kernel does what Keras' own layer does, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from recipes.engine.batchnorm import fused_batch_norm


def network(shape: tuple[int, ...], **options: Any) -> keras.Model:
    image = keras.Input(shape)
    norm = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="norm", **options)
    return keras.Model(image, norm(image) ** 3)


def trained(shape: tuple[int, ...], *, fused: bool, seed: int, **options: Any) -> dict[str, Any]:
    """One training step: loss gradient at the weights, moving averages, the output."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    model = network(shape, **options)
    layer = model.get_layer("norm")
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(1.0, 0.4, variable.shape))
    x = tf.constant(rng.normal(3.0, 2.0, (3, *shape)).astype("float32"))
    weight = tf.constant(rng.normal(size=(3, *shape)).astype("float32"))

    @tf.function
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=True)
            loss = tf.reduce_sum(y * weight)
        return y, tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])

    if fused:
        with fused_batch_norm(model) as count:
            assert count == 1
            y, gradients = step(x)
            graph = step.get_concrete_function(x).graph
            assert "FusedBatchNormV3" in {op.type for op in graph.get_operations()}
        assert "call" not in vars(layer)
    else:
        y, gradients = step(x)
    return {
        "y": y.numpy(),
        "mean": layer.moving_mean.numpy(),
        "variance": layer.moving_variance.numpy(),
        **{f"gradient {i}": g.numpy() for i, g in enumerate(gradients)},
    }


@pytest.mark.parametrize("shape", [(5, 7, 4), (3, 5, 4, 6), (9, 4)], ids=["2d", "3d", "1d"])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}], ids=str)
def test_values_gradients_and_averages_are_those_of_keras(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    plain = trained(shape, fused=False, seed=len(shape), **options)
    fused = trained(shape, fused=True, seed=len(shape), **options)
    assert plain.keys() == fused.keys()
    for name, wanted in plain.items():
        worst = np.abs(fused[name] - wanted).max() / np.abs(wanted).max()
        assert worst < 2e-5, name


def test_frozen_layers_and_inference_use_the_averages() -> None:
    model = network((4, 4, 3))
    layer = model.get_layer("norm")
    x = np.random.default_rng(0).normal(5.0, 3.0, (2, 4, 4, 3)).astype("float32")
    before = model(x, training=False).numpy()
    with fused_batch_norm(model):
        np.testing.assert_array_equal(model(x, training=False).numpy(), before)
        layer.trainable = False
        np.testing.assert_array_equal(model(x, training=True).numpy(), before)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), 0.0)


@pytest.mark.parametrize(
    "options", [{"axis": 1}, {"renorm": True}, {"synchronized": True}], ids=str
)
def test_what_the_kernel_cannot_do_stays_with_keras(options: dict[str, Any]) -> None:
    with fused_batch_norm(network((4, 4, 3), **options)) as count:
        assert count == 0


def test_half_precision_normalises_in_float32() -> None:
    model = network((4, 4, 3), dtype="mixed_float16")
    x = np.random.default_rng(0).normal(900.0, 500.0, (2, 4, 4, 3)).astype("float16")
    layer = model.get_layer("norm")
    with fused_batch_norm(model):
        y = layer(x, training=True)
    assert y.dtype == "float16"
    assert np.isfinite(layer.moving_variance.numpy()).all()
    assert layer.moving_variance.numpy().min() > 1e4

"""Pooling in the plane and in space, against numpy, in small and in large numbers."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from zoo.errors import ZooError
from zoo.heads import POOLINGS, attention_map, create_model, gem_exponents
from zoo.heads.pooling import pool_maps

SIDES = {2: (5, 7), 3: (3, 5, 4)}


def pooled(pooling: str, *, dims: int = 2, channels: int = 6, levels: int = 1) -> keras.Model:
    """A model that only pools; its convolutions get weights that tell features apart."""
    maps = [
        (f"P{3 + n}", keras.Input((None,) * dims + (channels,), name=f"map_{n}"))
        for n in range(levels)
    ]
    inputs = [x for _, x in maps]
    model = keras.Model(inputs if levels > 1 else inputs[0], pool_maps(maps, pooling))
    rng = np.random.default_rng(3)
    for weight in model.weights:
        scale = 0.3 if "gem" in weight.path else np.sqrt(1 / channels)
        weight.assign(rng.normal(0, scale, weight.shape))
    return model


def features(dims: int, *, seed: int = 5, shift: float = 0.4) -> np.ndarray:
    """Features of both signs, float64."""
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.0, (2, *SIDES[dims], 6))


def generalised_mean(x: np.ndarray, p: float) -> np.ndarray:
    """The formula of the paper, in float64."""
    axes = tuple(range(1, x.ndim - 1))
    return np.asarray((np.maximum(x, 1e-6) ** p).mean(axis=axes) ** (1 / p))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("pooling", ["avg", "max", "stats"])
def test_fixed_poolings_equal_numpy(pooling: str, dims: int) -> None:
    x = features(dims)
    axes = tuple(range(1, dims + 1))
    want = {"avg": [x.mean(axes)], "max": [x.max(axes)], "stats": [x.mean(axes), x.std(axes)]}
    got = pooled(pooling, dims=dims)(x.astype("float32"))
    np.testing.assert_allclose(got, np.concatenate(want[pooling], -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_gem_is_the_generalised_mean_of_its_exponent(dims: int) -> None:
    model = pooled("gem", dims=dims)
    (p,) = gem_exponents(model).values()
    assert p != pytest.approx(3, abs=0.05)
    x = features(dims)
    np.testing.assert_allclose(
        model(x.astype("float32")), generalised_mean(x, p), rtol=1e-4, atol=1e-6
    )
    model.get_layer("gem_exponent").kernel.assign([[0.0]])
    np.testing.assert_allclose(
        model(x.astype("float32")), generalised_mean(x, 3.0), rtol=1e-4, atol=1e-6
    )


def test_gem_learns_its_exponent_towards_the_maximum() -> None:
    model = pooled("gem")
    model.get_layer("gem_exponent").kernel.assign([[0.0]])
    x = np.abs(features(2)).astype("float32")
    model.compile(keras.optimizers.Adam(0.3), "mse")
    model.fit(x, x.max(axis=(1, 2)), epochs=12, verbose=0)
    assert gem_exponents(model)["gem_exponent"] > 8


@pytest.mark.parametrize("value", [0.0, -3.0, 6e4, 1e-7])
def test_gem_and_its_gradient_stay_finite_in_float16(value: float) -> None:
    """At features all 0, all negative, at the end of float16, and below its smallest number."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        maps = keras.Input((5, 7, 6))
        lifted = keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones")(maps)
        model = keras.Model(maps, pool_maps([("P5", lifted)], "gem"))
    finally:
        keras.config.set_dtype_policy(policy)
    x = np.full((2, 5, 7, 6), value, "float32")
    x[:, 0, 0] = value / 2
    got = np.asarray(model(x), "float64")
    np.testing.assert_allclose(got, generalised_mean(x.astype("float64"), 3.0), rtol=2e-3)
    model.compile(keras.optimizers.SGD(0.1), "mae")
    model.train_on_batch(x, np.zeros((2, 6), "float32"))
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_large_float16_features_do_not_overflow(pooling: str) -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        maps = keras.Input((32, 32, 2), dtype="float16")
        model = keras.Model(maps, pool_maps([("P5", maps)], pooling))
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.output.dtype == "float32"
    got = np.asarray(model(np.full((1, 32, 32, 2), 3e4, "float16")))
    np.testing.assert_allclose(got[:, :2], 3e4, rtol=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_attention_is_the_mean_weighted_by_its_map(dims: int) -> None:
    """The two formulas of the paper in numpy, from the weights of the layers."""
    model = pooled("attention", dims=dims)
    x = features(dims)

    def dense(name: str, on: np.ndarray) -> np.ndarray:
        kernel, *bias = model.get_layer(name).get_weights()
        return np.asarray(on @ kernel.reshape(kernel.shape[-2:]) + (bias[0] if bias else 0.0))

    gate = 1 / (1 + np.exp(-dense("attention_gate", x)))
    score = dense("attention_score", np.tanh(dense("attention_value", x)) * gate)
    power = np.exp(score)
    axes = tuple(range(1, dims + 1))
    weights = power / power.sum(axes, keepdims=True)
    assert weights.max() > 1.3 / np.prod(SIDES[dims])
    shown = attention_map(model)(x.astype("float32"))
    np.testing.assert_allclose(shown, weights[..., 0], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(shown).sum(axes), 1, rtol=1e-5)
    np.testing.assert_allclose(
        model(x.astype("float32")), (x * weights).sum(axes), rtol=1e-3, atol=1e-4
    )


def test_several_levels_have_an_attention_map_each() -> None:
    model = pooled("attention", levels=2)
    shape = attention_map(model, level="P4").output.shape
    assert shape == (None, None, None)
    with pytest.raises(ZooError, match="no attention map 'attention'; it has attention_P3, att"):
        attention_map(model)
    with pytest.raises(ZooError, match="none; build it with pooling='attention'"):
        attention_map(pooled("avg"))


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_two_builds_have_equal_names(pooling: str) -> None:
    first, second = (pooled(pooling, levels=2) for _ in range(2))
    assert [one.name for one in first.operations] == [one.name for one in second.operations]
    single = [one.name for one in pooled(pooling).operations]
    assert single[-1] == "pool"
    assert "_".join(single).count("keras") == 0


@pytest.mark.parametrize("pooling", ["gem", "attention"])
def test_plain_keras_opens_learned_pooling(pooling: str, tmp_path: Path) -> None:
    model = pooled(pooling, dims=3, levels=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = [features(3, seed=seed).astype("float32") for seed in range(2)]
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.parametrize("pooling", ["gem", "attention"])
def test_create_model_trains_learned_pooling(pooling: str, tiny: str) -> None:
    model = create_model(tiny, input_shape=(32, 32, 1), classes=2, weights=None, pooling=pooling)
    names = ("gem_exponent",) if pooling == "gem" else ("attention_value", "attention_score")
    before = {name: model.get_layer(name).get_weights()[0] for name in names}
    rng = np.random.default_rng(0)
    model.compile(
        keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.train_on_batch(rng.uniform(0, 255, (4, 32, 32, 1)), np.array([0, 1, 0, 1]))
    for name in names:
        assert np.abs(model.get_layer(name).get_weights()[0] - before[name]).max() > 1e-7

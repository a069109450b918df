"""Outputs for grades, values and embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.backbones import create_backbone
from zoo.errors import ZooError
from zoo.heads import POOLINGS, create_model, ordinal_decode, ordinal_probabilities, split_head
from zoo.heads.tasks import TASKS, add_output


def head(task: str, classes: int, *, seed: int = 0) -> keras.Model:
    """The output layers of a task on five features, with weights that make them differ."""
    x = keras.Input((5,), name="features")
    model = keras.Model(x, add_output(x, task=task, classes=classes))
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, 1, weight.shape))
    return model


def test_ordinal_logits_fall_from_threshold_to_threshold() -> None:
    """One score minus ordered thresholds, whatever the weights are."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 5)).astype("float32")
    for seed in range(5):
        model = head("ordinal", 6, seed=seed)
        logits = np.asarray(model(x), "float64")
        assert logits.shape == (40, 5)
        steps = np.diff(logits, axis=1)
        assert (steps < 0).all()
        np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), atol=1e-5)
        kernel, bias = model.get_layer("score").get_weights()
        np.testing.assert_allclose(logits[:, :1], x @ kernel + bias, atol=1e-5)
        gaps = model.get_layer("threshold_gaps").get_weights()[0]
        np.testing.assert_allclose(-steps[:1], np.log1p(np.exp(gaps)), atol=1e-5)


def test_two_grades_are_one_logit() -> None:
    assert head("ordinal", 2).output.shape == (None, 1)


def test_ordinal_probabilities_and_decoding() -> None:
    rng = np.random.default_rng(2)
    logits = -np.sort(-rng.normal(0, 3, (50, 4)), axis=1)
    above = 1 / (1 + np.exp(-logits))
    want = -np.diff(np.concatenate([np.ones((50, 1)), above, np.zeros((50, 1))], 1), axis=1)
    got = np.asarray(ordinal_probabilities(logits))
    np.testing.assert_allclose(got, want, atol=1e-6)
    grades = np.asarray(ordinal_decode(logits))
    # The median: the first grade at which the cumulated probability reaches a half.
    np.testing.assert_array_equal(grades, (np.cumsum(want, axis=1) < 0.5).sum(axis=1))
    assert set(grades) == {0, 1, 2, 3, 4}
    assert np.isfinite(np.asarray(ordinal_probabilities([[1e4, -1e4]]))).all()


def test_embeddings_have_length_one() -> None:
    model = head("embedding", 8)
    x = np.random.default_rng(3).normal(size=(6, 5)).astype("float32")
    got = np.asarray(model(x))
    want = x @ model.get_layer("projection").get_weights()[0]
    np.testing.assert_allclose(got, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
    assert np.isfinite(np.asarray(model(np.zeros((1, 5), "float32")))).all()


@pytest.mark.parametrize(
    ("task", "last", "width", "name"),
    [
        ("classification", "logits", 4, "classifier"),
        ("ordinal", "logits", 3, "grader"),
        ("regression", "values", 4, "regressor"),
        ("embedding", "embedding", 4, "embedder"),
    ],
)
def test_create_model_for_every_task(
    task: str, last: str, width: int, name: str, tiny: str, tmp_path: Path
) -> None:
    """Split, saved and opened by plain Keras, the head gives what it gave."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = create_model(
            tiny, input_shape=(32, 32, 1), classes=4, weights=None, task=task, hidden=5
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.name == f"{tiny}_{name}"
    assert model.layers[-1].name == last
    assert model.output.shape == (None, width)
    assert model.output.dtype == "float32"
    rng = np.random.default_rng(4)
    features, behind = split_head(model)
    for weight in behind.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    image = rng.uniform(0, 255, (2, 32, 32, 1)).astype("float32")
    want = np.asarray(model(image))
    np.testing.assert_allclose(behind(features(image)), want, rtol=1e-3, atol=1e-3)
    pooled = rng.normal(size=(3, 24)).astype("float32")
    assert np.abs(np.diff(np.asarray(behind(pooled)), axis=0)).max() > 1e-3
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(image), want)


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
def test_a_volume_of_equal_slices_gets_the_scores_of_its_slice(
    pooling: str, tiny: str, tmp_path: Path
) -> None:
    """The head in space on an inflated backbone, from the weights of a model of pictures."""
    options: dict[str, Any] = {"classes": 3, "weights": None, "pooling": pooling, "hidden": 4}
    saved = tmp_path / "tiny.weights.h5"
    rng = np.random.default_rng(5)
    backbone = create_backbone(tiny, input_shape=(32, 32, 3), weights=None)
    for weight in backbone.weights:
        scale = np.sqrt(2 / max(1, np.prod(weight.shape[:-1])))
        value = rng.normal(0, scale, weight.shape)
        weight.assign(np.abs(value) + 0.5 if len(weight.shape) == 1 else value)
    backbone.save_weights(saved)
    options.update(weights=saved, channel_map=("G", "R"))
    flat = create_model(tiny, input_shape=(32, 32, 2), **options)
    deep = create_model(tiny, input_shape=(6, 32, 32, 2), dims=3, **options)
    own = {layer.name for layer in backbone.layers}
    for layer in flat.layers:
        if layer.name in own or not layer.weights:
            continue
        for weight in layer.weights:
            weight.assign(rng.normal(0, 0.3, weight.shape))
        arrays = [
            np.reshape(array, weight.shape)
            for array, weight in zip(
                layer.get_weights(), deep.get_layer(layer.name).weights, strict=True
            )
        ]
        deep.get_layer(layer.name).set_weights(arrays)
    image = rng.uniform(0, 255, (2, 32, 32, 2)).astype("float32")
    want = np.asarray(flat(image))
    got = np.asarray(deep(np.repeat(image[:, None], 6, axis=1)))
    assert np.ptp(want, axis=0).max() > 1e-3 * np.abs(want).max()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_a_slab_is_a_picture_of_its_slices(tiny: str) -> None:
    slab = create_model(tiny, input_shape=(3, 32, 32, 1), classes=2, weights=None, dims=2.5)
    flat = create_model(tiny, input_shape=(32, 32, 3), classes=2, weights=None)
    flat.set_weights(slab.get_weights())
    image = np.random.default_rng(6).uniform(0, 255, (2, 3, 32, 32, 1)).astype("float32")
    np.testing.assert_allclose(
        slab(image), flat(np.moveaxis(image[..., 0], 1, -1)), rtol=1e-4, atol=1e-6
    )


def test_two_builds_have_equal_names() -> None:
    for task in TASKS:
        first, second = (head(task, 4) for _ in range(2))
        assert [one.name for one in first.operations] == [one.name for one in second.operations]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "ordinel"}, "unknown task 'ordinel'.*did you mean 'ordinal'"),
        ({"task": "ordinal", "classes": 1}, "classes is 1; an ordinal scale needs at least 2"),
        ({"task": "embedding", "classes": 1}, "needs at least 2 numbers"),
        ({"task": "regression", "classes": 0}, "classes is 0; a regression needs"),
        ({"classes": 2.5}, "classes is 2.5"),
        ({"classes": True}, "classes is True"),
    ],
)
def test_refused_arguments(change: dict[str, Any], message: str, tiny: str) -> None:
    arguments = {"input_shape": (32, 32, 3), "classes": 4, "weights": None, **change}
    with pytest.raises(ZooError, match=message):
        create_model(tiny, **arguments)

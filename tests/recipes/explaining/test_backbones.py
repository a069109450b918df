"""Every backbone of the zoo can be explained, in the plane and in space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import zoo
from recipes.explaining.cam import class_activation
from recipes.explaining.errors import ExplainError
from recipes.explaining.features import layer_of, look
from recipes.explaining.network import Explained
from recipes.explaining.saliency import input_gradients
from tests.recipes.explaining.nets import one_hot, plain
from tests.recipes.tiny_backbone import NAME, register
from zoo.heads.pooling import LEARNED

register()


def check(model: Any, taps: list[str], rng: np.random.Generator) -> str:
    """Explain a classifier of three classes in every way that gradients give.

    Returns:
        Why guided back-propagation was refused; empty where it was not.
    """
    network = Explained(model)
    x = rng.uniform(0, 255, (2, *model.input_shape[1:])).astype(np.float32)
    wanted = plain(model(x, training=False))
    assert np.abs(network.outputs(x) - wanted).max() <= 1e-4 * np.abs(wanted).max() + 1e-6
    points = network.last_maps()
    _, values, gradients = network.gradients(x, one_hot(1), layers=points)
    for value, gradient in zip(values, gradients, strict=True):
        assert value.shape == gradient.shape
        assert len(value.shape) == len(x.shape)
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0
    heat = class_activation(network, x, one_hot(1))
    assert heat.shape == x.shape[:-1]
    assert heat.min() >= 0
    slope = input_gradients(network, x, one_hot(1))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0
    layers = [layer_of(network, name) for name in taps]
    for found in look(network, layers, iter(x), units=2):
        assert found.regions or found.channels
    try:
        guided = input_gradients(network, x, one_hot(1), rectify="guided")
    except ExplainError as error:
        return str(error)
    assert guided.shape == x.shape
    assert np.isfinite(guided).all()
    return ""


def taps_in(model: Any, spec: zoo.BackboneSpec) -> list[str]:
    """Names of the backbone's taps that a model has."""
    names = {layer.name for layer in model.layers}
    return [name for _, name in spec.taps if name in names]


@pytest.mark.parametrize("pooling", ["avg", "stats", "gem", "attention"])
def test_every_pooling(pooling: str) -> None:
    model = zoo.create_model(
        NAME, input_shape=(32, 32, 3), classes=3, weights=None, pooling=pooling, hidden=8
    )
    taps = taps_in(model, zoo.get_spec(NAME))
    refused = check(model, taps[:1], np.random.default_rng(0))
    assert bool(refused) == (pooling in LEARNED)  # those have gates and exponents of their own


def test_two_levels_and_volumes() -> None:
    two = zoo.create_model(
        NAME, input_shape=(32, 32, 3), classes=3, weights=None, levels=("P3", "P4")
    )
    network = Explained(two)
    assert {network.name_of(n) for n in network.last_maps()} == {"act3", "act4"}
    assert check(two, [], np.random.default_rng(1)) == ""
    solid = zoo.create_model(NAME, input_shape=(16, 32, 32, 1), classes=3, weights=None, dims=3)
    assert check(solid, [], np.random.default_rng(2)) == ""


@pytest.mark.big
@pytest.mark.parametrize("name", zoo.list_backbones())
def test_every_backbone(name: str) -> None:
    spec = zoo.get_spec(name)
    side = max(64, spec.min_size)
    solid = spec.dims == 3
    shape = (side, side, side, 1) if solid else (side, side, 3)
    model = zoo.create_model(name, input_shape=shape, classes=3, weights=None, dims=spec.dims)
    refused = check(model, [], np.random.default_rng(0))
    if refused:
        assert "is not defined for layer" in refused
    # the receptive field of every level is known, or it is said of which layer it is not
    for tap in taps_in(model, spec):
        try:
            assert min(layer_of(Explained(model), tap).sides) >= 1
        except zoo.ZooError as error:
            assert "receptive field behind layer" in str(error)  # noqa: PT017

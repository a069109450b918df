"""Receptive fields against perturbed pixels, and the regions that excite units."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from recipes.explaining.errors import ExplainError
from recipes.explaining.features import evenly, field_box, first_kernels, layer_of, look
from recipes.explaining.gallery import OUTSIDE, TILE, cut, fitting, kernel_sheet, tile
from recipes.explaining.network import Explained
from tests.recipes.explaining.nets import classifier, drawn, ensemble, images


def deep(side: int = 23) -> keras.Model:
    """Strides, padding of several kinds, dilation, pooling, a shortcut; smooth, so nothing dies."""
    image = keras.Input((side, side, 1), name="image")
    x = keras.layers.Conv2D(3, 5, strides=2, padding="same", activation="softplus", name="a")(image)
    y = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    y = keras.layers.Conv2D(3, 2, activation="softplus", name="b")(y)
    x = keras.layers.Add(name="sum")([x, y])
    x = keras.layers.Conv2D(4, 3, dilation_rate=2, activation="softplus", name="c")(x)
    x = keras.layers.AveragePooling2D(2, name="pool")(x)
    x = keras.layers.Conv2D(4, 2, activation="softplus", name="d")(x)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    return drawn(keras.Model(image, keras.layers.Dense(2)(pooled), name="deep"))


@pytest.mark.parametrize("layer", ["a", "sum", "c", "pool", "d"])
def test_fields_are_where_a_changed_pixel_has_an_effect(layer: str) -> None:
    network = Explained(ensemble([deep(), deep()]))  # layers inside models inside
    found = layer_of(network, layer)
    assert found.name == f"member_0/{layer}"
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (1, 23, 23, 1)).astype(np.float32)
    # every row and every column changed at once, each in a picture of its own
    changed = np.repeat(x, 46, axis=0)
    for i in range(23):
        changed[i, i] += 2.0
        changed[23 + i, :, i] += 2.0
    before = network.features(x, [found.number])[0]
    after = network.features(changed, [found.number])[0]
    moved = np.abs(after - before).max(axis=-1) > 1e-6
    grid = before.shape[1:-1]
    for place in {(0, 0), (grid[0] // 2, grid[1] // 2), (grid[0] - 1, grid[1] - 1)}:
        for axis, (low, high) in enumerate(field_box(found.fields, place)):
            seen = moved[23 * axis : 23 * axis + 23, place[0], place[1]]
            inside = np.arange(23)
            inside = (inside >= low) & (inside < high)
            assert not seen[~inside].any()
            ends = np.flatnonzero(inside)[[0, -1]]
            assert seen[ends].all()
    assert found.sides == tuple(b - a for a, b in field_box(found.fields, grid))


def test_regions_are_those_of_the_highest_values() -> None:
    network = Explained(deep())
    layer = layer_of(network, "c")
    x = images(network.model, count=11)
    (found,) = look(network, [layer], iter(x), units=2, top=4)
    maps = network.features(x, [layer.number])[0]
    assert list(found.regions) == [0, 2]
    for unit, regions in found.regions.items():
        highest = maps[..., unit].max(axis=(1, 2))
        assert [r.case for r in regions] == np.argsort(-highest)[:4].tolist()
        for region in regions:
            assert region.value == pytest.approx(float(highest[region.case]), rel=1e-5)
            assert maps[(region.case, *region.place, unit)] == pytest.approx(region.value)
            assert region.box == field_box(layer.fields, region.place)


def test_what_a_unit_sees_is_enough_to_excite_it() -> None:
    """The same region in a picture that is empty elsewhere gives the same value."""
    network = Explained(deep())
    layer = layer_of(network, "d")
    x = images(network.model, count=3)
    (found,) = look(network, [layer], iter(x), units=4, top=3)
    for unit, regions in found.regions.items():
        for region in regions:
            box = tuple(slice(max(0, a), b) for a, b in region.box)
            alone = np.zeros_like(x[:1])
            alone[(0, *box)] = x[(region.case, *box)]
            value = network.features(alone, [layer.number])[0][(0, *region.place, unit)]
            assert value == pytest.approx(region.value, rel=1e-4)


def test_behind_a_gate_the_whole_input_is_seen() -> None:
    image = keras.Input((12, 12, 2), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(image)
    gate = keras.layers.Reshape((1, 1, 4))(keras.layers.GlobalAveragePooling2D()(x))
    gate = keras.layers.Conv2D(4, 1, activation="sigmoid")(gate)
    x = keras.layers.Multiply(name="gated")([x, gate])
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = Explained(drawn(keras.Model(image, keras.layers.Dense(2)(x))))
    gated, before = layer_of(network, "gated"), layer_of(network, "a")
    assert (gated.whole, before.whole) == (True, False)
    assert gated.sides == before.sides == (3, 3)


def test_units_that_never_change_are_left_out() -> None:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="a")(image)
    network = Explained(drawn(keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(x)))))
    kernel, bias = network.model.get_layer("a").get_weights()
    bias[1] = -1e6
    network.model.get_layer("a").set_weights([kernel, bias])
    (found,) = look(network, [layer_of(network, "a")], iter(images(network.model)), units=4)
    assert list(found.regions) == [0, 2, 3]
    assert evenly(np.arange(10), 4).tolist() == [0, 2, 5, 7]
    with pytest.raises(ExplainError, match="no case"):
        look(network, [layer_of(network, "a")], iter(()), units=4)


def test_kernels_of_the_first_convolution() -> None:
    model = classifier()
    name, kernels = first_kernels(Explained(ensemble([model, classifier(seed=3)])))
    assert name == "member_0/first"
    assert np.array_equal(kernels, model.get_layer("first").get_weights()[0])
    sheet = kernel_sheet(kernels)
    assert sheet.shape == (TILE, 4 * TILE + 12, 3)
    mean = kernels.mean(axis=2)[..., 0]
    centre = 127.5 + 127.5 * mean[0, 0] / np.abs(mean).max()
    assert abs(float(sheet[TILE // 6, TILE // 6, 0]) - centre) <= 1
    assert kernel_sheet(np.ones((3, 3, 3, 1, 5))).shape[1] == 5 * TILE + 16


def test_regions_beyond_the_border_are_grey() -> None:
    picture = np.full((6, 7, 3), 9, np.uint8)
    part = cut(picture, ((-2, 2), (5, 9)), (0, 0))
    assert part.shape == (4, 4, 3)
    assert (part[2:, :2] == 9).all()
    assert (part[:2] == OUTSIDE).all()
    assert (part[:, 2:] == OUTSIDE).all()
    volume = np.stack([picture, picture + 1])
    assert (cut(volume, ((0, 2), (0, 2), (0, 2)), (1, 0, 0)) == 10).all()
    assert tile(part).shape == (TILE, TILE, 3)
    assert fitting(((-2, 2), (-20, 30)), (6, 7)) == [(-2, 2), (0, 7)]

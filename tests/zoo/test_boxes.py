"""Detectors of boxes: places, shapes, saving, and what is refused."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from tests.recipes.tiny_backbone import NAME, register
from zoo.boxes import resized


@pytest.fixture(autouse=True)
def _enrolled() -> None:
    register()


@pytest.mark.parametrize("dims", [2, 3])
def test_places_follow_the_pyramid_and_the_file_opens_as_it_was(dims: int, tmp_path: Path) -> None:
    sides = (32, 48, 64)[-dims:]
    model = zoo.create_box_detector(
        NAME, input_shape=(*sides, 1), classes=3, levels=("P2", "P3"), width=8, weights=None,
        dims=dims,
    )  # fmt: skip
    places, strides = zoo.box_places(model)
    fine, coarse = (int(np.prod([n // s for n in sides])) for s in (4, 8))
    assert model.output_shape == (None, fine + coarse, 3 + 2 * dims)
    assert len(places) == fine + coarse
    assert (strides[:fine] == 4).all()
    assert (strides[fine:] == 8).all()
    assert places[0].tolist() == [2.0] * dims
    assert places[fine - 1].tolist() == [n - 2.0 for n in sides]
    assert places[fine].tolist() == [4.0] * dims
    image = np.random.default_rng(0).uniform(0, 255, (2, *sides, 1)).astype(np.float32)
    out = keras.ops.convert_to_numpy(model(image))
    assert (out[..., 3:] > 0).all()
    path = tmp_path / "boxes.keras"
    model.save(path)
    again = keras.models.load_model(path, compile=False, safe_mode=True)
    assert np.allclose(keras.ops.convert_to_numpy(again(image)), out, atol=1e-5)
    assert np.array_equal(zoo.box_places(again)[0], places)


def test_the_same_weights_take_another_size() -> None:
    options = {"classes": 2, "levels": ("P2", "P3"), "width": 8, "weights": None}
    model = zoo.create_box_detector(NAME, input_shape=(24, 32, 1), **options)
    found = resized(model, (32, 48))
    built = zoo.create_box_detector(NAME, input_shape=(32, 48, 1), **options)
    built.set_weights(model.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 48, 1)).astype(np.float32)
    out, wanted = (keras.ops.convert_to_numpy(m(image)) for m in (found, built))
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    np.testing.assert_array_equal(zoo.box_places(found)[0], zoo.box_places(built)[0])
    with pytest.raises(zoo.ZooError, match="not multiples of the strides"):
        resized(model, (32, 44))
    volumes = zoo.create_box_detector(NAME, input_shape=(8, 16, 16, 1), **(options | {"dims": 3}))
    with pytest.raises(zoo.ZooError, match="in volumes has one size"):
        resized(volumes, (16, 16, 16))


def test_refusals() -> None:
    def create(**more: object) -> None:
        options = {"input_shape": (32, 32, 1), "classes": 1, "weights": None} | more
        zoo.create_box_detector(NAME, **options)  # type: ignore[arg-type]

    for message, more in (
        ("levels .*P5.* are not all of", {"levels": ("P3", "P5")}),
        ("classes is 0", {"classes": 0}),
        ("width 12", {"levels": ("P3",), "width": 12}),
        ("dims is 2.5", {"dims": 2.5}),
    ):
        with pytest.raises(zoo.ZooError, match=message):
            create(**more)
    with pytest.raises(zoo.ZooError, match="no detector of boxes"):
        zoo.box_places(zoo.create_backbone(NAME, input_shape=(32, 32, 1), weights=None))

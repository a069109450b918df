"""Backbones: channels, preprocessing, refusals. What all share is in test_conformance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.tiny import registered
from zoo.architectures.keras_applications import check_normalization
from zoo.architectures.rebuild import rebuild, stable_names
from zoo.backbones import create_backbone
from zoo.errors import UnknownBackboneError, WeightsMismatchError, ZooError
from zoo.preprocessing import preprocess

PIXELS = np.random.default_rng(3).uniform(0, 255, (2, 4, 5, 3)).astype("float32")


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
def test_preprocessing_is_that_of_keras(mode: str, tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    model = keras.Model(image, preprocess(image, mode))
    wanted = keras.applications.imagenet_utils.preprocess_input(PIXELS.copy(), mode=mode)
    np.testing.assert_allclose(model(PIXELS), wanted, atol=2e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(PIXELS), model(PIXELS))


@pytest.mark.parametrize(
    ("mode", "shift", "scale"), [("lite", 127.0, 128.0), ("signed128", 128.0, 128.0)]
)
def test_preprocessing_of_the_lite_and_v2_networks(mode: str, shift: float, scale: float) -> None:
    image = keras.Input((None, None, 3))
    found = keras.Model(image, preprocess(image, mode))(PIXELS)
    np.testing.assert_allclose(found, (PIXELS - shift) / scale, atol=1e-6)


@pytest.mark.parametrize("mode", ["caffe", "torch"])
def test_other_channel_counts_get_the_mean_constants(mode: str) -> None:
    five = np.full((1, 2, 2, 5), 100.0, "float32")
    three = np.full((1, 2, 2, 3), 100.0, "float32")
    outputs = []
    for pixels in (five, three):
        image = keras.Input(pixels.shape[1:])
        outputs.append(np.asarray(keras.Model(image, preprocess(image, mode))(pixels)))
    assert np.ptp(outputs[0]) == 0
    assert outputs[0].mean() == pytest.approx(outputs[1].mean(), rel=0.01)


def test_five_channels_train_from_scratch() -> None:
    model = create_backbone("mobilenet_v3_small", input_shape=(32, 32, 5), weights=None)
    outputs = model(np.zeros((1, 32, 32, 5), "float32"))
    assert outputs["P5"].shape[:3] == (1, 1, 1)
    assert model.get_layer("conv").kernel.shape[-2] == 5  # [-1, 1] for all: no channel of ones


@pytest.fixture
def tiny() -> Iterator[str]:
    with registered() as spec:
        yield spec.name


def test_the_channel_of_ones_starts_silent_from_scratch(tiny: str) -> None:
    model = create_backbone(tiny, input_shape=(32, 32, 2), weights=None)
    kernel = model.get_layer("stem_conv").kernel.numpy()
    assert kernel.shape[-2] == 3
    assert not kernel[..., -1, :].any()
    assert kernel[..., :-1, :].std() > 0


def test_a_file_of_another_channel_count(tiny: str, tmp_path: Path) -> None:
    colour = create_backbone(tiny, input_shape=(32, 32, 3), weights=None)
    five = create_backbone(tiny, input_shape=(32, 32, 5), weights=None)
    for name, model in (("colour", colour), ("five", five)):
        model.save_weights(tmp_path / f"{name}.weights.h5")

    def load(name: str, channels: int, **options: Any) -> Any:
        path = tmp_path / f"{name}.weights.h5"
        model = create_backbone(tiny, input_shape=(32, 32, channels), weights=path, **options)
        return model.get_layer("stem_conv").kernel.numpy()

    published = colour.get_layer("stem_conv").kernel.numpy()
    np.testing.assert_array_equal(load("five", 5), five.get_layer("stem_conv").kernel.numpy())
    assert load("colour", 4).shape == (3, 3, 5, 8)
    scale = 1 / np.array([0.229, 0.224, 0.225])
    red = load("colour", 2, channel_map=("R", "RGB"))[..., 0, :]
    np.testing.assert_allclose(red, published[..., 0, :] * scale[0] / scale.mean(), rtol=1e-5)
    with pytest.raises(WeightsMismatchError, match="may be 3 colours, or 2 channels and a const"):
        load("colour", 2)
    with pytest.raises(WeightsMismatchError, match="stem_conv"):
        load("five", 3)


def test_folded_networks_open_in_plain_keras(tiny: str, tmp_path: Path) -> None:
    shape = (32, 33, 2)
    model = create_backbone(tiny, input_shape=shape, weights=None)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(again(pixels)["P4"], model(pixels)["P4"], rtol=1e-5)


def test_efficientnet_files_hold_the_published_normalisation() -> None:
    published = [np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])]
    check_normalization(published, Path("folder/b0.h5"))
    with pytest.raises(WeightsMismatchError, match=r"'b0.h5' normalises by \[0.5, 0.5, 0.5\]"):
        check_normalization([np.full(3, 0.5), published[1]], Path("folder/b0.h5"))


def test_any_size_where_the_network_allows_it() -> None:
    model = create_backbone("efficientnet_lite0", input_shape=(None, None, 3), weights=None)
    assert model(np.zeros((1, 64, 96, 3), "float32"))["P5"].shape == (1, 2, 3, 1280)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("xception", (70, 71, 3), "too small for 'xception': at least 71 pixels"),
        ("nasnet_mobile", (64, None, 3), "leaves a side open; 'nasnet_mobile' needs both"),
        ("vgg16", (64, 64), "is not \\(height, width, channels\\)"),
        ("vgg16", (64, 64, 0), "is not \\(height, width, channels\\)"),
        ("vgg16", (8, 64, 64, 1), "is not \\(height, width, channels\\)"),
    ],
)
def test_refused_shapes(name: str, shape: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        create_backbone(name, input_shape=shape, weights=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": 4}, "dims is 4; give 2"),
        ({"depth_strides": (1,)}, "depth_strides is for networks of pictures built with dims=3"),
        ({"channel_map": ("R", "G")}, "channel_map has 2 entries for 3 channels"),
        ({"channel_map": "RGB"}, "channel_map has 3 entries for 3|give one each"),
        ({"channel_map": ("R", "G", "X")}, "channel_map has 'X'; choose from \\['B', 'G', 'R'"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        create_backbone("efficientnet_lite0", input_shape=(64, 64, 3), weights=None, **options)


def test_unknown_name() -> None:
    with pytest.raises(UnknownBackboneError, match="did you mean 'vgg16'"):
        create_backbone("vgg_16", input_shape=(64, 64, 3))


def test_stable_names_follow_creation_not_the_process() -> None:
    def build() -> keras.Model:
        image = keras.Input((8,))
        first = keras.layers.Dense(4)(image)
        second = keras.layers.Dense(4)(image)
        named = keras.layers.Dense(4, name="dense_of_mine")(second)
        return keras.Model(image, keras.layers.Add()([first, named]))

    build()
    names = stable_names(build())
    assert sorted(names.values()) == ["add", "dense", "dense_1", "input_layer"]
    again = [rebuild(build(), keras.Input((8,))) for _ in range(2)]
    assert [one.name for one in again[0].layers[1:]] == [one.name for one in again[1].layers[1:]]


def test_rebuild_refuses_what_it_does_not_know() -> None:
    image = keras.Input((8,))
    strange = keras.Model(image, keras.ops.sin(keras.layers.Dense(2, name="before")(image)))
    with pytest.raises(ZooError, match="cannot rebuild the operation 'Sin' after layer 'before'"):
        rebuild(strange, keras.Input((8,)))

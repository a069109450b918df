"""Backbones out of keras-hub presets.

The tests of real presets need keras-hub: ``KERAS_BACKEND=torch pytest tests/zoo/test_hub.py`` where
it is installed. They save a small preset with random weights; nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.backbones import create_backbone
from zoo.errors import WeightsNotFoundError, ZooError

SHAPE = (64, 96, 3)
SCALE, OFFSET = [0.017, 0.018, 0.0175], [-2.1, -2.0, -1.8]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ZooError, match=r"'hub:resnet_50_imagenet' needs .*radzoo\[hub\]"):
        create_backbone("hub:resnet_50_imagenet", input_shape=SHAPE)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hub:", {}, "names no preset"),
        ("hub:x", {"dims": 3, "input_shape": (8, 64, 64, 1)}, "is 2D only"),
        ("hub:x", {"depth_strides": (1, 2)}, "is 2D only"),
        ("hub:x", {"weights": "radimagenet"}, "brings its own"),
        ("hub:x", {"input_shape": (64, 64)}, r"is not \(height, width, channels\)"),
    ],
)
def test_arguments_that_no_preset_takes(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        create_backbone(name, **{"input_shape": SHAPE, **options})


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small ResNet whose norms have something to do."""
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    rng = np.random.default_rng(0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, one.shape) for one in layer.weights])
    folder = tmp_path_factory.mktemp("hub") / "small"
    backbone.save_to_preset(str(folder))
    hub.layers.ResNetImageConverter(image_size=(32, 32), scale=SCALE, offset=OFFSET).save_to_preset(
        str(folder)
    )
    return folder


def _pixels(channels: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (2, 64, 96, channels)).astype("float32")


def _run(model: keras.Model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    found = model(pixels, training=False)
    return {level: keras.ops.convert_to_numpy(value) for level, value in found.items()}


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert np.ptp(wanted) > 0
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_the_pyramid_is_that_of_keras_hub(preset: Path) -> None:
    hub = pytest.importorskip("keras_hub")
    model = create_backbone(f"hub:{preset}", input_shape=SHAPE)
    assert model.input.name == "image"
    theirs = hub.models.Backbone.from_preset(str(preset))
    features = keras.Model(theirs.input, theirs.pyramid_outputs)
    wanted = _run(features, (_pixels(3) * SCALE + OFFSET).astype("float32"))
    found = _run(model, _pixels(3))
    assert list(found) == ["P2", "P3", "P4", "P5"]
    for level, value in found.items():
        assert value.shape[1:3] == (64 >> int(level[1]), 96 >> int(level[1]))
        assert _error(value, wanted[level]) < 1e-5
    kernel = next(one for one in features.layers if one.name.endswith("conv"))
    kernel.set_weights([one[::-1] for one in kernel.get_weights()])
    moved = _run(features, (_pixels(3) * SCALE + OFFSET).astype("float32"))
    assert _error(found["P5"], moved["P5"]) > 1e-3


@pytest.mark.parametrize("channels", [1, 4])
def test_one_picture_in_all_channels_gives_the_features_in_colour(
    preset: Path, channels: int
) -> None:
    grey = _pixels(1)
    wanted = _run(create_backbone(f"hub:{preset}", input_shape=SHAPE), np.repeat(grey, 3, axis=-1))
    model = create_backbone(f"hub:{preset}", input_shape=(64, 96, channels))
    found = _run(model, np.repeat(grey, channels, axis=-1))
    for level, value in found.items():
        assert _error(value, wanted[level]) < 1e-4


def test_random_weights_are_not_those_of_the_preset(preset: Path) -> None:
    own, fresh = (
        _run(create_backbone(f"hub:{preset}", input_shape=SHAPE, weights=one), _pixels(3))["P5"]
        for one in ("imagenet", None)
    )
    assert _error(fresh, own) > 1e-2


def test_a_saved_model_opens_where_keras_hub_is(preset: Path, tmp_path: Path) -> None:
    model = create_backbone(f"hub:{preset}", input_shape=(64, 96, 1))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for level, value in _run(again, _pixels(1)).items():
        assert _error(value, _run(model, _pixels(1))[level]) < 1e-5


def test_presets_that_cannot_be_taken(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("keras_hub")
    monkeypatch.setenv("RADZOO_OFFLINE", "1")
    with pytest.raises(WeightsNotFoundError, match=r"kaggle\.com is out of reach"):
        create_backbone("hub:resnet_50_imagenet", input_shape=SHAPE)
    with pytest.raises(WeightsNotFoundError, match=r"huggingface\.co is out of reach"):
        create_backbone("hub:hf://someone/something", input_shape=SHAPE)
    with pytest.raises(ZooError, match="did you mean 'hub:resnet_50_imagenet'"):
        create_backbone("hub:resnet_50_imagenett", input_shape=SHAPE)
    with pytest.raises(WeightsNotFoundError, match=r"config\.json is missing"):
        create_backbone(f"hub:{tmp_path}", input_shape=SHAPE)
    bare = tmp_path / "bare"
    hub.models.Backbone.from_preset(str(preset)).save_to_preset(str(bare))
    with pytest.raises(ZooError, match="no ImageConverter"):
        create_backbone(f"hub:{bare}", input_shape=SHAPE)

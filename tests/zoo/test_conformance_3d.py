"""Every inflatable backbone, on a volume of equal slices, gives the features of the picture.

Everywhere and at every level: depth is mirrored, not padded with zeros, so no slice is a border.
All but a few are marked ``big``, each meant for a process of its own:
``pytest tests/zoo/test_conformance_3d.py -m "" -k <name>``.
"""

from __future__ import annotations

import gc
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.randomise import error, randomise
from zoo.backbones import create_backbone
from zoo.registry import get_spec, list_backbones

QUICK = ("efficientnet_lite0",)
DEPTH = 3


def _enrolled() -> list[Any]:
    return [
        pytest.param(name, marks=() if name in QUICK else (pytest.mark.big,), id=f"{name}-")
        for name in list_backbones()
        if get_spec(name).dims == 2 and get_spec(name).inflatable
    ]


@pytest.mark.parametrize("name", _enrolled())
def test_equal_slices_give_the_features_of_the_picture(name: str, tmp_path: Path) -> None:
    spec = get_spec(name)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    side = max(spec.min_size, 33)
    channels = spec.weights[0].channels if spec.weights else 3
    pixels = rng.uniform(0.0, 255.0, (2, side, side + 16, channels)).astype("float32")
    model = create_backbone(name, input_shape=pixels.shape[1:], weights=None)
    randomise(model, pixels, rng)
    wanted = {level: np.asarray(value)[:, None] for level, value in model(pixels).items()}
    path = tmp_path / "flat.weights.h5"
    model.save_weights(path)
    del model
    gc.collect()
    volume = np.repeat(pixels[:, None], DEPTH, axis=1)
    inflated = create_backbone(name, input_shape=volume.shape[1:], weights=path, dims=3)
    path.unlink()
    found = {level: np.asarray(value) for level, value in inflated(volume).items()}
    assert list(found) == list(wanted)
    for stride, level in zip((stride for stride, _ in spec.taps), wanted, strict=True):
        assert found[level].shape[1] == -(-DEPTH // stride)
        assert error(found[level], np.repeat(wanted[level], found[level].shape[1], axis=1)) < 1e-4
    # The check sees a single perturbed kernel in the middle.
    kernels = [one for one in inflated.trainable_weights if len(one.shape) >= 4]
    middle = kernels[len(kernels) // 2]
    before = middle.numpy()
    middle.assign(np.roll(before, 1, axis=-2 if before.shape[-1] == 1 else -1))
    top = max(wanted)
    assert error(np.asarray(inflated(volume)[top])[:, :1], wanted[top]) > 1e-3
    middle.assign(before)


@pytest.mark.parametrize("name", QUICK[:1])
def test_plain_keras_opens_the_saved_volume_network(name: str, tmp_path: Path) -> None:
    shape = (2, 32, 32, 1)
    model = create_backbone(name, input_shape=shape, weights=None, dims=3)
    again = create_backbone(name, input_shape=shape, weights=None, dims=3)
    assert [one.name for one in again.operations] == [one.name for one in model.operations]
    assert [one.path for one in again.weights] == [one.path for one in model.weights]
    path = tmp_path / "model.keras"
    model.save(path)
    opened = keras.models.load_model(path, safe_mode=True)
    for operation in opened.operations:
        home = keras.layers if isinstance(operation, keras.Layer) else keras.src.ops.numpy
        assert getattr(home, type(operation).__name__) is type(operation)
    volume = np.random.default_rng(0).uniform(0.0, 255.0, (1, *shape)).astype("float32")
    for level, value in opened(volume).items():
        np.testing.assert_allclose(value, model(volume)[level], rtol=1e-6)

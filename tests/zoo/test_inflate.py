"""Inflated layers against a direct 3D convolution, inflated networks against their 2D selves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo import direct3d, tiny
from tests.zoo.randomise import error, randomise
from zoo.architectures.inflate import Inflated, inflate
from zoo.backbones import build_pyramid, create_backbone
from zoo.weights.loading import FoundWeights

layers = keras.layers


def _inflate(
    layer: keras.Layer | list[keras.Layer], shape: tuple[int | None, ...], **options: Any
) -> tuple[keras.Model, Inflated, keras.Model]:
    """Put layers into a 2D network and inflate it: (2D network, inflated, model on the volume)."""
    image = keras.Input(shape[1:])
    flat = keras.Model(image, _chain(layer, image))
    volume = keras.Input(shape, name="volume")
    inflated = inflate(flat, volume, **options)
    return flat, inflated, inflated.model


def _chain(chain: keras.Layer | list[keras.Layer], x: Any) -> Any:
    for layer in chain if isinstance(chain, list) else [chain]:
        x = layer(x)
    return x


def _draw(model: keras.Model, rng: np.random.Generator) -> None:
    for layer in model.layers:
        layer.set_weights(
            [rng.normal(0, np.prod(one.shape[:-1]) ** -0.5, one.shape) for one in layer.weights]
        )


def _volume(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype("float32")


def _taps(model: keras.Model, name: str, count: int) -> np.ndarray:
    """Collect the taps of a depthwise convolution: ``(depth, height, width, channels)``."""
    names = [name] if count == 1 else [f"{name}_tap{tap}" for tap in range(count)]
    return np.stack([model.get_layer(one).get_weights()[0][..., 0] for one in names])


GEOMETRIES = [
    pytest.param(*one, id="kernel{}-stride{}-dilation{}-{}-depth{}".format(*one))
    for one in [
        (1, 1, 1, "same", 4),
        (1, 2, 1, "valid", 5),
        (3, 1, 1, "same", 1),
        (3, 1, 1, "valid", 6),
        (3, 2, 1, "same", 5),
        (3, 2, 1, "valid", 6),
        (3, 1, 2, "same", 3),
        (5, 2, 1, "same", 4),
        (7, 1, 1, "same", 2),
        (7, 2, 1, "valid", 9),
        (2, 2, 1, "valid", 5),
        (4, 4, 1, "valid", 6),
        (2, 1, 1, "same", 4),
        (3, 1, 3, "same", 1),
    ]
]


@pytest.mark.parametrize(("kernel", "stride", "dilation", "padding", "depth"), GEOMETRIES)
def test_layers_equal_a_direct_convolution(
    kernel: int, stride: int, dilation: int, padding: str, depth: int
) -> None:
    """Each tap has its own random weights, so order and place of all taps count."""
    rng = np.random.default_rng(kernel * 100 + stride * 10 + dilation)
    shape = (depth, 11, 14, 4)
    volume = _volume(rng, *shape)
    how: dict[str, Any] = {"strides": stride, "padding": padding, "dilation_rate": dilation}
    direct: dict[str, Any] = {"padding": padding, "dilation": dilation}
    strides = (stride,) * 3
    for chain in (
        layers.Conv2D(6, kernel, name="one", activation="tanh", **how),
        layers.Conv2D(6, kernel, groups=2, use_bias=False, name="one", **how),
        layers.DepthwiseConv2D(kernel, name="one", **how),
        layers.SeparableConv2D(6, kernel, name="one", activation="tanh", **how),
    ):
        if chain.__class__ is layers.Conv2D and chain.groups > 1 and dilation > 1:
            continue  # TensorFlow has none on a CPU, in 2D neither
        _, _, model = _inflate(chain, shape)
        _draw(model, rng)
        found = np.asarray(model(volume[None]))[0]
        if isinstance(chain, layers.DepthwiseConv2D):
            wanted = direct3d.depthwise(volume, _taps(model, "one", kernel), strides, **direct)
            middle = "one" if kernel == 1 else f"one_tap{kernel // 2}"
            wanted = wanted + model.get_layer(middle).get_weights()[1]
        elif isinstance(chain, layers.SeparableConv2D):
            taps = _taps(model, "one_depthwise", kernel)
            inner = direct3d.depthwise(volume, taps, strides, **direct)
            point, bias = model.get_layer("one").get_weights()
            wanted = np.tanh(inner @ point[0, 0, 0] + bias)
        else:
            window, *bias_ = model.get_layer("one").get_weights()
            wanted = direct3d.conv(volume, window, strides, **direct)
            wanted = np.tanh(wanted + bias_[0]) if bias_ else wanted
        assert found.shape == wanted.shape
        assert error(found, wanted) < 1e-5
        assert found.shape[0] == -(-depth // stride)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: Any) -> tuple[keras.Model, np.ndarray, Path]:
    """The tiny backbone on pictures with random weights, pictures, and a file of its weights."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (2, 37, 50, 3)).astype("float32")
    with tiny.registered():
        model = create_backbone("tiny", input_shape=pixels.shape[1:], weights=None)
    randomise(model, pixels, rng)
    path = tmp_path_factory.mktemp("flat") / "tiny.weights.h5"
    model.save_weights(path)
    return model, pixels, path


def _tiny_volume(path: Path, shape: tuple[int, ...], **options: Any) -> keras.Model:
    """The tiny backbone on volumes, with published weights from the file."""
    image = keras.Input(shape, name="image")
    found = FoundWeights(path=path, weight=tiny.WEIGHTS)
    return keras.Model(image, build_pyramid(tiny.SPEC, image, found=found, **options))


@pytest.mark.parametrize("depth_strides", [None, (1, 1, 2, 2), (2, 1, 1, 1)])
@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_equal_slices_give_the_features_of_the_picture(
    flat: Any, depth: int, depth_strides: tuple[int, ...] | None
) -> None:
    model, pixels, path = flat
    volume = np.repeat(pixels[:, None], depth, axis=1)
    inflated = _tiny_volume(path, volume.shape[1:], depth_strides=depth_strides)
    wanted, found = model(pixels), inflated(volume)
    strides = np.cumprod(depth_strides or (2, 2, 2, 2))
    for stride, level in zip(strides, ("P1", "P2", "P3", "P4"), strict=True):
        slices = -(-depth // stride)
        assert found[level].shape == (2, slices, *wanted[level].shape[1:])
        repeated = np.repeat(np.asarray(wanted[level])[:, None], slices, axis=1)
        assert error(np.asarray(found[level]), repeated) < 1e-5

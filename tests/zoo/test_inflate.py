"""Inflated networks against their 2D selves, and blocks against a direct computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo import direct3d, tiny
from tests.zoo.inflating import draw, inflated, taps
from tests.zoo.randomise import error, randomise
from zoo.architectures.inflate import inflate
from zoo.backbones import build_pyramid, create_backbone
from zoo.errors import WeightsMismatchError, ZooError
from zoo.weights.loading import FoundWeights, assign_layers

layers = keras.layers


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


@pytest.mark.parametrize(
    ("depth", "depth_strides"), [(1, None), (2, (1, 1, 2, 2)), (5, None), (20, (2, 1, 1, 1))]
)
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


def test_the_file_of_the_volume_network_fits_it_too(flat: Any, tmp_path: Path) -> None:
    _, pixels, path = flat
    shape = (3, *pixels.shape[1:])
    volume = np.random.default_rng(1).uniform(0, 255, (1, *shape)).astype("float32")
    model = _tiny_volume(path, shape)
    own = tmp_path / "volume.weights.h5"
    model.save_weights(own)
    with tiny.registered():
        again = create_backbone("tiny", input_shape=shape, weights=own, dims=3)
    for level, value in again(volume).items():
        np.testing.assert_array_equal(value, model(volume)[level])


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_fold_before_the_network_is_inflated(flat: Any, channels: int) -> None:
    """The same picture in all channels of all slices gives the features of the RGB picture."""
    model, pixels, path = flat
    grey = pixels[..., :1]
    wanted = model(np.repeat(grey, 3, axis=-1))
    volume = np.repeat(np.repeat(grey[:, None], 3, axis=1), channels, axis=-1)
    for level, value in _tiny_volume(path, volume.shape[1:])(volume).items():
        repeated = np.repeat(np.asarray(wanted[level])[:, None], value.shape[1], axis=1)
        assert error(np.asarray(value), repeated) < 1e-5


def test_slices_become_channels_in_order(flat: Any) -> None:
    model, pixels, path = flat
    with tiny.registered():
        slab = create_backbone(
            "tiny",
            input_shape=(3, None, None, 1),
            weights=path,
            dims=2.5,
            channel_map=("R", "G", "B"),
        )
        wide = create_backbone("tiny", input_shape=(5, None, None, 1), weights=path, dims=2.5)
    grey = np.repeat(pixels[..., :1], 3, axis=-1)
    for level in model.output:
        found = slab(np.moveaxis(pixels, -1, 1)[..., None])[level]
        assert found.shape == model(pixels)[level].shape
        assert error(np.asarray(found), np.asarray(model(pixels)[level])) < 1e-5
        found = wide(np.repeat(pixels[:, None, :, :, :1], 5, axis=1))[level]
        assert error(np.asarray(found), np.asarray(model(grey)[level])) < 1e-5


def _bottleneck() -> list[keras.Layer]:
    """What MobileNetV2 repeats: expand, pad, filter depthwise, project."""
    return [
        layers.Conv2D(8, 1, use_bias=False, name="expand"),
        layers.BatchNormalization(name="expand_bn", axis=3),
        layers.ReLU(max_value=6.0, name="expand_relu"),
        layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad"),
        layers.DepthwiseConv2D(3, strides=2, use_bias=False, name="filter"),
        layers.BatchNormalization(name="filter_bn"),
        layers.ReLU(max_value=6.0, name="filter_relu"),
        layers.Conv2D(5, 1, use_bias=False, name="project"),
        layers.BatchNormalization(name="project_bn"),
    ]


def _directly(flat: keras.Model, volume: np.ndarray) -> np.ndarray:
    """Compute the bottleneck on a volume from the weights of the 2D network, without Keras."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = flat.get_layer(name).get_weights()
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    kernels = {
        name: flat.get_layer(name).get_weights()[0] for name in ("expand", "filter", "project")
    }
    x = np.clip(norm(volume @ kernels["expand"][0, 0], "expand_bn"), 0, 6)
    x = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
    window = np.stack([kernels["filter"][..., 0] / 3] * 3)
    x = np.clip(norm(direct3d.depthwise(x, window, (2, 2, 2)), "filter_bn"), 0, 6)
    return norm(x @ kernels["project"][0, 0], "project_bn")


def test_a_mobile_block_on_a_volume_that_varies_along_depth() -> None:
    rng = np.random.default_rng(3)
    volume = rng.normal(0, 1, (5, 8, 10, 3)).astype("float32")
    flat, result, model = inflated(_bottleneck(), volume.shape)
    randomise(flat, volume, rng)
    assign_layers(
        model,
        result.arrays({one.name: one.get_weights() for one in flat.layers if one.weights}),
        source="the 2D network",
    )
    wanted = _directly(flat, volume)
    assert error(np.asarray(model(volume[None]))[0], wanted) < 1e-5
    for name in ("filter_tap0", "filter_tap2", "expand", "project"):
        weight = model.get_layer(name).weights[0]
        before = weight.numpy()
        weight.assign(np.roll(before, 1, axis=-2))
        assert error(np.asarray(model(volume[None]))[0], wanted) > 1e-3
        weight.assign(before)


def test_a_residual_block_with_attention_to_channels() -> None:
    """Strided branches meet in the same slices; pooled channels scale the whole volume."""
    rng = np.random.default_rng(4)
    volume = rng.normal(0, 1, (5, 9, 7, 4)).astype("float32")
    image = keras.Input((9, 7, 4))
    branch = layers.Conv2D(4, 3, strides=2, padding="same", name="branch")(image)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(branch)
    pooled = layers.Reshape((1, 1, 4), name="pooled_map")(pooled)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="gate")(pooled)
    scaled = layers.Multiply(name="scaled")([branch, gate])
    short = layers.Conv2D(4, 1, strides=2, name="short")(image)
    out = layers.Dropout(0.3, noise_shape=(None, 1, 1, 1), name="drop")(scaled)
    flat = keras.Model(image, layers.Add(name="sum")([short, out]))
    entry = keras.Input(volume.shape)
    model = inflate(flat, entry, depth_strides=(1,)).model
    draw(model, rng)
    kernels = {one.name: one.get_weights() for one in model.layers if one.weights}
    window = taps(model, "branch", 3)
    filtered = direct3d.conv(volume, window, (1, 2, 2), padding="same")
    filtered += kernels["branch_tap1"][1]
    mean = filtered.mean(axis=(0, 1, 2))
    gates = 1 / (1 + np.exp(-(mean @ kernels["gate"][0] + kernels["gate"][1])))
    wanted = filtered * gates + volume[:, ::2, ::2] @ kernels["short"][0][0, 0]
    wanted += kernels["short"][1]
    assert error(np.asarray(model(volume[None]))[0], wanted) < 1e-5
    assert model.get_layer("drop").noise_shape == (None, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": 4}, "dims is 4; give 2 for pictures, 2.5 for slabs or 3 for volumes"),
        ({"dims": 3, "input_shape": (32, 32, 3)}, r"is not \(depth, height, width, channels\)"),
        ({"dims": 2.5, "input_shape": (None, 32, 32, 1)}, r"is not \(slices, height, width, chan"),
        ({"dims": 3, "input_shape": (0, 32, 32, 3)}, r"is not \(depth"),
        ({"dims": 3, "depth_strides": (1, 2)}, "2 entries; 'tiny' halves height and width 4 times"),
        ({"dims": 3, "depth_strides": (1, 3, 1, 1)}, r"\(1, 3, 1, 1\) must hold the numbers 1 and"),
        ({"dims": 2.5, "depth_strides": (1, 1, 1, 1)}, "depth_strides is for networks of pictures"),
    ],
)
def test_create_backbone_refuses(arguments: dict[str, Any], message: str) -> None:
    given = {"input_shape": (4, 32, 32, 3), "weights": None, **arguments}
    with tiny.registered(), pytest.raises(ZooError, match=message):
        create_backbone("tiny", **given)


def test_weights_that_do_not_fit_are_named(flat: Any) -> None:
    model = flat[0]
    arrays = {one.name: one.get_weights() for one in model.layers if one.weights}
    _, result, network = inflated(_bottleneck(), (3, 8, 8, 3))
    with pytest.raises(
        WeightsMismatchError, match=r"missing .*filter_tap0.* left over .*stem_conv"
    ):
        assign_layers(network, result.arrays(arrays), source="another network")
    chain = [
        layers.Conv2D(2, 1, use_bias=False, name="a"),
        layers.SeparableConv2D(2, 3, use_bias=False, name="b"),
    ]
    _, result, network = inflated(chain, (3, 8, 8, 3))
    wide = {"a": [np.ones((3, 3, 3, 2))], "b": [np.ones((3, 3, 2, 1)), np.ones((3, 1, 2, 2))]}
    wrong = r"2 layers of another shape \(a \[\(3, 3, 3, 2\)\] .* b \[\(3, 1, 2, 2\)\] for"
    with pytest.raises(WeightsMismatchError, match=wrong):
        assign_layers(network, result.arrays(wide), source="another network")
    with pytest.raises(WeightsMismatchError, match=r"b \[\] for \[\(2, 2\)\]"):
        assign_layers(
            network, result.arrays({**wide, "b": wide["b"][:1]}), source="another network"
        )


def test_half_precision_and_gradients_reach_every_tap() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with tiny.registered():
            model = create_backbone("tiny", input_shape=(4, 32, 32, 1), weights=None, dims=3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {one.compute_dtype for one in model.layers[1:]} == {"bfloat16"}
    top = layers.GlobalAveragePooling3D()(model.output["P4"])
    whole = keras.Model(model.input, layers.Dense(2, dtype="float32")(top))
    whole.compile(keras.optimizers.SGD(0.1), "mse")
    before = [one.numpy() for one in whole.trainable_weights]
    volume = np.random.default_rng(0).uniform(0, 255, (2, 4, 32, 32, 1)).astype("float32")
    loss = whole.train_on_batch(volume, np.array([[0.0, 5.0], [3.0, -4.0]]))
    assert np.isfinite(loss)
    kernels = [
        (old, new)
        for old, new in zip(before, whole.trainable_weights, strict=True)
        if "kernel" in new.path
    ]
    assert len(kernels) >= 8
    assert all(np.abs(new.numpy() - old).max() > 0 for old, new in kernels)

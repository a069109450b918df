"""Inflated layers against convolutions and poolings of a volume spelt out tap by tap."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo import direct3d
from tests.zoo.inflating import chained, draw, inflated, random_volume, taps
from tests.zoo.randomise import error
from zoo.architectures.depth import Depth, pad_depth
from zoo.architectures.inflate import inflate
from zoo.errors import ZooError
from zoo.weights.loading import assign_layers

layers = keras.layers


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
    volume = random_volume(rng, *shape)
    how: dict[str, Any] = {"strides": stride, "padding": padding, "dilation_rate": dilation}
    direct: dict[str, Any] = {"padding": padding, "dilation": dilation}
    strides = (stride,) * 3
    for chain in (
        layers.Conv2D(6, kernel, name="one", activation="tanh", **how),
        layers.Conv2D(6, kernel, groups=2, use_bias=False, name="one", **how),
        layers.DepthwiseConv2D(kernel, name="one", **how),
        layers.SeparableConv2D(6, kernel, name="one", activation="tanh", **how),
    ):
        if getattr(chain, "groups", 1) > 1 and (kernel, dilation) != (3, 1):
            continue  # one kernel will do; and TensorFlow has no grouped dilated one on a CPU
        _, _, model = inflated(chain, shape)
        draw(model, rng)
        found = np.asarray(model(volume[None]))[0]
        if isinstance(chain, layers.DepthwiseConv2D):
            wanted = direct3d.depthwise(
                volume, taps(model, "one", kernel)[..., 0], strides, **direct
            )
            middle = "one" if kernel == 1 else f"one_tap{kernel // 2}"
            wanted = wanted + model.get_layer(middle).get_weights()[1]
        elif isinstance(chain, layers.SeparableConv2D):
            window = taps(model, "one_depthwise", kernel)[..., 0]
            inner = direct3d.depthwise(volume, window, strides, **direct)
            point, bias = model.get_layer("one").get_weights()
            wanted = np.tanh(inner @ point + bias)
        else:
            tapped = stride > 1 and chain.groups == 1 and kernel > 1
            window = taps(model, "one", kernel if tapped else 1)
            window = window.reshape((kernel,) * 3 + window.shape[-2:])
            wanted = direct3d.conv(volume, window, strides, **direct)
            if chain.use_bias:
                middle = f"one_tap{kernel // 2}" if tapped else "one"
                wanted = np.tanh(wanted + model.get_layer(middle).get_weights()[1])
        assert found.shape == wanted.shape
        assert error(found, wanted) < 1e-5
        assert found.shape[0] == -(-depth // stride)


POOLS = [
    (2, 2, "valid", 5),
    (3, 2, "same", 4),
    (3, 2, "valid", 7),
    (3, 1, "same", 1),
    (1, 2, "valid", 6),
    (2, 2, "same", 3),
]


@pytest.mark.parametrize(("size", "stride", "padding", "depth"), POOLS)
def test_poolings_equal_direct_ones(size: int, stride: int, padding: str, depth: int) -> None:
    volume = random_volume(np.random.default_rng(size), depth, 9, 12, 3)
    for pooling, direct in (
        (layers.MaxPooling2D, direct3d.max_pool),
        (layers.AveragePooling2D, direct3d.average_pool),
    ):
        layer = pooling(size, strides=stride, padding=padding, name="pool")
        _, result, model = inflated(layer, volume.shape)
        wanted = direct(volume, (size,) * 3, (stride,) * 3, padding=padding)
        found = np.asarray(model(volume[None]))[0]
        assert found.shape == wanted.shape
        assert error(found, wanted) < 1e-6
        assert model.layers[-1].name == "pool"
        assert result.outputs["pool"] is model.output


@pytest.mark.parametrize("depth", [1, 2, 4, 9])
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 1), (3, 4), (7, 1)])
def test_depth_is_mirrored_as_numpy_does(depth: int, kernel: int, dilation: int) -> None:
    how = Depth(kernel=kernel, stride=1, dilation=dilation)
    volume = random_volume(np.random.default_rng(0), 1, depth, 2, 2, 1)
    pads = [(0, 0), (how.before, how.after), (0, 0), (0, 0), (0, 0)]
    wanted = np.pad(volume, pads, mode="symmetric")
    for known in (depth, None):
        x = keras.Input((known, 2, 2, 1))
        padded = pad_depth(x, how, "conv")
        assert padded.shape[1] in (None, wanted.shape[1])
        np.testing.assert_array_equal(keras.Model(x, padded)(volume), wanted)


def test_a_kernel_is_as_deep_as_high() -> None:
    _, _, model = inflated(
        [
            layers.Conv2D(4, (1, 7), padding="same", name="row"),
            layers.Conv2D(4, (7, 1), name="col"),
        ],
        (3, 9, 9, 2),
    )
    assert model.get_layer("row").kernel.shape == (1, 1, 7, 2, 4)
    assert model.get_layer("col").kernel.shape == (7, 7, 1, 4, 4)


def test_fresh_taps_share_the_variance() -> None:
    layer = layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name="one")
    _, _, model = inflated(layer, (4, 8, 8, 512))
    spread = np.std(taps(model, "one", 3))
    assert spread == pytest.approx(np.sqrt(2.0 / (512 * 9) / 3), rel=0.05)


def test_sizes_may_stay_open_where_nothing_depends_on_them() -> None:
    chain = [
        layers.ZeroPadding2D(1, name="pad"),
        layers.Conv2D(4, 3, strides=2, name="one"),
        layers.Conv2D(4, 7, padding="same", name="two"),
        layers.MaxPooling2D(3, strides=2, padding="same", name="pool"),
    ]
    image = keras.Input((None, None, 2))
    flat = keras.Model(image, chained(chain, image))
    rng = np.random.default_rng(5)
    draw(flat, rng)
    arrays = {one.name: one.get_weights() for one in flat.layers if one.weights}
    result = inflate(flat, keras.Input((None, None, None, 2)))
    opened = result.model
    assign_layers(opened, result.arrays(arrays), source="the 2D network")
    for shape in ((1, 9, 12, 2), (6, 11, 8, 2)):
        volume = random_volume(rng, *shape)
        result = inflate(flat, keras.Input(shape))
        known = result.model
        assign_layers(known, result.arrays(arrays), source="the 2D network")
        assert opened(volume[None]).shape == known(volume[None]).shape
        np.testing.assert_allclose(opened(volume[None]), known(volume[None]), atol=1e-5)


@pytest.mark.parametrize(
    ("chain", "shape", "options", "message"),
    [
        (layers.Flatten(name="flat"), (4, 8, 8, 2), {}, r"cannot inflate layer 'flat' \(Flatten\)"),
        (layers.UpSampling2D(name="up"), (4, 8, 8, 2), {}, r"'up' \(UpSampling2D\)"),
        (layers.Reshape((64, 2), name="rows"), (4, 8, 8, 2), {}, "'rows': it reshapes to"),
        (layers.Softmax(axis=1, name="rows"), (4, 8, 8, 2), {}, r"'rows' \(Softmax\)"),
        (layers.LayerNormalization(axis=1, name="norm"), (4, 8, 8, 2), {}, "'norm': its axis"),
        (layers.Conv2D(2, 3, strides=(2, 1), name="uneven"), (4, 8, 8, 2), {}, "'uneven': its str"),
        (layers.DepthwiseConv2D(3, name="deep"), (None, 8, 8, 2), {}, "'deep' needs a volume of"),
        (
            layers.Conv2D(2, 3, strides=2, padding="same", name="sized"),
            (4, None, 8, 2),
            {},
            "'sized' pads by the size",
        ),
        (
            [layers.Conv2D(2, 1, strides=2), layers.Conv2D(2, 1, strides=2, name="second")],
            (4, 8, 8, 2),
            {"depth_strides": (1,)},
            r"\(1,\) is too short: layer 'second' is halving number 2",
        ),
        (
            layers.Conv2D(2, 3, strides=3, name="third"),
            (4, 9, 9, 2),
            {"depth_strides": (1,)},
            "'third' has stride 3",
        ),
    ],
)
def test_refusals(
    chain: Any, shape: tuple[int | None, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ZooError, match=message):
        inflated(chain, shape, **options)


def _weighed(axis: int) -> keras.Model:
    """Weigh channels by their strength among all, as ConvNeXtV2 does, or along another axis."""
    picture = keras.Input((8, 6, 4))
    squares = layers.Multiply(name="squares")([picture, picture])
    power = layers.GlobalAveragePooling2D(keepdims=True, name="power")(squares)
    strength = keras.ops.sqrt(power)
    ratio = keras.ops.divide(strength, keras.ops.mean(strength, axis=axis, keepdims=True))
    return keras.Model(picture, layers.Multiply(name="weighed")([picture, ratio]))


def test_operations_on_every_pixel_stay_as_they_are() -> None:
    volume = np.random.default_rng(0).normal(size=(2, 5, 8, 6, 4)).astype("float32")
    found = inflate(_weighed(-1), keras.Input(volume.shape[1:])).model(volume)
    strength = np.sqrt((volume**2).mean((1, 2, 3), keepdims=True))
    wanted = volume * strength / strength.mean(-1, keepdims=True)
    assert error(keras.ops.convert_to_numpy(found), wanted) < 1e-5
    with pytest.raises(ZooError, match=r"cannot inflate layer 'mean.*' \(Mean\)"):
        inflate(_weighed(1), keras.Input(volume.shape[1:]))

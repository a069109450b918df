"""From 0-255 to what a network was trained on, in layers that any Keras can load."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
BGR = ("caffe", "caffe255")
"""Modes whose networks take blue first."""


def constants(mode: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give scale and offset of ``x * scale + offset`` on 0-255 pixels.

    Args:
        mode: ``"tf"``: ``x / 127.5 - 1``; ``"torch"``: ``(x / 255 - mean) / std`` with the means
            and deviations of ImageNet; ``"caffe"``: BGR minus the means of ImageNet, not scaled;
            ``"caffe255"``: that divided by 255;
            ``"lite"``: ``(x - 127) / 128``; ``"signed128"``: ``x / 128 - 1``; ``"xrv"``: to
            [-1024, 1024], as TorchXRayVision has it; ``"none"``: as it is.

    Returns:
        One value each for all channels, or three, in the order the network takes (BGR for caffe).
    """
    if mode == "torch":
        return (
            tuple(1.0 / (255.0 * std) for std in IMAGENET_STD),
            tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
        )
    return {
        "tf": ((1.0 / 127.5,), (-1.0,)),
        "caffe": ((1.0,), tuple(-mean for mean in CAFFE_MEAN_BGR)),
        "caffe255": ((1.0 / 255.0,), tuple(-mean / 255.0 for mean in CAFFE_MEAN_BGR)),
        "lite": ((1.0 / 128.0,), (-127.0 / 128.0,)),
        "signed128": ((1.0 / 128.0,), (-1.0,)),
        "xrv": ((2048.0 / 255.0,), (-1024.0,)),
        "none": ((1.0,), (0.0,)),
    }[mode]


def preprocess(x: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """Place the fixed preprocessing of a network in front of it.

    Args:
        x: ``(batch, *spatial, channels)``, values 0-255, RGB where there are three channels.
            For other counts each channel gets the mean of the three constants.
        mode: As for ``constants``.

    Returns:
        A tensor of the same shape, made by a layer named ``preprocess``; ``x`` itself for
        ``"none"``.
    """
    if mode == "none":
        return x
    channels = x.shape[-1]
    if mode in BGR and channels == 3:
        x = _flip_channels(x)
    scale, offset = constants(mode)
    return _rescale(x, per_channel(scale, channels), per_channel(offset, channels))


def preprocess_evenly(x: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """Scale all channels alike, by the means of the constants; ``zoo.channels`` folds the rest.

    Args:
        x: ``(batch, *spatial, channels)``, values 0-255, channels of any meaning.
        mode: As for ``constants``.

    Returns:
        A tensor of the same shape, made by a layer named ``preprocess``.
    """
    if mode == "none":
        return x
    scale, offset = constants(mode)
    return _rescale(x, sum(scale) / len(scale), sum(offset) / len(offset))


def per_channel(values: tuple[float, ...], channels: int) -> float | list[float]:
    """Fit three constants to a number of channels: themselves, or their mean for all."""
    if len(values) == channels > 1:
        return list(values)
    return sum(values) / len(values)


def _rescale(
    x: keras.KerasTensor, scale: float | list[float], offset: float | list[float]
) -> keras.KerasTensor:
    import keras

    return keras.layers.Rescaling(scale, offset=offset, name="preprocess")(x)


def _flip_channels(x: keras.KerasTensor) -> keras.KerasTensor:
    """RGB to BGR; the operation gets a name, else it would count up from build to build."""
    import keras

    flipped = keras.ops.flip(x, axis=-1)
    flipped._keras_history.operation.name = "rgb_to_bgr"
    return flipped

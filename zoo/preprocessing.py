"""From 0-255 RGB to what a network was trained on, in layers that any Keras can load."""

from __future__ import annotations

import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def preprocess(x: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """Place the fixed preprocessing of a network in front of it.

    Args:
        x: ``(batch, height, width, channels)``, values 0-255, RGB where there are three channels.
            For other counts each channel gets the mean of the three constants.
        mode: ``"tf"``: ``x / 127.5 - 1``; ``"torch"``: ``(x / 255 - mean) / std`` with the means
            and deviations of ImageNet; ``"caffe"``: BGR minus the means of ImageNet, not scaled;
            ``"lite"``: ``(x - 127) / 128``; ``"signed128"``: ``x / 128 - 1``; ``"inside"``:
            nothing, the network does it.

    Returns:
        A tensor of the same shape, made by a layer named ``preprocess``.
    """
    if mode == "inside":
        return x
    channels = x.shape[-1]
    if mode == "caffe" and channels == 3:
        x = _flip_channels(x)
    scale, offset = _constants(mode)
    layer = keras.layers.Rescaling(
        per_channel(scale, channels), offset=per_channel(offset, channels), name="preprocess"
    )
    return layer(x)


def per_channel(values: tuple[float, ...], channels: int) -> float | list[float]:
    """Fit three constants to a number of channels: themselves, or their mean for all."""
    if len(values) == channels > 1:
        return list(values)
    return sum(values) / len(values)


def _constants(mode: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give scale and offset of ``x * scale + offset``."""
    if mode == "torch":
        return (
            tuple(1.0 / (255.0 * std) for std in IMAGENET_STD),
            tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
        )
    return {
        "tf": ((1.0 / 127.5,), (-1.0,)),
        "caffe": ((1.0,), tuple(-mean for mean in CAFFE_MEAN_BGR)),
        "lite": ((1.0 / 128.0,), (-127.0 / 128.0,)),
        "signed128": ((1.0 / 128.0,), (-1.0,)),
    }[mode]


def _flip_channels(x: keras.KerasTensor) -> keras.KerasTensor:
    """RGB to BGR; the operation gets a name, else it would count up from build to build."""
    flipped = keras.ops.flip(x, axis=-1)
    flipped._keras_history.operation.name = "rgb_to_bgr"
    return flipped

"""Batch normalisation in one kernel while a network trains under TensorFlow.

Keras 3 writes training-mode BatchNormalization as separate moments, products and sums, each a pass
through memory, forward and backward. TensorFlow has one kernel for all of it. Only the arithmetic
is exchanged, for as long as training lasts: the layers, their weights and what is saved stay plain
Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def fused_batch_norm(model: keras.Model) -> Iterator[int]:
    """Let the model's BatchNormalization layers train through TensorFlow's fused kernel.

    Training functions traced inside keep it. Layers that the kernel cannot serve (another axis than
    the last, renormalisation, statistics over several devices) stay as they are, and so does
    everything on other backends and in inference.

    Args:
        model: Any Keras model, nested ones included.

    Yields:
        Number of layers exchanged.
    """
    layers = [layer for layer in model._flatten_layers() if _served(layer)]
    for layer in layers:
        layer.call = _fused(layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.call


def _served(layer: keras.layers.Layer) -> bool:
    return (
        keras.backend.backend() == "tensorflow"
        and type(layer) is keras.layers.BatchNormalization
        and "call" not in vars(layer)
        and layer.built
        and not (layer.renorm or layer.synchronized)
        and layer.input_spec.ndim >= 3
        and layer.axis in (-1, layer.input_spec.ndim - 1)
    )


def _fused(layer: Any) -> Callable[..., Any]:
    plain = layer.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not layer.trainable or mask is not None:
            return plain(inputs, training=training, mask=mask)
        return _normalise(layer, inputs)

    return call


def _normalise(layer: Any, inputs: Any) -> Any:
    """Normalise by the batch's moments (biased variance), and move the averages towards them.

    Ioffe & Szegedy, 2015 (arXiv:1502.03167), with Keras' momentum. The kernel gives the unbiased
    variance (n / (n - 1) of it, n values per channel), Keras averages the biased one.
    """
    import tensorflow as tf

    channels = inputs.shape[-1]
    x = tf.cast(inputs, tf.float32)
    if len(inputs.shape) != 4:
        x = tf.reshape(x, (1, 1, -1, channels))
    scale = tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones(channels)
    offset = tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros(channels)
    outputs = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=tf.zeros(0),
        variance=tf.zeros(0),
        epsilon=layer.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(x) // channels, tf.float32)
    variance = outputs.batch_variance * ((count - 1.0) / count)
    for average, found in (
        (layer.moving_mean, outputs.batch_mean),
        (layer.moving_variance, variance),
    ):
        old = tf.cast(average, tf.float32)
        average.assign(old * layer.momentum + found * (1.0 - layer.momentum))
    y = outputs.y
    if len(inputs.shape) != 4:
        y = tf.reshape(y, tf.shape(inputs))
        y.set_shape(inputs.shape)
    return tf.cast(y, layer.compute_dtype)

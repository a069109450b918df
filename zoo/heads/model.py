"""Models for a task: a backbone of the registry, pooling and a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from zoo.backbones import build_pyramid, check_input, level
from zoo.channels import ChannelMap
from zoo.errors import ZooError
from zoo.heads.pooling import check_pooling, pool_maps
from zoo.heads.tasks import MODEL_NAMES, add_output, check_task
from zoo.planes import slices_as_channels
from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights.loading import find_weights

STANDARDIZE = "standardize"


def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, ...],
    classes: int,
    weights: str | Path | None = "imagenet",
    dropout: float = 0.2,
    input_range: tuple[float, float] = (0.0, 255.0),
    pooling: str = "avg",
    levels: Sequence[str] | None = None,
    hidden: int = 0,
    standardize: bool = False,
    task: str = "classification",
    dims: float = 2,
    channel_map: ChannelMap | None = None,
    depth_strides: Sequence[int] | None = None,
) -> keras.Model:
    """Build a model for a task: one flat graph of built-in layers from pixels to its output.

    The defaults give the usual head, one dense layer on the averaged top feature map. Findings of
    a few pixels and small training sets do better with features of the middle levels, described by
    their mean and spread, and a hidden layer: ``pooling="stats"``, ``levels=("P3", "P4")``,
    ``hidden=256``, ``standardize=True``.

    Args:
        name: Registered name of the backbone.
        input_shape: ``(height, width, channels)``, or ``(depth, height, width, channels)`` in 3D
            and 2.5D, as for ``create_backbone``.
        classes: Number of classes or labels (1 for a binary task with one logit), of grades, of
            regression targets, or length of the embedding.
        weights: Weights of the backbone, as for ``create_backbone``; the head is always new.
        dropout: Rate before every dense layer, in [0, 1).
        input_range: Lower and upper bound of the input in modality units, for example
            ``(-1000.0, 1000.0)`` HU. Values are clipped to it and scaled to 0-255 inside. With
            ``(0.0, 255.0)`` the input is taken as it is.
        pooling: How a feature map becomes a vector: ``"avg"``, ``"max"``; ``"stats"``, the
            spatial mean and standard deviation of every channel; ``"gem"``, the generalised mean
            with a learned exponent (arXiv:1711.02512); ``"attention"``, a mean weighted by gated
            attention (arXiv:1802.04712), which ``attention_map`` shows.
        levels: Pyramid levels whose pooled features are joined, lowest first; None takes the top
            one. What lies above the highest of them is left out of the network.
        hidden: Units of a hidden layer (ReLU) before the logits; 0 has none.
        standardize: Bring every pooled feature to mean 0 and variance 1 before the dense layers;
            ``fit_standardization`` sets by which figures. Until then it changes nothing.
        task: What comes out, always float32 without an activation. ``"classification"``: logits
            of exclusive classes or of independent labels; which of them, the loss decides.
            ``"ordinal"``: ``classes - 1`` logits, the k-th that the grade exceeds k: one score
            against thresholds that are in order by construction (CORAL, arXiv:1901.07884); see
            ``ordinal_probabilities``. ``"regression"``: values. ``"embedding"``: a linear
            projection brought to length 1.
        dims: 2, 2.5 or 3, as for ``create_backbone``.
        channel_map: As for ``create_backbone``.
        depth_strides: As for ``create_backbone``.

    Returns:
        A functional model ``<name>_classifier`` (``_grader``, ``_regressor``, ``_embedder``): input
        ``image``, float32 ``(batch, *spatial, channels)``; output float32 ``(batch, classes)``.
        The head's layers are ``pool``, then ``standardize``, ``dropout``, ``hidden`` and
        ``hidden_dropout`` as far as they are asked for, and ``logits`` (``values``,
        ``embedding``).

    Raises:
        ZooError: As ``create_backbone`` does, and for arguments out of range.
    """
    spec = get_spec(name)
    check_input(spec, input_shape, dims=dims, depth_strides=depth_strides)
    check_task(task, classes)
    _check_head(dropout, input_range, pooling, hidden)
    wanted = check_levels(spec, levels)
    found = find_weights(spec, weights)
    image = keras.Input(input_shape, name="image", dtype="float32")
    pixels = to_pixels(image, input_range)
    pyramid = build_pyramid(
        spec,
        slices_as_channels(pixels) if dims == 2.5 else pixels,
        found=found,
        channel_map=channel_map,
        depth_strides=depth_strides,
    )
    x = pool_maps([(name, pyramid[name]) for name in wanted], pooling)
    if standardize:
        x = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=1e-6, center=False, scale=False, name=STANDARDIZE
        )(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    if hidden:
        x = keras.layers.Dense(hidden, activation="relu", name="hidden")(x)
        x = keras.layers.Dropout(dropout, name="hidden_dropout")(x)
    x = add_output(x, task=task, classes=classes)
    return keras.Model(image, x, name=f"{spec.name}_{MODEL_NAMES[task]}")


def split_head(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a classifier behind its pooling, so that features can be computed once and kept.

    Args:
        model: What ``create_model`` returned.

    Returns:
        Two models that share the layers (and so the weights) of ``model``: from the image to the
        pooled features ``(batch, features)``, and from those to the output. Training the second
        trains the head of ``model``, but for the weights inside a pooling of ``LEARNED``.
    """
    features = keras.Model(model.input, model.get_layer("pool").output, name="features")
    pooled = keras.Input(features.output.shape[1:], name="pooled", dtype=features.output.dtype)
    behind = keras.models.clone_model(
        keras.Model(features.output, model.output),
        input_tensors=pooled,
        clone_function=lambda layer: layer,
    )
    return features, keras.Model(pooled, behind.output, name="head")


def fit_standardization(model: keras.Model, features: npt.NDArray[Any]) -> bool:
    """Set the figures of the layer ``standardize`` from pooled features of the training cases.

    They hold as long as the layer is frozen (``set_trainable`` with ``batch_norm="frozen"``).

    Args:
        model: What ``create_model`` returned; changed in place.
        features: ``(n, features)``, as the first model of ``split_head`` computes them. A feature
            that hardly varies is left near its own scale, not blown up.

    Returns:
        Whether the model has such a layer.
    """
    layers = {layer.name: layer for layer in model.layers}
    if STANDARDIZE not in layers:
        return False
    wide = np.asarray(features, "float64")
    spread = wide.std(axis=0)
    floor = max(1e-3 * float(np.median(spread)), 1e-6)
    layers[STANDARDIZE].moving_mean.assign(wide.mean(axis=0))
    layers[STANDARDIZE].moving_variance.assign(np.maximum(spread, floor) ** 2)
    return True


def to_pixels(image: keras.KerasTensor, input_range: tuple[float, float]) -> keras.KerasTensor:
    """Clip to the range and scale it to 0-255."""
    low, high = (float(bound) for bound in input_range)
    if (low, high) == (0.0, 255.0):
        return image
    scale = 255.0 / (high - low)
    x = keras.layers.Rescaling(scale, offset=-low * scale, name="input_scale")(image)
    return keras.layers.ReLU(max_value=255.0, name="input_clip")(x)


def _check_head(
    dropout: float, input_range: tuple[float, float], pooling: str, hidden: int
) -> None:
    if not 0.0 <= dropout < 1.0:
        raise ZooError(f"dropout is {dropout}; it must lie in [0, 1)")
    check_pooling(pooling)
    if hidden < 0:
        raise ZooError(f"hidden is {hidden}; give a number of units, or 0 for no hidden layer")
    if not input_range[0] < input_range[1]:
        raise ZooError(f"input_range {input_range} is empty; give (lower, upper)")


def check_levels(spec: BackboneSpec, levels: Sequence[str] | None) -> list[str]:
    """Give the wanted pyramid levels, lowest first; the top one where none is named.

    Raises:
        ZooError: A level that the backbone does not have, one named twice, or none at all.
    """
    known = [level(stride) for stride, _ in spec.taps]
    if levels is None:
        return known[-1:]
    for name in levels:
        if name not in known:
            raise ZooError(f"{spec.name!r} has no level {name!r}; it has {', '.join(known)}")
    if not levels or len(set(levels)) != len(levels):
        raise ZooError(f"levels {list(levels)} must name one level or more, each once")
    return sorted(levels)

"""The same network for another input size, its batch norms folded into convolutions if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from recipes.segmentation.inference.errors import InferenceError

_FOLDED = (keras.layers.Conv2D, keras.layers.Conv3D)


def rebuild(model: keras.Model, size: Sequence[int | None], *, fold: bool = False) -> keras.Model:
    """Give the same network, with a copy of the weights, for another input size.

    Args:
        model: A functional model of one image input, its sides known or open.
        size: Wanted spatial sizes; None leaves a side open.
        fold: Compute batch norms inside the convolutions before them: the same logits in inference
            mode up to rounding, in fewer passes through memory. For prediction only; such a copy
            is not to be trained or saved.

    Returns:
        A model of that size. ``copy_weights`` brings it up to date.

    Raises:
        InferenceError: Layers depend on the size, or another size does not fit the network.
    """
    folded = foldable(model) if fold else {}
    image = keras.Input((*size, model.inputs[0].shape[-1]), name=model.inputs[0].name)

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in folded.values():
            config["use_bias"] = True
        return type(layer).from_config(config)

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in folded else layer(*args, **kwargs)

    try:
        twin = keras.models.clone_model(
            model, input_tensors=image, clone_function=copied, call_function=called
        )
    except ValueError as error:
        raise InferenceError(
            f"network {model.name!r} cannot be rebuilt for {by(size)}: {error}; give a function "
            "that builds it for a size"
        ) from error
    copy_weights(model, twin)
    return twin


def copy_weights(model: keras.Model, twin: keras.Model) -> None:
    """Give what ``rebuild`` made of a model the weights that the model has now."""
    known = {layer.name: layer for layer in twin.layers}
    folded = {conv: norm for norm, conv in foldable(model).items() if norm not in known}
    for layer in model.layers:
        if not layer.weights or layer.name not in known:
            continue
        weights = layer.get_weights()
        if layer.name in folded:
            weights = _folded_weights(layer, model.get_layer(folded[layer.name]))
        known[layer.name].set_weights(weights)


def foldable(model: keras.Model) -> dict[str, str]:
    """Find batch norms that a convolution can take over: norm's name -> convolution's name.

    The convolution has no activation of its own, and nothing but the norm reads its result.
    """
    nodes = [
        node for depth in model._nodes_by_depth.values() for node in depth if not node.is_input
    ]
    readers: dict[int, int] = {id(x): 1 for x in model.outputs}
    calls: dict[int, int] = {}
    made: Any = {}
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
        made |= {id(x): node.operation for x in node.outputs}
        for x in node.input_tensors:
            readers[id(x)] = readers.get(id(x), 0) + 1
    found = {}
    for node in nodes:
        norm, source = node.operation, node.input_tensors[0]
        conv = made.get(id(source))
        if (
            type(norm) is keras.layers.BatchNormalization
            and type(conv) in _FOLDED
            and conv.activation is keras.activations.linear
            and readers[id(source)] == calls[id(conv)] == calls[id(norm)] == 1
            and norm.axis in (-1, len(source.shape) - 1)
            and not norm.renorm
        ):
            found[norm.name] = conv.name
    return found


def by(sides: Sequence[Any]) -> str:
    """Sizes as text: ``64x64x32``."""
    return "x".join(str(side) for side in sides)


def _folded_weights(conv: Any, norm: Any) -> list[np.ndarray]:
    """Kernel and bias of convolution and norm together; computed in float64."""

    def value(weight: Any, default: float) -> Any:
        if weight is None:
            return default
        return keras.ops.convert_to_numpy(weight).astype(np.float64)

    scale = value(norm.gamma, 1.0) / np.sqrt(value(norm.moving_variance, 1.0) + norm.epsilon)
    bias = value(conv.bias if conv.use_bias else None, 0.0)
    shifted = (bias - value(norm.moving_mean, 0.0)) * scale + value(norm.beta, 0.0)
    return [value(conv.kernel, 1.0) * scale, shifted]

"""Networks for prediction: at another input size, batch norms folded into the convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from zoo.errors import ZooError

_FOLDED = (keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv2D)


def for_inference(model: keras.Model) -> keras.Model:
    """Give a network for prediction alone, faster than the one it was trained as.

    Batch norms are computed inside the convolutions before them (Jacob et al., CVPR 2018,
    arXiv:1712.05877, section 3.2), in float64 once: the same outputs in inference mode up to
    rounding, in fewer passes through memory.

    Args:
        model: A functional model of one image input, further ones inside it or not; it is left as
            it is.

    Returns:
        A copy that holds the weights of the moment; it is not to be trained or saved.

    Raises:
        ZooError: The model is not functional, or has several inputs.
    """
    if not _functional(model):
        raise ZooError(f"model {model.name!r} is not a functional model of one image")
    return rebuild(model, tuple(model.inputs[0].shape[1:-1]), fold=True)


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
        ZooError: Layers depend on the size, or another size does not fit the network.
    """
    if model.compiled:  # a copy would compile itself again, and cannot be trained
        outputs = model.output if isinstance(model.output, dict) else model.outputs
        single = not isinstance(model.output, dict | list | tuple)
        model = keras.Model(model.inputs[0], model.outputs[0] if single else outputs)
    folded = foldable(model) if fold else {}
    image = keras.Input((*size, model.inputs[0].shape[-1]), name=model.inputs[0].name)

    same = tuple(size) == tuple(model.inputs[0].shape[1:-1])

    def copied(layer: Any) -> Any:
        if fold and same and _functional(layer):
            return rebuild(layer, layer.inputs[0].shape[1:-1], fold=True)
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
        raise ZooError(
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
        if _functional(layer):
            copy_weights(layer, known[layer.name])
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


def _functional(layer: Any) -> bool:
    """Whether this is a functional model of one image."""
    return (
        hasattr(layer, "_nodes_by_depth")
        and len(layer.inputs) == 1
        and len(layer.inputs[0].shape) in (4, 5)
    )


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
    kernel = value(conv.kernel, 1.0)
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        return [kernel * scale.reshape(kernel.shape[-2:]), shifted]
    return [kernel * scale, shifted]

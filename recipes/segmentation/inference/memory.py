"""How much memory a network's maps take at once, from its graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

FLOAT = 4
BLOCK = 8
"""Channels come in blocks of this many in the kernels of oneDNN; narrow maps are filled up."""
IN_PLACE = frozenset(
    {"BatchNormalization", "Activation", "ReLU", "LeakyReLU", "Dropout", "Identity"}
    | {"SpatialDropout2D", "SpatialDropout3D", "PReLU", "ELU"}
)
"""Layers whose result takes the place of their input, or is fused with what made it."""
RESERVE = 1.25
"""What a pass takes beyond its maps: scratch of convolutions, rounding of allocations."""


def live_bytes(model: keras.Model, sides: Sequence[int]) -> float:
    """Peak of the maps that live at once during inference, in bytes per input sample.

    Every map lives from the layer that makes it to the last that reads it, in the order of the
    graph.

    Args:
        model: A functional model with one image input.
        sides: Spatial sizes of the input, where the model leaves them open.

    Returns:
        Bytes per sample of the input, ``RESERVE`` included.
    """
    size = [
        known if known is not None else side
        for known, side in zip(model.inputs[0].shape[1:-1], sides, strict=True)
    ]
    if None in model.inputs[0].shape[1:]:
        image = keras.Input((*size, model.inputs[0].shape[-1]))
        model = keras.models.clone_model(model, input_tensors=image)
    steps = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]
    owner: dict[int, int] = {}
    sizes: dict[int, float] = {}

    def held(tensor: Any) -> int:
        key = owner.setdefault(id(tensor), id(tensor))
        sizes.setdefault(key, _values(tensor.shape[1:]))
        return key

    last: dict[int, int] = {}
    for time, node in enumerate(steps):
        inputs = [held(x) for x in node.input_tensors]
        if type(node.operation).__name__ in IN_PLACE:
            owner |= {id(x): inputs[0] for x in node.outputs}
        last |= dict.fromkeys(inputs, time)
        last |= {held(x): time for x in node.outputs}
    alive, peak = {held(model.inputs[0])}, 0.0
    for time, node in enumerate(steps):
        alive |= {held(x) for x in node.outputs}
        peak = max(peak, sum(sizes[key] for key in alive))
        alive = {key for key in alive if last.get(key, len(steps)) > time}
    return RESERVE * FLOAT * peak / math.prod(size)


def _values(shape: Sequence[int | None]) -> float:
    """Values of a map ``(*spatial, channels)``, its channels rounded up to whole blocks."""
    *sides, channels = (side or 1 for side in shape)
    return float(math.prod(sides) * -(-channels // BLOCK) * BLOCK)

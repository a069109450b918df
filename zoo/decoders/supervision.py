"""Deep supervision: targets and loss weights for a model with logits at several levels.

Lee et al., 2014, arXiv:1409.5185; weights halving with every halving of the resolution as in
nnU-Net (Isensee et al., 2021).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from zoo.errors import ZooError

MAIN = "P0"
"""Output with the full-resolution logits."""


def supervision_weights(model: keras.Model) -> dict[str, float]:
    """Give a loss weight per output: 1, 1/2, 1/4 ... by falling resolution, summing to 1.

    Outputs of the same size (U-Net++) share one weight's value.

    Args:
        model: A model with a dict of logits, see ``supervised_outputs``.
    """
    sizes = {name: _size(x) for name, x in supervised_outputs(model).items()}
    ranks = {size: rank for rank, size in enumerate(sorted(set(sizes.values()), reverse=True))}
    raw = {name: 0.5 ** ranks[size] for name, size in sizes.items()}
    return {name: value / sum(raw.values()) for name, value in raw.items()}


def supervision_targets(model: keras.Model, target: Any) -> dict[str, Any]:
    """Give every output the target on its own grid, by nearest neighbour.

    Labels stay labels and unknown ones (NaN) stay unknown: nothing is averaged.

    Args:
        model: A model with a dict of logits.
        target: ``(batch, *spatial)`` or ``(batch, *spatial, classes)`` on the grid of the main
            output, an array or a tensor.

    Raises:
        ZooError: For a target that is on another grid.
    """
    outputs = supervised_outputs(model)
    full = tuple(outputs[MAIN].shape[1:-1])
    if tuple(target.shape[1 : len(full) + 1]) != full:
        raise ZooError(
            f"target {tuple(target.shape)} is not (batch, {', '.join(map(str, full))}[, classes]), "
            f"the grid of output {MAIN!r}"
        )
    return {name: _sample(target, tuple(x.shape[1:-1])) for name, x in outputs.items()}


def _sample(target: Any, size: tuple[int, ...]) -> Any:
    for axis, count in enumerate(size, 1):
        have = int(target.shape[axis])
        if have != count:
            index = np.minimum(((np.arange(count) + 0.5) * have / count).astype("int32"), have - 1)
            take = np.take if isinstance(target, np.ndarray) else keras.ops.take
            target = take(target, index, axis=axis)
    return target


def supervised_outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Give the logits by output name.

    Raises:
        ZooError: For a model without deep supervision.
    """
    if not isinstance(model.output, dict) or MAIN not in model.output:
        raise ZooError(
            f"model {model.name!r} has no deep supervision; build it with deep_supervision=True"
        )
    return dict(model.output)


def without_supervision(model: keras.Model) -> keras.Model:
    """Give the model for prediction: the main logits alone, sharing the layers.

    Raises:
        ZooError: For a model without deep supervision.
    """
    return keras.Model(model.input, supervised_outputs(model)[MAIN], name=model.name)


def _size(x: keras.KerasTensor) -> int:
    if None in x.shape[1:-1]:
        raise ZooError(f"output {tuple(x.shape)} leaves a size open; build it for one input size")
    return int(np.prod(x.shape[1:-1]))

"""Write weight files as Keras 2 did, out of a network of Keras 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

Named = list[tuple[str, np.ndarray]]


def named_weights(
    model: keras.Model, *, names: Mapping[str, str] | None = None
) -> dict[str, tuple[Named, Named]]:
    """Layer name -> its trainable and its other weights, under names as Keras 2 gave them.

    Args:
        model: The network.
        names: Other names for some of its layers.
    """
    found = {}
    for layer in model.layers:
        inner = layer.layers if isinstance(layer, keras.Sequential) else [layer]
        for one in inner:
            if one.weights:
                name = (names or {}).get(one.name, one.name)
                found[name] = tuple(
                    [(f"{name}/{weight.name}:0", np.asarray(weight)) for weight in weights]
                    for weights in (one.trainable_weights, one.non_trainable_weights)
                )
    return found  # type: ignore[return-value]


def write_keras2(
    path: Path,
    groups: Sequence[tuple[str, Named]],
    *,
    whole: bool = True,
) -> Path:
    """Write the groups in their order, each with its ``weight_names``.

    Args:
        path: The file.
        groups: Layer (or nested model) -> its weights.
        whole: As ``model.save`` wrote it, else as ``model.save_weights`` did.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [name.encode() for name, _ in groups]
        root.attrs["keras_version"] = b"2.4.0"
        for name, weights in groups:
            group = root.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight, _ in weights]
            for weight, array in weights:
                group.create_dataset(weight, data=array)
    return path


def flat(layers: Mapping[str, tuple[Named, Named]]) -> list[tuple[str, Named]]:
    """One group per layer."""
    return [(name, [*trainable, *rest]) for name, (trainable, rest) in layers.items()]


def nested(layers: Mapping[str, tuple[Named, Named]], name: str) -> list[tuple[str, Named]]:
    """One group for all: the trainable weights of all layers before all the others."""
    parts = list(layers.values())
    return [(name, [one for i in (0, 1) for part in parts for one in part[i]])]

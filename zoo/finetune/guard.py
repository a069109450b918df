"""Proof that frozen variables did not move."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from zoo.errors import FrozenMovedError
from zoo.finetune.stages import leaf_layers
from zoo.finetune.trainable import frozen_weights


class Guard:
    """Digests of a model's frozen weights, to be compared as often as wanted.

    Attributes:
        snapshot: Weight -> SHA-256 of its bytes; see ``frozen_snapshot``.
    """

    def __init__(self, model: keras.Model) -> None:
        """Take the digests of the model as it stands."""
        self.model = model
        self.snapshot = frozen_snapshot(model)

    def __len__(self) -> int:
        """Weights under guard."""
        return len(self.snapshot)

    def verify(self) -> None:
        """Check that every weight is what it was.

        Raises:
            FrozenMovedError: Naming the variables that moved or are gone.
        """
        verify_frozen(self.model, self.snapshot)


def frozen_snapshot(model: keras.Model) -> dict[str, str]:
    """Take a digest of every weight that must not move while the model trains.

    Returns:
        ``variable.path`` (behind the names of the models it is nested in) -> SHA-256 of its bytes,
        for all weights that no gradient moves: those of layers with ``trainable=False``,
        statistics of BatchNormalization included, and kernels beside an adapter. Statistics of a
        BatchNormalization that trains may move and are left out.
    """
    return {place: _digest(weight) for place, weight, frozen in _named_weights(model) if frozen}


def verify_frozen(model: keras.Model, snapshot: Mapping[str, str]) -> None:
    """Check that the weights of a snapshot are what they were.

    Args:
        model: The model the snapshot was taken of.
        snapshot: What ``frozen_snapshot`` gave before training.

    Raises:
        FrozenMovedError: Naming the variables that moved or are gone.
    """
    digests = {
        place: _digest(weight) for place, weight, _ in _named_weights(model) if place in snapshot
    }
    moved = [place for place, digest in snapshot.items() if digests.get(place) != digest]
    if moved:
        shown = ", ".join(moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
        raise FrozenMovedError(f"{len(moved)} frozen variables moved in training: {shown}")


def _named_weights(model: keras.Model) -> Iterator[tuple[str, keras.Variable, bool]]:
    """Every weight with a name of its own, and whether it is frozen."""
    for place, layer in leaf_layers(model).items():
        outer = place.removesuffix(layer.name)
        frozen = {id(weight) for weight in frozen_weights(layer)}
        for weight in layer.weights:
            yield outer + weight.path, weight, id(weight) in frozen


def _digest(weight: keras.Variable) -> str:
    array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
    return hashlib.sha256(array.tobytes()).hexdigest()

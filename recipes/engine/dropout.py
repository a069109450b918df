"""Monte Carlo dropout: the head of a network asked many times with its dropout left on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.engine.embedding import members
from recipes.engine.loop import reset_random_state
from recipes.errors import RecipeError
from zoo.heads.model import split_head

_ROWS = 65_536
"""Rows of features in memory at once."""


class HeadDropout:
    """The members of an assembled model, cut behind their pooling.

    Attributes:
        features: Model from the image to the pooled features of all members, side by side.
    """

    def __init__(self, model: keras.Model) -> None:
        """Cut the members; they share their layers with ``model``.

        Args:
            model: What ``modelfile.assemble`` made.

        Raises:
            RecipeError: No member drops anything in its head.
        """
        halves = [split_head(member) for member in members(model)]
        self.heads = [head for _, head in halves]
        if not any(_drops(head) for head in self.heads):
            raise RecipeError(
                "the network has no dropout in its head, so all passes would be the same; use "
                "an ensemble of several runs, or fit with model.dropout above 0"
            )
        for head in self.heads:
            for layer in head.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False  # inference mode, also with training=True
        image = keras.Input(model.input_shape[1:], name="image", dtype="float32")
        pooled = [
            keras.Model(half.input, half.output, name=f"features_{i}")(image)
            for i, (half, _) in enumerate(halves)
        ]
        self.widths = [int(x.shape[-1]) for x in pooled]
        joined = pooled[0] if len(pooled) == 1 else keras.layers.Concatenate()(pooled)
        self.features = keras.Model(image, joined, name="pooled_features")

    def passes(
        self, features: npt.NDArray[Any], *, count: int, seed: int
    ) -> npt.NDArray[np.float32]:
        """Logits of stochastic passes (Gal and Ghahramani 2016, arXiv:1506.02142).

        Each case of each pass drops other features. Stochastic depth and dropout inside the
        backbone, where it has them, stay off.

        Args:
            features: ``(n, d)`` of ``features``.
            count: Passes.
            seed: Seed; the same seed gives the same passes.

        Returns:
            ``(count * members, n, k)``.
        """
        found = []
        parts = np.split(features, np.cumsum(self.widths)[:-1], axis=1)
        at_once = max(1, _ROWS // max(1, len(features)))
        for start in range(0, count, at_once):
            times = min(at_once, count - start)
            for place, (head, part) in enumerate(zip(self.heads, parts, strict=True)):
                reset_random_state(head, seed=seed + place, epoch=start)
                x = np.tile(np.asarray(part, "float32"), (times, 1))
                logits = keras.ops.convert_to_numpy(head(x, training=True))
                found.append(logits.reshape(times, len(part), -1))
        return np.concatenate(found)


def _drops(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.Dropout) and layer.rate > 0 for layer in model.layers)

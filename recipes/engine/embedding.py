"""Embeddings: what a classifier's last layer sees of a case."""

from __future__ import annotations

from typing import Any

import keras
import numpy.typing as npt

from recipes.errors import RecipeError

LOGITS = "logits"


def with_embedding(model: keras.Model) -> keras.Model:
    """A model that gives the logits and, behind them, the input of the layer that makes them.

    Args:
        model: What ``modelfile.assemble`` made, just now or read from a file; it shares its
            layers with the result.

    Returns:
        A functional model of the same input; output ``(batch, k + d)`` float32: k logits, then the
        d features of the members one after the other.

    Raises:
        RecipeError: A member has no layer ``logits``.
    """
    image = keras.Input(model.input_shape[1:], name="image", dtype="float32")
    logits, features = [], []
    for member in members(model):
        try:
            seen = member.get_layer(LOGITS).input
        except ValueError:
            raise RecipeError(
                f"network {member.name!r} has no layer {LOGITS!r}, so its embedding is not known"
            ) from None
        both = keras.Model(member.inputs[0], [member.outputs[0], seen], name=member.name)
        answer, embedding = both(image)
        logits.append(answer)
        features.append(embedding)
    mean = logits[0]
    if len(logits) > 1:
        mean = keras.layers.Average(dtype="float32", name="mean_logits")(logits)
    joined = keras.layers.Concatenate(dtype="float32", name="logits_and_embedding")
    return keras.Model(image, joined([mean, *features]), name="radzoo_embedder")


def members(model: keras.Model) -> list[keras.Model]:
    """The networks of an assembled model, in order."""
    return [layer for layer in model.layers if isinstance(layer, keras.Model)]


def split_outputs(
    outputs: npt.NDArray[Any], classes: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Logits ``(n, k)`` and embeddings ``(n, d)`` from the outputs of `with_embedding`."""
    return outputs[:, :classes], outputs[:, classes:]

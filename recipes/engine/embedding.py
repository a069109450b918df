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
        model: What ``modelfile.assemble`` or ``joining.join`` made, just now or read from a file;
            it shares its layers with the result.

    Returns:
        A functional model of the same input; output ``(batch, k + d)`` float32: k logits, then the
        d features of the members one after the other, each the mean over the views that are part
        of the model.

    Raises:
        RecipeError: A member has no layer ``logits``.
    """
    both: dict[str, keras.Model] = {}
    for member in members(model):
        try:
            seen = member.get_layer(LOGITS).input
        except ValueError:
            raise RecipeError(
                f"network {member.name!r} has no layer {LOGITS!r}, so its embedding is not known"
            ) from None
        outputs = [member.outputs[0], seen]
        both[member.name] = keras.Model(member.inputs[0], outputs, name=member.name)
    found: dict[str, list[Any]] = {name: [] for name in both}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        """The graph as it is; a network also leaves what its last layer saw."""
        if layer.name not in both:
            return layer(*args, **kwargs)
        answer, embedding = both[layer.name](*args)
        found[layer.name].append(embedding)
        return answer

    again = keras.models.clone_model(model, clone_function=lambda own: own, call_function=call)
    features = [_mean(views) for views in found.values()]
    joined = keras.layers.Concatenate(dtype="float32", name="logits_and_embedding")
    return keras.Model(again.inputs[0], joined([again.outputs[0], *features]), name="embedder")


def _mean(views: list[Any]) -> Any:
    return views[0] if len(views) == 1 else keras.layers.Average(dtype="float32")(views)


def members(model: keras.Model) -> list[keras.Model]:
    """The networks of an assembled model, in the order of their numbers."""
    found = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return sorted(found, key=lambda layer: _number(layer.name))


def _number(name: str) -> int:
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isdecimal() else 0


def split_outputs(
    outputs: npt.NDArray[Any], classes: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Logits ``(n, k)`` and embeddings ``(n, d)`` from the outputs of `with_embedding`."""
    return outputs[:, :classes], outputs[:, classes:]

"""Several runs' networks as one: a model whose answer is the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from recipes.engine.embedding import members
from recipes.errors import RecipeError

IDENTITY = ({"view": "identity"},)


@dataclass(frozen=True, eq=False)
class Joined:
    """A run that becomes part of an ensemble.

    Attributes:
        members: Its networks, each from the image to logits ``(batch, k)``.
        views: Test-time views (`data_adapters.augment`) over which it averages logits.
    """

    members: Sequence[keras.Model]
    views: Sequence[Mapping[str, Any]]


def join(runs: Sequence[Joined], *, kind: str) -> keras.Model:
    """One model whose probabilities are the mean of the runs' probabilities.

    Each run's logits are the mean over its members and its views, as everywhere; what is averaged
    over the runs are the probabilities (Lakshminarayanan et al. 2017, arXiv:1612.01474). The output
    is a logit again: the softmax of the logarithm of a mean probability is that mean, and so is the
    sigmoid of the difference of the logarithms for labels. Views are part of the graph, because
    their mean is taken before the probabilities are made. Built-in layers and operations only.

    Args:
        runs: Their networks take the same input and give the same classes.
        kind: ``single`` or ``multilabel``.

    Returns:
        A functional model with input ``image`` ``(batch, H, W, C)`` in modality units and float32
        logits ``(batch, k)``; all networks are its branches ``member_0``, ``member_1``, ...

    Raises:
        RecipeError: A view that no model can hold, or networks of different shapes.
    """
    shapes = {(m.input_shape[1:], m.output_shape[1:]) for run in runs for m in run.members}
    if len(shapes) != 1:
        raise RecipeError(f"networks of one ensemble take and give one shape, not {sorted(shapes)}")
    ((shape, _),) = shapes
    image = keras.Input(shape, name="image", dtype="float32")
    made: dict[str, Any] = {}
    logits = []
    number = 0
    for place, run in enumerate(runs):
        branches = []
        for member in run.members:
            branch = keras.Model(member.inputs[0], member.outputs[0], name=f"member_{number}")
            number += 1
            branches += [branch(_seen(image, view, made)) for view in run.views or IDENTITY]
        logits.append(_mean(branches, f"logits_of_run_{place}"))
    if len(logits) == 1:
        return keras.Model(image, logits[0], name="radzoo_classifier")
    return keras.Model(image, _log_mean(logits, kind), name="radzoo_ensemble")


def _mean(tensors: list[Any], name: str) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Average(dtype="float32", name=name)(tensors)


def _log_mean(logits: list[Any], kind: str) -> Any:
    """Logits of the mean probability; a constant that all classes share does not matter."""
    ops = keras.ops
    if kind == "single":
        each = [ops.log_softmax(z, axis=-1) for z in logits]
        return ops.logsumexp(ops.stack(each, axis=1), axis=1)
    present = ops.logsumexp(ops.stack([ops.log_sigmoid(z) for z in logits], axis=1), axis=1)
    absent = ops.logsumexp(
        ops.stack([ops.log_sigmoid(ops.negative(z)) for z in logits], axis=1), axis=1
    )
    return ops.subtract(present, absent)


def _seen(image: Any, view: Mapping[str, Any], made: dict[str, Any]) -> Any:
    """The image under a view of `data_adapters.augment`, made once for all branches."""
    key = repr(sorted(view.items()))
    if key not in made:
        made[key] = _view(image, view)
    return made[key]


def _view(image: Any, view: Mapping[str, Any]) -> Any:
    height, width = (int(side) for side in image.shape[1:3])
    name = view.get("view")
    if name == "identity":
        return image
    if name == "flip_lr":
        return keras.ops.flip(image, axis=2)
    if name == "flip_ud":
        return keras.ops.flip(image, axis=1)
    if name == "turn" and (height == width or view["quarters"] % 2 == 0):
        return keras.ops.rot90(image, k=int(view["quarters"]) % 4, axes=(1, 2))
    if name == "shift":
        return _shifted(
            _shifted(image, 1, height, round(view["dy"] * height)),
            2, width, round(view["dx"] * width),
        )  # fmt: skip
    raise RecipeError(f"view {dict(view)} of a run cannot become part of a model")


def _shifted(image: Any, axis: int, side: int, by: int) -> Any:
    """An axis moved by whole pixels, its edge repeated."""
    if by == 0:
        return image
    places = [min(max(i - by, 0), side - 1) for i in range(side)]
    return keras.ops.take(image, places, axis=axis)


def without_views(model: keras.Model, counts: Sequence[int], *, kind: str) -> keras.Model:
    """An ensemble that sees each case as it is, for explanations: a map of a mirrored view is none.

    Args:
        model: What `join` made, just now or read from a file; the result shares its layers.
        counts: Members of each run.
        kind: ``single`` or ``multilabel``.
    """
    networks = members(model)
    runs = []
    for count in counts:
        runs.append(Joined(networks[:count], IDENTITY))
        networks = networks[count:]
    return join(runs, kind=kind)

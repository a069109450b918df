"""The last layers of a model, one kind for every task."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from zoo.errors import ZooError
from zoo.heads.pooling import constant_one, learned
from zoo.naming import named

MODEL_NAMES = {
    "classification": "classifier",
    "ordinal": "grader",
    "regression": "regressor",
    "embedding": "embedder",
}
TASKS = tuple(MODEL_NAMES)


def add_output(x: keras.KerasTensor, *, task: str, classes: int) -> keras.KerasTensor:
    """Put the output layers of a task on features; see ``create_model``.

    Args:
        x: ``(batch, features)``.
        task: One of ``TASKS``.
        classes: Classes, grades, targets or length of the embedding.

    Returns:
        Float32 ``(batch, classes)``; ``(batch, classes - 1)`` for ordinal.
    """
    return _OUTPUTS[task](x, classes)


def check_task(task: str, classes: int) -> None:
    """Refuse a task that does not exist, or too few outputs for it.

    Raises:
        ZooError: Naming the choices.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(str(task), TASKS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ZooError(f"unknown task {task!r}; {hint}choose from {sorted(TASKS)}")
    least = {"classification": 1, "ordinal": 2, "regression": 1, "embedding": 2}[task]
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < least:
        raise ZooError(f"classes is {classes}; {_WANTED[task]}")


_WANTED = {
    "classification": "a classifier needs at least 1 logit",
    "ordinal": "an ordinal scale needs at least 2 grades",
    "regression": "a regression needs at least 1 target",
    "embedding": "a normalised embedding needs at least 2 numbers",
}


def _logits(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return layers.Dense(classes, dtype="float32", name="logits")(x)


def _values(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return layers.Dense(classes, dtype="float32", name="values")(x)


def _embedding(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    x = layers.Dense(classes, use_bias=False, dtype="float32", name="projection")(x)
    return layers.UnitNormalization(dtype="float32", name="embedding")(x)


def _grades(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """One score for all thresholds, which are held in order by gaps that stay positive."""
    score = layers.Dense(1, dtype="float32", name="score")(x)
    if classes == 2:
        return layers.Activation("linear", dtype="float32", name="logits")(score)
    one = constant_one(score, "threshold_one")
    gaps = learned(classes - 2, "softplus", "threshold_gaps")(one)
    above = named(ops.cumsum(gaps, axis=-1), "thresholds")
    later = layers.Subtract(dtype="float32", name="later_logits")([score, above])
    return layers.Concatenate(dtype="float32", name="logits")([score, later])


_OUTPUTS: dict[str, Callable[[Any, int], Any]] = {
    "classification": _logits,
    "ordinal": _grades,
    "regression": _values,
    "embedding": _embedding,
}


def ordinal_probabilities(logits: Any) -> Any:
    """Probability of every grade from the logits of an ordinal head.

    Args:
        logits: ``(.., grades - 1)``; the k-th is the log-odds that the grade exceeds k.

    Returns:
        ``(.., grades)``, each at least 0, summing to 1.
    """
    above = ops.sigmoid(ops.convert_to_tensor(logits, "float32"))
    first = ops.ones_like(above[..., :1])
    edges = ops.concatenate([first, above, ops.zeros_like(first)], axis=-1)
    return ops.maximum(edges[..., :-1] - edges[..., 1:], 0.0)


def ordinal_decode(logits: Any) -> Any:
    """Grade from the logits of an ordinal head: the number of thresholds that are likely passed.

    It is the median of the predicted distribution (CORAL: Cao et al., arXiv:1901.07884).

    Args:
        logits: ``(.., grades - 1)``.

    Returns:
        Int32 ``(..)``, 0 to grades - 1.
    """
    return ops.sum(ops.cast(ops.convert_to_tensor(logits) > 0, "int32"), axis=-1)

"""Largest components and filled holes, and which of them help on validation masks.

Steps are plain dicts that JSON can hold, as the other steps of a model file:
``{"step": "largest_component", "label": 1}`` and ``{"step": "fill_holes", "label": 1}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.segmentation.inference.errors import InferenceError
from recipes.segmentation.inference.pieces import Pieces

Array = npt.NDArray[Any]
Step = dict[str, Any]

LARGEST, HOLES = "largest_component", "fill_holes"
STEPS = (LARGEST, HOLES)
LEAST_GAIN = 1e-4
"""Least gain in mean Dice for which a step is chosen."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One step tried on validation masks.

    Attributes:
        step: The step.
        before: Mean Dice of its label without it, the steps chosen earlier applied.
        after: Mean Dice of its label with it.
        others: Largest loss in mean Dice of any other label; 0 where none lost.
        cases: Cases whose Dice is defined.
        chosen: Whether it is kept.
    """

    step: Step
    before: float
    after: float
    others: float
    cases: int
    chosen: bool


def postprocess(
    labels: Array, steps: Sequence[Mapping[str, Any]], *, in_place: bool = False
) -> Array:
    """Apply steps to a label map.

    Args:
        labels: Integers ``(D, H, W)`` or ``(H, W)``.
        steps: As ``choose_postprocessing`` gives them, in order.
        in_place: Whether the labels given may change: a large case has no memory for two maps.

    Returns:
        Labels of the same shape and type; the input is left as it is unless ``in_place``.

    Raises:
        InferenceError: For an unknown step, or labels that are no integers.
    """
    labels = _checked(labels)
    result = labels if in_place else labels.copy()
    for step in steps:
        kind, label = _read(step)
        if kind == LARGEST:
            _keep_largest(result, label)
        else:
            _fill_holes(result, label)
    return result


def choose_postprocessing(
    truths: Iterable[Array], predictions: Iterable[Array], *, class_names: Sequence[str]
) -> tuple[list[Step], list[Trial]]:
    """Choose per class, on validation cases, the steps that raise its mean Dice.

    A step is kept where the mean Dice of its class rises by ``LEAST_GAIN`` and that of no other
    class falls. Steps are tried one after another, on what the ones before have left.

    Args:
        truths: Masks of validation cases, on the predictions' grids; -1 is unknown and not scored.
            They are read one by one, and what is kept is the box that holds foreground.
        predictions: The model's label maps, in the same order.
        class_names: Names of the values from 0, background, on.

    Returns:
        The steps, and the figures of all that were tried.

    Raises:
        InferenceError: Numbers or shapes of the masks differ, or there are none.
    """
    pairs = [_cropped(*pair) for pair in _pairs(truths, predictions)]
    labels = range(1, len(class_names))
    now = [prediction for _, prediction in pairs]
    steps: list[Step] = []
    trials: list[Trial] = []
    scores = _mean_dice(pairs, now, labels)
    for label in labels:
        for kind in STEPS:
            step: Step = {"step": kind, "label": label}
            then = [postprocess(one, [step]) for one in now]
            found = _mean_dice(pairs, then, labels)
            count = _defined(pairs, then, label)
            loss = max((scores[k] - found[k] for k in labels if k != label), default=0.0)
            loss = max(0.0, float(np.nan_to_num(loss)))
            chosen = bool(found[label] - scores[label] >= LEAST_GAIN) and loss == 0.0
            trials.append(
                Trial(
                    step=step,
                    before=scores[label],
                    after=found[label],
                    others=loss,
                    cases=count,
                    chosen=chosen,
                )
            )
            if chosen:
                steps.append(step)
                now, scores = then, found
    return steps, trials


def _keep_largest(labels: Array, label: int) -> None:
    """Make all but the largest piece of a label background; pieces touch by a corner at least."""
    box = _box(labels == label)
    if box is None:
        return
    inside = labels[box]
    pieces = Pieces(lambda rows: inside[rows] == label, inside.shape, corners=True)
    if len(pieces.sizes) > 2:
        largest = 1 + int(pieces.sizes[1:].argmax())
        for rows, piece in pieces:
            inside[rows][(piece != 0) & (piece != largest)] = 0


def _fill_holes(labels: Array, label: int) -> None:
    """Give background that a label encloses on all sides to the label.

    A hole is a piece of what is not the label that does not reach the border of the image,
    neighbours sharing a face. Other labels inside stay.
    """
    box = _box(labels == label)
    if box is None:
        return
    inside = labels[box]
    pieces = Pieces(lambda rows: inside[rows] != label, inside.shape, corners=False)
    if pieces.enclosed.any():
        for rows, piece in pieces:
            inside[rows][pieces.enclosed[piece] & (inside[rows] == 0)] = label


def _box(where: Array) -> tuple[slice, ...] | None:
    """Smallest box around what is true; None where nothing is."""
    spans = []
    for axis in range(where.ndim):
        line = np.flatnonzero(where.any(axis=tuple(a for a in range(where.ndim) if a != axis)))
        if not line.size:
            return None
        spans.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(spans)


def _dice(truth: Array, prediction: Array, label: int) -> float:
    """Dice of one label where the truth is known; NaN where neither mask has it."""
    known = truth >= 0
    wanted, found = (truth == label) & known, (prediction == label) & known
    total = int(wanted.sum()) + int(found.sum())
    return 2.0 * int((wanted & found).sum()) / total if total else float("nan")


def _mean_dice(
    pairs: Sequence[tuple[Array, Array]], predictions: Sequence[Array], labels: Iterable[int]
) -> dict[int, float]:
    """Mean over cases per label; a case that neither mask has the label in counts as 1.

    So a step that takes away false marks in a case without the label is rewarded, and the mean is
    over the same cases before and after.
    """
    means = {}
    for label in labels:
        each = [_dice(t, p, label) for (t, _), p in zip(pairs, predictions, strict=True)]
        means[label] = float(np.nan_to_num(each, nan=1.0).mean())
    return means


def _defined(pairs: Sequence[tuple[Array, Array]], predictions: Sequence[Array], label: int) -> int:
    """Cases in which one of the masks has the label."""
    each = [_dice(t, p, label) for (t, _), p in zip(pairs, predictions, strict=True)]
    return int(np.isfinite(each).sum())


def _pairs(truths: Iterable[Array], predictions: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    missing: Any = object()
    index = -1
    for index, (truth, found) in enumerate(zip_longest(truths, predictions, fillvalue=missing)):
        if truth is missing or found is missing:
            fewer, more = ("true", "predicted") if truth is missing else ("predicted", "true")
            raise InferenceError(
                f"{index} {fewer} masks and more {more} ones; give one of each per case"
            )
        prediction = _checked(found)
        if truth.shape != prediction.shape:
            raise InferenceError(
                f"case {index}: the truth has shape {truth.shape}, the prediction "
                f"{prediction.shape}; compare them on one grid"
            )
        yield truth, prediction
    if index < 0:
        raise InferenceError("0 true and 0 predicted masks; give one of each per case")


def _cropped(truth: Array, prediction: Array) -> tuple[Array, Array]:
    """The box that holds all foreground, copied: no step and no Dice looks outside it."""
    box = _box((truth > 0) | (prediction > 0)) or (slice(0, 1),) * truth.ndim
    return truth[box].copy(), prediction[box].copy()


def _checked(labels: Array) -> Array:
    if labels.dtype.kind not in "iu" or labels.ndim not in (2, 3):
        raise InferenceError(
            f"labels of type {labels.dtype} and shape {labels.shape}; give integers (D, H, W) or "
            "(H, W)"
        )
    return labels


def _read(step: Mapping[str, Any]) -> tuple[str, int]:
    kind, label = step.get("step"), step.get("label")
    if kind not in STEPS:
        raise InferenceError(f"unknown step {kind!r}; choose from {', '.join(STEPS)}")
    if not isinstance(label, int) or label < 1:
        raise InferenceError(f"label {label!r} of step {kind!r} must be a class of 1 or more")
    return kind, label

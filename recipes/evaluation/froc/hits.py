"""When a candidate hits a lesion: rules that a result names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

Array = npt.NDArray[np.float64]
Rule = Literal["radius", "distance", "centre_in_box", "iou", "centre_or_iou"]
_LIMITED = ("distance", "iou", "centre_or_iou")


@dataclass(frozen=True)
class HitRule:
    """A rule and its figure.

    Attributes:
        rule: ``radius``: the candidate's centre is nearer to the lesion's than its radius, strictly
            (LUNA16, Setio et al. 2017, doi:10.1016/j.media.2017.06.015); ``distance``: nearer than
            `limit`, strictly; ``centre_in_box``: the candidate's centre is in the lesion's box,
            borders included; ``iou``: intersection over union of the boxes is at least `limit`;
            ``centre_or_iou``: either of the last two.
        limit: Distance (the unit of the coordinates) or IoU; the other rules have none.
    """

    rule: Rule = "radius"
    limit: float | None = None

    def __post_init__(self) -> None:
        """Check the rule and its figure.

        Raises:
            RecipeError: An unknown rule, or a limit that is missing, unwanted or out of range.
        """
        if self.rule not in get_args(Rule):
            raise RecipeError(
                f"hit rule {self.rule!r} is unknown; give one of {', '.join(get_args(Rule))}"
            )
        wants = self.rule in _LIMITED
        if wants != (self.limit is not None):
            raise RecipeError(f"hit rule {self.rule!r} wants {'a' if wants else 'no'} limit")
        if self.limit is not None and not 0 < self.limit <= (
            np.inf if self.rule == "distance" else 1
        ):
            raise RecipeError(f"hit rule {self.rule!r}: limit={self.limit!r} is out of range")

    def __str__(self) -> str:
        """In words, for results and pages."""
        return {
            "radius": "centre nearer than the lesion's radius",
            "distance": f"centres nearer than {self.limit:g}" if self.limit else "",
            "centre_in_box": "centre in the lesion's box",
            "iou": f"IoU of at least {self.limit:g}" if self.limit else "",
            "centre_or_iou": f"centre in the lesion's box, or IoU of at least {self.limit:g}"
            if self.limit
            else "",
        }[self.rule]


def hit_matrix(
    rule: HitRule,
    centres: Array,
    candidates: Array,
    *,
    radii: Array | None = None,
    boxes: Array | None = None,
    candidate_boxes: Array | None = None,
) -> npt.NDArray[np.bool_]:
    """Which candidate hits which lesion of one image.

    Args:
        rule: The rule.
        centres: Lesions' centres, shape (L, D), in mm or pixels.
        candidates: Candidates' centres, shape (N, D).
        radii: Lesions' radii, shape (L,), for ``radius``.
        boxes: Lesions' boxes, lowest corner then highest, shape (L, 2 D), for the box rules.
        candidate_boxes: The same of the candidates, shape (N, 2 D), for ``iou``.

    Returns:
        Shape (L, N).

    Raises:
        RecipeError: What the rule needs is missing.
    """
    if rule.rule in ("radius", "distance"):
        reach = radii if rule.rule == "radius" else np.full(len(centres), rule.limit)
        if reach is None:
            raise RecipeError("hit rule 'radius' wants the lesions' radii")
        squared = ((centres[:, None] - candidates[None]) ** 2).sum(axis=-1)
        return np.asarray(squared < reach[:, None] ** 2)
    if boxes is None:
        raise RecipeError(f"hit rule {rule.rule!r} wants the lesions' boxes")
    axes = candidates.shape[1]
    low, high = boxes[:, None, :axes], boxes[:, None, axes:]
    inside = ((candidates[None] >= low) & (candidates[None] <= high)).all(axis=-1)
    if rule.rule == "centre_in_box":
        return np.asarray(inside)
    if candidate_boxes is None or rule.limit is None:
        raise RecipeError(f"hit rule {rule.rule!r} wants the candidates' boxes")
    overlap = box_iou(boxes, candidate_boxes) >= rule.limit
    return np.asarray(overlap | inside if rule.rule == "centre_or_iou" else overlap)


def box_iou(first: Array, second: Array) -> Array:
    """Intersection over union of boxes of any number of axes; 0 where both are empty.

    Args:
        first: Lowest corner then highest (exclusive), shape (L, 2 D).
        second: Shape (N, 2 D).

    Returns:
        Shape (L, N), 0 to 1.
    """
    axes = first.shape[1] // 2
    low = np.maximum(first[:, None, :axes], second[None, :, :axes])
    high = np.minimum(first[:, None, axes:], second[None, :, axes:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    sizes = [np.clip(one[:, axes:] - one[:, :axes], 0, None).prod(axis=-1)
             for one in (first, second)]  # fmt: skip
    union = sizes[0][:, None] + sizes[1][None] - both
    return np.asarray(np.divide(both, union, out=np.zeros_like(both), where=union > 0))

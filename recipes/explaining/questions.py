"""What is asked of a network about a case, in the same form for every recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_adapters.case import Case
from data_adapters.errors import nearest
from recipes.detection.truth import marks_of
from recipes.explaining.errors import ExplainError
from recipes.explaining.network import Array, Explained, Floats

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Question:
    """One score of one case.

    Attributes:
        name: Short and unique within the case: the class, or ``candidate-1``.
        label: The class.
        text: What is explained, as a sentence's end.
        image: The network's input, ``(*grid, channels)``.
        weights: The score as a weighted sum of the network's output, ``(*output_shape)``.
        baseline: What stands for an empty image, like ``image``.
        picture: What maps are drawn on: a case whose grid is that of ``back``'s result.
        planes: Whether the picture's channels are three planes of a volume.
        back: From a map on the network's grid to one on the picture's.
        focus: On the network's grid, above 0 where the score is taken from: there the planes of a
            volume are shown; None: through the highest place of the first map.
        truth: Takes a mask on the case's own grid to the picture's; None where there is no way.
        facts: Further figures for the table.
        network: The network that is asked, where it is not the run's one: one for another size.
        local: Whether the score is taken at one place, so that class activation maps weigh every
            value by its own gradient (`recipes.explaining.cam`).
        region: On the picture's grid, what the score is of: the box of a candidate.
    """

    name: str
    label: str
    text: str
    image: Floats
    weights: Floats
    baseline: Floats
    picture: Case
    planes: bool
    back: Callable[[Array], Array]
    truth: Callable[[Mask], Mask] | None
    facts: Mapping[str, float] = field(default_factory=dict)
    focus: Floats | None = None
    network: Explained | None = None
    local: bool = False
    region: Mask | None = None


class Asker(Protocol):
    """A finished run that can be asked; each recipe has one under ``explaining:load``."""

    network: Explained
    class_names: Sequence[str]
    backbone: str | None
    sha256: str
    remarks: Sequence[str]

    def ask(self, case: Case, *, label: str | None, most: int) -> list[Question]:
        """Questions about a case.

        Args:
            case: Any case; its truth is not looked at.
            label: The class to explain; None for what the network finds.
            most: Questions at most, where there are several (candidates).

        Returns:
            None where the network finds nothing to explain.
        """

    def inputs(self, case: Case) -> tuple[Floats, Case, bool]:
        """A network input of a case, the picture of it on the same grid, and whether its channels
        are planes of a volume."""


def check_label(label: str | None, class_names: Sequence[str]) -> None:
    """Refuse a class that the network does not know.

    Raises:
        ExplainError: With the classes that it knows.
    """
    if label is not None and label not in class_names:
        raise ExplainError(
            f"--class {label!r} is no class of this run{nearest(label, class_names)}; classes: "
            f"{', '.join(class_names)}"
        )


def truth_mask(case: Case, *, task: str, class_names: Sequence[str], label: str) -> Mask | None:
    """Where a class is, on a case's own grid: inside its boxes, or its mask.

    Args:
        case: The case with its truth.
        task: Of the data: ``detection`` or ``segmentation``.
        class_names: Of the data.
        label: The class.

    Returns:
        A mask, empty where the case has none of it; None where the data do not know the class or
        the case has no truth.
    """
    if label not in class_names:
        return None
    k, grid = list(class_names).index(label), case.image.shape[:-1]
    if task == "detection":
        marks = marks_of(case)
        found = np.zeros(grid, bool)
        for box in marks.boxes[marks.labels == k]:
            found[inside(box, grid)] = True
        return found
    if case.masks is not None:
        return np.asarray(case.masks[..., k - 1] > 0.5)
    return None if case.mask is None else np.asarray(case.mask == k)


def inside(box: Sequence[float] | Array, grid: Sequence[int]) -> tuple[slice, ...]:
    """Voxels whose centre lies inside a box, at least one along each axis.

    Args:
        box: Lowest faces then highest, in voxels, voxel i reaching from i to i + 1.
        grid: Sides of the image.
    """
    axes = len(grid)
    slices = []
    for low, high, n in zip(box[:axes], box[axes:], grid, strict=True):
        first = int(np.clip(np.ceil(low - 0.5), 0, n - 1))
        slices.append(slice(first, int(np.clip(np.ceil(high - 0.5), first + 1, n))))
    return tuple(slices)

"""Several steps in a row, and the way back from what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case
from data_adapters.errors import DataError
from data_adapters.transforms import guides, intensity, layout, resample  # noqa: F401 (register)
from data_adapters.transforms.base import STEPS as STEPS
from data_adapters.transforms.base import Step, Undo, step_from_dict

Array = NDArray[Any]


@dataclass(frozen=True)
class Compose:
    """Steps in a row.

    Attributes:
        steps: The steps, first first.
    """

    steps: tuple[Step, ...] = ()

    @classmethod
    def from_dicts(cls, steps: Sequence[Mapping[str, Any]]) -> Compose:
        """The steps that JSON dicts describe.

        Raises:
            DataError: A step or option that is unknown or does not fit.
        """
        return cls(tuple(step_from_dict(step) for step in steps))

    def to_dicts(self) -> list[dict[str, Any]]:
        """The steps as JSON, every option written out."""
        return [step.to_dict() for step in self.steps]

    def apply(self, case: Case) -> tuple[Case, tuple[Undo, ...]]:
        """Run the steps.

        Args:
            case: Any case; it is not changed.

        Returns:
            The case after all steps, and what `invert_mask` and `invert_probabilities` need.

        Raises:
            DataError: A step does not fit the case.
        """
        undos = []
        for step in self.steps:
            case, undo = step.apply(case)
            undos.append(undo)
        return case, tuple(undos)


def invert_mask(mask: Array, undos: Sequence[Undo]) -> Array:
    """A predicted label map on the original grid.

    Args:
        mask: Integer classes on the grid that the steps made.
        undos: Their records, as `Compose.apply` gives them.

    Returns:
        Classes on the grid of the case that was put in: its shape exactly, 0 where the steps cut
        something away. Its geometry is the case's own.

    Raises:
        DataError: The mask lies on another grid.
    """
    for undo in reversed(undos):
        _check_shape(mask.shape, undo)
        mask = undo.step.back_mask(mask, undo)
    return mask


def invert_probabilities(
    values: Array, undos: Sequence[Undo], *, background: int | None = 0
) -> Array:
    """Predicted probabilities on the original grid; take the arg-max (or threshold) afterwards.

    Args:
        values: (..., K) on the grid that the steps made.
        undos: Their records, as `Compose.apply` gives them.
        background: Class that is certain where the steps cut something away; None where the
            classes are independent of each other and all are 0 there.

    Returns:
        (..., K) float32 on the grid of the case that was put in.

    Raises:
        DataError: The values lie on another grid, or there is no such class.
    """
    outside = np.zeros(values.shape[-1], np.float32)
    if background is not None:
        if not 0 <= background < len(outside):
            raise DataError(f"background={background} is none of {len(outside)} classes")
        outside[background] = 1.0
    values = values.astype(np.float32, copy=False)
    for undo in reversed(undos):
        _check_shape(values.shape[:-1], undo)
        values = undo.step.back_probabilities(values, undo, outside)
    return values


def _check_shape(shape: tuple[int, ...], undo: Undo) -> None:
    if shape != undo.after.shape:
        raise DataError(
            f"a prediction of {shape} voxels on a grid of {undo.after.shape}, "
            f"which step {undo.step.name!r} made"
        )

"""What every step from a case to a training array is: data, with a way there and a way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case, Geometry
from data_adapters.errors import DataError, nearest
from data_adapters.transforms.grids import Grid

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Undo:
    """What a step needs to bring a prediction back.

    Attributes:
        step: The step.
        before: The grid it was given.
        after: The grid it made.
        facts: What it found out about the case, such as a mean or a box.
    """

    step: Step
    before: Grid
    after: Grid
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON."""
        return {
            "step": self.step.to_dict(),
            "before": _plain_grid(self.before),
            "after": _plain_grid(self.after),
            "facts": {name: _plain(value) for name, value in self.facts.items()},
        }


def undo_from_dict(record: Mapping[str, Any], step: Step) -> Undo:
    """The inverse of `Undo.to_dict`, for a step made of the record's own."""
    before, after = (_frozen_grid(record[name]) for name in ("before", "after"))
    facts = {name: _frozen(value) for name, value in record["facts"].items()}
    return Undo(step, before, after, facts)


@dataclass(frozen=True)
class Step:
    """One step; a subclass stores its options, which are all there is to it.

    `apply` gives a new case and never changes the one it was given.
    """

    name: ClassVar[str] = ""

    def apply(self, case: Case) -> tuple[Case, Undo]:
        """The case after the step, and how to come back."""
        raise NotImplementedError

    def back_mask(self, mask: Array, undo: Undo) -> Array:
        """Integer classes (grid) on the grid before the step; here the grid did not change."""
        return mask

    def back_probabilities(self, values: Array, undo: Undo, outside: Array) -> Array:
        """(grid, K) float32 on the grid before the step; here the grid did not change.

        Args:
            values: On the grid after the step.
            undo: The step's record.
            outside: (K,) what a voxel that the step cut away gets.
        """
        return values

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON, every option written out."""
        options = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return {"step": self.name, **options}


STEPS: dict[str, type[Step]] = {}


def register_step(cls: type[Step]) -> type[Step]:
    """Enrol a step under its name, as a decorator.

    Raises:
        DataError: The name is taken.
    """
    if STEPS.setdefault(cls.name, cls) is not cls:
        raise DataError(f"a step named {cls.name!r} is registered already")
    return cls


def step_from_dict(step: Mapping[str, Any]) -> Step:
    """The step that a JSON dict describes, the inverse of `Step.to_dict`.

    Raises:
        DataError: An unknown step, or an option that is unknown or does not fit.
    """
    name = step.get("step")
    if not isinstance(name, str) or name not in STEPS:
        raise DataError(f"unknown step {name!r}{nearest(str(name), STEPS)}")
    cls = STEPS[name]
    known = [f.name for f in fields(cls)]
    for key in step:
        if key != "step" and key not in known:
            raise DataError(f"step {name!r} has no option {key!r}{nearest(str(key), known)}")
    options = {key: _frozen(value) for key, value in step.items() if key != "step"}
    try:
        return cls(**options)
    except TypeError:
        raise DataError(f"step {name!r} wants options {', '.join(known)}") from None


def grid_of(case: Case) -> Grid:
    """Where the voxels of a case lie."""
    return Grid(tuple(int(n) for n in case.image.shape[:-1]), case.geometry)


def each_part(case: Case, change: Callable[[Array, Any], Array], fill: Any) -> Case:
    """A case whose image, mask, masks and padding went through one change of grid.

    Args:
        case: Any case.
        change: Takes an array whose first axes are the grid's, and what a voxel outside gets.
        fill: That value for the image.
    """
    return replace(
        case,
        image=change(case.image, fill),
        mask=None if case.mask is None else change(case.mask, 0),
        masks=None if case.masks is None else change(case.masks, 0),
        padding=None if case.padding is None else change(case.padding, True),
    )


def check_choice(step: str, option: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Refuse an option that is none of its choices.

    Raises:
        DataError: It is none of them.
    """
    if value not in choices:
        raise DataError(f"step {step!r}: {option}={value!r} must be one of {choices}")


def check_numbers(step: str, option: str, values: Any, *, positive: bool = False) -> None:
    """Refuse an option that is no tuple of finite (positive) numbers.

    Raises:
        DataError: It is not.
    """
    fine = isinstance(values, tuple) and all(
        isinstance(v, int | float)
        and not isinstance(v, bool)
        and np.isfinite(v)
        and (v > 0 or not positive)
        for v in values
    )
    if not fine:
        kind = "positive numbers" if positive else "numbers"
        raise DataError(f"step {step!r}: {option}={values!r} must be {kind}")


def _plain_grid(grid: Grid) -> dict[str, Any]:
    geometry = None if grid.geometry is None else asdict(grid.geometry)
    if geometry is not None:
        geometry = {name: _plain(value) for name, value in geometry.items()}
    return {"shape": list(grid.shape), "geometry": geometry}


def _frozen_grid(grid: Mapping[str, Any]) -> Grid:
    facts = grid["geometry"]
    geometry = None if facts is None else Geometry(**{n: _frozen(v) for n, v in facts.items()})
    return Grid(tuple(grid["shape"]), geometry)


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, tuple | list) else value

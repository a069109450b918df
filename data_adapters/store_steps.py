"""What a store does to a case, and how the way back is kept: steps and their records as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from data_adapters.case import Case, Geometry
from data_adapters.chain import apply_chain
from data_adapters.errors import DataError
from data_adapters.store_cases import plain, tuples
from data_adapters.transforms.base import STEPS, Undo, step_from_dict
from data_adapters.transforms.compose import Compose
from data_adapters.transforms.grids import Grid

Apply = Callable[[Case, Sequence[Any]], "Case | tuple[Case, Sequence[Mapping[str, Any]]]"]


def run_steps(case: Case, steps: Sequence[Any]) -> tuple[Case, list[dict[str, Any]]]:
    """Run steps of `transforms.Compose`, or else of `chain.apply_chain`, on a case.

    Args:
        case: Any case.
        steps: JSON dicts of either kind; none leave the case as it is.

    Returns:
        The case after the steps, and one record per step that can be undone.

    Raises:
        DataError: A step is unknown or does not fit, or a chain of pictures meets a case with masks
            or lesions, which it would not move.
    """
    names = [step.get("step") if isinstance(step, Mapping) else None for step in steps]
    if all(name in STEPS for name in names):
        done, undos = Compose.from_dicts(steps).apply(case)
        return done, [undo_to_dict(undo) for undo in undos]
    if any(name in STEPS for name in names):
        raise DataError("steps of volumes and of pictures cannot be mixed in one store")
    if case.mask is not None or case.masks is not None or case.lesions:
        raise DataError(
            "the chain of pictures does not move masks and lesions; use steps of "
            f"data_adapters.transforms: {', '.join(sorted(STEPS))}"
        )
    return replace(case, image=apply_chain(case.image, steps), padding=None, geometry=None), []


def undo_to_dict(undo: Undo) -> dict[str, Any]:
    """A step's record as JSON."""
    return {
        "step": undo.step.to_dict(),
        "before": _grid_to_dict(undo.before),
        "after": _grid_to_dict(undo.after),
        "facts": plain(undo.facts),
    }


def undo_from_dict(content: Mapping[str, Any]) -> Undo:
    """The record that `undo_to_dict` wrote."""
    return Undo(
        step_from_dict(content["step"]),
        _grid_from_dict(content["before"]),
        _grid_from_dict(content["after"]),
        tuples(content["facts"]),
    )


def _grid_to_dict(grid: Grid) -> dict[str, Any]:
    geometry = None if grid.geometry is None else plain(asdict(grid.geometry))
    return {"shape": list(grid.shape), "geometry": geometry}


def _grid_from_dict(content: Mapping[str, Any]) -> Grid:
    geometry = content["geometry"]
    place = None if geometry is None else Geometry(**tuples(geometry))
    return Grid(tuple(content["shape"]), place)

"""A case as facts and arrays, and back: what of a `Case` a store keeps, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case, Display, Geometry, Lesion
from data_adapters.errors import DataError

Array = NDArray[Any]
ARRAYS = ("image", "mask", "masks", "padding")


def case_arrays(case: Case) -> dict[str, Array]:
    """The arrays of a case by name, those that it has."""
    found = {name: getattr(case, name) for name in ARRAYS}
    return {name: np.asarray(array) for name, array in found.items() if array is not None}


def case_facts(case: Case) -> dict[str, Any]:
    """Everything else about a case, JSON-able.

    Raises:
        DataError: `meta` holds what JSON does not.
    """
    return {
        "case_id": case.case_id,
        "patient_id": case.patient_id,
        "label": case.label,
        "labels": None if case.labels is None else [float(value) for value in case.labels],
        "lesions": [plain(asdict(lesion)) for lesion in case.lesions],
        "geometry": None if case.geometry is None else plain(asdict(case.geometry)),
        "display": plain(asdict(case.display)),
        "meta": plain(case.meta),
    }


def make_case(facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> Case:
    """The case of these facts and arrays; lists in `meta` come back as tuples."""
    labels, geometry = facts["labels"], facts["geometry"]
    return Case(
        image=arrays["image"],
        case_id=facts["case_id"],
        patient_id=facts["patient_id"],
        label=facts["label"],
        labels=None if labels is None else np.array(labels, np.float32),
        mask=arrays.get("mask"),
        masks=arrays.get("masks"),
        lesions=tuple(Lesion(**tuples(lesion)) for lesion in facts["lesions"]),
        padding=arrays.get("padding"),
        geometry=None if geometry is None else Geometry(**tuples(geometry)),
        display=Display(**tuples(facts["display"])),
        meta=tuples(facts["meta"]),
    )


def plain(value: Any) -> Any:
    """A value as JSON writes it: numpy's numbers and arrays as plain ones."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise DataError(f"meta holds a {type(value).__name__}, which a store cannot keep")


def tuples(value: Any) -> Any:
    """A value read from JSON with tuples for its lists."""
    if isinstance(value, dict):
        return {key: tuples(entry) for key, entry in value.items()}
    return tuple(tuples(entry) for entry in value) if isinstance(value, list) else value

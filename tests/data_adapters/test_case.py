"""The case and its check."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from data_adapters.case import Case, check_case
from data_adapters.errors import CaseError, DataError, nearest


def good(**changes: object) -> Case:
    return dataclasses.replace(Case(np.zeros((4, 5, 1), np.uint8), "c1"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 5, 3), (2, 4, 5, 1)])
def test_pictures_and_volumes_pass(shape: tuple[int, ...], dtype: type) -> None:
    check_case(good(image=np.zeros(shape, dtype), mask=np.zeros(shape[:-1], np.int16)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": np.zeros((4, 5), np.uint8)}, "shape"),
        ({"image": np.zeros((0, 5, 1), np.uint8)}, "no pixels"),
        ({"image": np.zeros((4, 5, 1), np.float64)}, "float64"),
        ({"image": np.full((4, 5, 1), np.nan, np.float32)}, "not finite"),
        ({"mask": np.zeros((5, 4), np.int16)}, "mask"),
        ({"padding": np.zeros((4, 5, 1), bool)}, "padding"),
        ({"masks": np.zeros((3, 5, 2), np.float32)}, "masks"),
        ({"label": 1, "labels": np.zeros(2, np.float32)}, "both"),
    ],
)
def test_what_breaks_the_contract_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_case(good(**changes))


def test_a_case_is_frozen_and_compares_by_identity() -> None:
    case = good()
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.label = 1  # type: ignore[misc]
    assert case == case
    assert case != good()
    assert len({case, good()}) == 2


def test_a_case_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(CaseError("c1", "bomb", "too large")))
    assert (error.case_id, error.kind, error.message) == ("c1", "bomb", "too large")
    assert str(error) == "case c1: too large"


def test_nearest_names_the_close_one_or_all() -> None:
    assert nearest("Lable", ["label", "path"]) == "; did you mean 'label'?"
    assert nearest("pateint", ["Patient"]) == "; did you mean 'Patient'?"
    assert nearest("xyz", ["label", "path"]) == "; known: 'label', 'path'"
    assert nearest("xyz", []) == ""

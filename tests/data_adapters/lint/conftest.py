"""What the tests of linting share."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_adapters.phantom_sets import phantom_classification_set


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean table of DICOM slices, one of each of 33 patients; not to be changed."""
    return phantom_classification_set(
        tmp_path_factory.mktemp("phantoms"),
        n_patients=33,
        slices_per_patient=(1, 1),
        size=40,
        binary=True,
        seed=3,
    )

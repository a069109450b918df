"""Importing the package loads nothing heavy, and every public name is there when asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import data_adapters
import data_adapters.lint
import data_adapters.transforms

HEAVY = frozenset(
    ("numpy", "pandas", "tensorflow", "keras", "pydantic", "PIL", "cv2", "scipy", "pydicom")
)


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import data_adapters",
        "from data_adapters import Adapter, IndexRow, DataError, Case, home",
        "import data_adapters; dir(data_adapters); data_adapters.open",
    ],
)
def test_light_names_load_nothing_heavy(statement: str) -> None:
    assert not loaded_after(statement).intersection(HEAVY)


def test_reading_data_loads_no_tensorflow() -> None:
    loaded = loaded_after("import data_adapters; data_adapters.adapters()")
    assert "data_adapters.medmnist" in loaded
    assert not loaded.intersection({"tensorflow", "keras", "pandas", "cv2"})


@pytest.mark.parametrize("package", [data_adapters, data_adapters.lint, data_adapters.transforms])
def test_every_public_name_resolves(package: Any) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    assert sorted(" ".join(package._NAMES.values()).split()) == sorted(package.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        data_adapters.nonsense  # noqa: B018

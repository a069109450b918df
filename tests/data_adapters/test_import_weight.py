"""Importing the package loads nothing heavy, and every public name is there when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import data_adapters

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


def test_every_public_name_resolves() -> None:
    for name in data_adapters.__all__:
        assert getattr(data_adapters, name) is not None
        assert name in dir(data_adapters)
    assert sorted(data_adapters._MODULE_OF) == sorted(data_adapters.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        data_adapters.nonsense  # noqa: B018

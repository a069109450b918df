"""Fixtures shared by every test package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as recipes.quiet has it
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def radzoo_data() -> Path:
    """Folder of the real data sets; the test skips, saying so, without them."""
    given = os.environ.get("RADZOO_DATA")
    folder = Path(given) if given else CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data sets absent: set RADZOO_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def radzoo_salt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same salt in every session: pseudonyms, and splits with them, can be repeated."""
    salt = tmp_path_factory.getbasetemp() / "radzoo-salt"
    salt.write_text("5a" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADZOO_SALT", str(salt))
        yield


@pytest.fixture(autouse=True)
def radzoo_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache folder for the whole session, never the user's own."""
    home = tmp_path_factory.getbasetemp() / "radzoo-home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("RADZOO_HOME", str(home))
    return home

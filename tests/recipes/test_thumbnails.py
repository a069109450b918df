"""Pictures of cases in the report: only without burned-in text, or confirmed by the user."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters.adapter import IndexRow
from data_adapters.case import Case
from data_adapters.errors import CaseError
from recipes.classification.config import ClassificationConfig
from recipes.classification.fitting import fit
from recipes.classification.thumbnails import NOTES, Pictures, Thumbnails
from recipes.config import load_config
from recipes.errors import RunFolderError
from tests.recipes.tiny import TinyRun


class Headers:
    """An adapter whose cases say YES, NO, nothing, or cannot be read."""

    index = tuple(IndexRow(name) for name in ("yes", "no", "silent", "broken"))

    def __getitem__(self, i: int) -> Case:
        name = self.index[i].case_id
        if name == "broken":
            raise CaseError(name, "corrupt", "no")
        meta = {} if name == "silent" else {"burned_in": name.upper()}
        return Case(np.zeros((4, 4, 1), "uint8"), name, meta=meta)


@dataclass
class Decoded:
    """Grey pictures of rising brightness."""

    images: Any = field(
        default_factory=lambda: np.full((4, 4, 4, 1), 50.0) * np.arange(4)[:, None, None, None]
    )


@dataclass
class Inputs:
    """As much of `Prepared` as thumbnails need."""

    adapter: Any = field(default_factory=Headers)
    decoded: Any = field(default_factory=Decoded)
    input_range: tuple[float, float] = (0.0, 255.0)


@pytest.mark.parametrize(
    ("pictures", "shown"),
    [("auto", {"no"}), ("yes", {"yes", "no", "silent", "broken"}), ("no", set())],
)
def test_what_may_be_shown(pictures: Pictures, shown: set[str]) -> None:
    thumbnails = Thumbnails(Inputs(), pictures)  # type: ignore[arg-type]
    names = [row.case_id for row in Headers.index]
    assert {name for name in names if thumbnails(name) is not None} == shown
    assert thumbnails("unheard of") is None
    picture = thumbnails("no")
    if picture is not None:
        assert picture.shape == (4, 4)
        assert (picture == 50).all()


def test_yes_and_no_are_words_in_yaml_too() -> None:
    for text, word in (("yes", "yes"), ("no", "no"), ("auto", "auto"), ('"yes"', "yes")):
        config = load_config(ClassificationConfig, changes=[f"report.pictures={text}"])
        assert config.report.pictures == word


def test_pictures_can_be_confirmed_after_the_run(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages are written again; nothing that was computed changes."""
    monkeypatch.setenv("RADZOO_HOME", str(tiny_run.out.parent / "home"))
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    computed = ("model.keras", "model.json", "metrics.json", "predictions.csv", "history.csv")
    before = {name: (out / name).read_bytes() for name in computed}
    assert NOTES["auto"][:60] in (out / "report.html").read_text()
    content = tiny_run.config.model_dump() | {"report": {"pictures": "yes"}}
    confirmed = ClassificationConfig.model_validate(content)
    fit(tiny_run.data, out, confirmed)
    page = (out / "report.html").read_text()
    assert NOTES["yes"] in page
    assert NOTES["auto"][:60] not in page
    assert {name: (out / name).read_bytes() for name in computed} == before
    assert "pictures: 'yes'" in (out / "config.yaml").read_text()
    stamp = (out / "report.html").stat().st_mtime_ns
    fit(tiny_run.data, out, confirmed)
    assert (out / "report.html").stat().st_mtime_ns == stamp


def test_pages_are_not_written_again_at_the_price_of_training(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tiny_run.out.parent / "home"))
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out, ignore=shutil.ignore_patterns("checkpoints"))
    content = tiny_run.config.model_dump() | {"report": {"pictures": "no"}}
    with pytest.raises(RunFolderError, match="checkpoints"):
        fit(tiny_run.data, out, ClassificationConfig.model_validate(content))
    fit(tiny_run.data, out, tiny_run.config)
    assert json.loads((out / "run.json").read_text())["finished"]

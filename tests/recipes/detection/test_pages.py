"""The report tells the curve, what was missed and falsely marked, and shows only what it may."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters.adapter import IndexRow
from data_adapters.case import Case, Geometry
from recipes.config import load_config
from recipes.detection.candidates import Found
from recipes.detection.config import DetectionConfig
from recipes.detection.outcomes import outcomes
from recipes.detection.pages import FinishedDetection, write_pages
from recipes.detection.record import DetectionRecord
from recipes.detection.scoring import Scan, hit_rule, score
from recipes.detection.second.bank import Bank
from recipes.detection.truth import Marks
from tests.recipes.report_inputs import NASTY

NAMES = (NASTY, "other")
SECRET = "/mnt/doe_jane/scans/case.nii.gz"


class Cases:
    """Volumes, or pictures, of noise."""

    def __init__(self, volume: bool, burned_in: str | None = None) -> None:
        self.volume, self.burned_in = volume, burned_in
        self.index = tuple(IndexRow(f"c{i}", patient_id=f"p{i // 2}") for i in range(4))

    def __getitem__(self, i: int) -> Case:
        shape = (8, 60, 50, 1) if self.volume else (60, 50, 1)
        image = np.random.default_rng(i).normal(size=shape).astype(np.float32)
        meta = {} if self.burned_in is None else {"burned_in": self.burned_in}
        geometry = Geometry((2.0, 1.0, 1.0)) if self.volume else None
        return Case(image, f"c{i}", geometry=geometry, meta=meta)


def scans(volume: bool) -> list[Scan]:
    """Two lesions in each of three images: one found, one missed; a false mark everywhere."""

    def boxes(places: list[float]) -> Any:
        rows = [[y - 4, 10.0, y + 4, 18.0] for y in places]
        return np.asarray([[2.0, *r[:2], 5.0, *r[2:]] if volume else r for r in rows])

    spacing = np.asarray([2.0, 1.0, 1.0] if volume else [1.0, 1.0])
    axes = len(spacing)
    found = []
    for i in range(4):
        lesions = [12.0, 30.0] if i < 3 else []
        mine = boxes(lesions).reshape(-1, 2 * axes)
        marks = Marks(np.zeros(len(lesions), np.int64), mine, np.full(len(lesions), 4.0))
        box = boxes([12.5, 48.0])
        centres = (box[:, :axes] + box[:, axes:]) / 2 - 0.5
        candidates = Found(np.array([0, 0]), np.array([0.9, 0.4 + i / 10]), centres, box)
        found.append(Scan(i, f"c{i}", f"p{i // 2}", marks, candidates, spacing, (8, 60, 50)))
    return found


def finished(
    *, volume: bool = True, pictures: str = "yes", burned_in: str | None = None
) -> FinishedDetection:
    config = load_config(
        DetectionConfig, changes=["evaluate.n_boot=100", f"report.pictures={pictures}"]
    )
    rule = hit_rule(config.evaluate, volume=volume)
    mine = scans(volume)
    thresholds = (0.45, None)
    figures = score(mine, NAMES, rule, thresholds=thresholds, n_boot=100)
    record = DetectionRecord(
        class_names=NAMES, volume=volume, first_sha256="0", floor=0.02, apart=3.0, most=100,
        core=0.7, rule=rule.rule, limit=rule.limit, per="image", thresholds=thresholds, rate=1.0,
        calibration=(None, None), radius=None, modality="CT", data_hash="0",
        train_ids=(), radzoo="0",
    )  # fmt: skip
    facts = {
        "cases": {"train": 9, "val": 4, "test": 0}, "unit": "patient", "notes": [f"see {SECRET}"],
        "leakage": {"marked": False, "policy": "stop"},
        "schedule": {"total": 600, "rounds": 3},
        "stages": [{"stage": "first stage", "froc": figures["froc"], "cpm": figures["cpm"]}],
        "seconds": {"candidates": 3.0},
    }  # fmt: skip
    adapter: Any = Cases(volume, burned_in)
    return FinishedDetection(config, adapter, "val", mine, figures, record, facts)


@pytest.mark.parametrize("volume", [True, False])
def test_everything_a_reader_needs_is_there(tmp_path: Path, volume: bool) -> None:
    run = finished(volume=volume)
    write_pages(tmp_path, run)
    page = (tmp_path / "report.html").read_text()
    card = (tmp_path / "model_card.md").read_text()
    for text in (page, card):
        assert SECRET not in text
        assert "Research use only" in text
        assert "also chose the weights and the operating point" in text.replace("\n", " ")
    assert "<script" not in page
    assert NASTY not in page, "markup in a class name is escaped"
    assert 'Missed lesions <span class="soft">(3)</span>' in page
    assert 'the highest score first <span class="soft">(4)</span>' in page
    assert 'the lowest score first <span class="soft">(3)</span>' in page
    assert page.count("data:image/png") == 10
    assert "first/report.html" in page
    assert "radzoo detect fit DATA --out RUN" in page
    assert "train.steps=600" in page
    value = run.metrics["classes"][NASTY]["froc"]["1"]["value"]
    assert f"<b>{value:.3f}</b>" in page
    assert f"{value:.3f}" in card


def test_patches_are_laid_out_where_pictures_may_be_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in ((20, 16, 16, 1), (20, 16, 16, 3), (20, 8, 8, 8, 1)):
        images = rng.integers(0, 255, shape).astype(np.uint8)
        atlas = Bank(images, np.repeat([0, 1], 10))
        write_pages(tmp_path, replace(finished(), atlas=atlas))
        page = (tmp_path / "report.html").read_text()
        assert "Patches that the second stage learnt from" in page
        assert "<h3>No lesion</h3>" in page
        write_pages(tmp_path, replace(finished(pictures="auto"), atlas=atlas))
        assert "learnt from</h2>" not in (tmp_path / "report.html").read_text()


def test_outcomes_at_the_operating_point() -> None:
    run = finished()
    found = list(outcomes(run.scans, run.record.hits(), run.record.thresholds))
    kinds = [(o.scan.case_id, o.kind, o.lesion, o.candidate) for o in found if o.scan.row < 2]
    assert kinds == [
        ("c0", "hit", 0, 0), ("c0", "miss", 1, None),
        ("c1", "hit", 0, 0), ("c1", "miss", 1, None), ("c1", "false", None, 1),
    ]  # fmt: skip
    none = list(outcomes(run.scans, run.record.hits(), (None, None)))
    assert {o.kind for o in none} == {"miss"}
    late = next(o for o in none if o.lesion == 0)
    assert late.score == pytest.approx(0.9), "the candidate that would have hit"


@pytest.mark.parametrize(
    ("pictures", "burned_in", "shown"),
    [("auto", None, False), ("auto", "NO", True), ("auto", "YES", False), ("no", "NO", False)],
)
def test_pictures_are_shown_only_where_that_is_safe(
    tmp_path: Path, pictures: str, burned_in: str | None, shown: bool
) -> None:
    write_pages(tmp_path, finished(pictures=pictures, burned_in=burned_in))
    assert ("data:image/png" in (tmp_path / "report.html").read_text()) is shown


def test_a_part_without_lesions_has_a_page(tmp_path: Path) -> None:
    run = finished()
    empty = [replace(s, lesions=Marks(np.empty(0, np.int64), np.empty((0, 6)), np.empty(0)))
             for s in run.scans]  # fmt: skip
    figures = score(empty, NAMES, run.record.hits(), thresholds=(0.45, None), n_boot=100)
    write_pages(tmp_path, replace(run, scans=empty, metrics=figures))
    assert "There is no lesion in this part" in (tmp_path / "report.html").read_text()
    assert figures["cpm"]["value"] is None


@pytest.mark.slow
def test_other_settings_of_the_report_write_it_again_without_training(
    tiny_detection: Any, tmp_path: Path
) -> None:
    import shutil

    from recipes.detection.fitting import fit

    run = tmp_path / "run"
    shutil.copytree(tiny_detection.out, run)
    before = (run / "first" / "model.keras").stat().st_mtime_ns
    page = (run / "report.html").read_text()
    assert "data:image/png" not in page
    assert "(report)</title>" in page
    shown = tiny_detection.config.model_copy(
        update={"report": tiny_detection.config.report.model_copy(update={"pictures": "yes"})}
    )
    fit(tiny_detection.data, run, shown)
    assert "data:image/png" in (run / "report.html").read_text()
    assert (run / "first" / "model.keras").stat().st_mtime_ns == before
    figures = json.loads((run / "metrics.json").read_text())["metrics"]
    kept = json.loads((tiny_detection.out / "metrics.json").read_text())["metrics"]
    assert figures == kept

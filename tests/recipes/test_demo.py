"""The demo: phantoms as DICOM, the packaged ImageNet weights, a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes import demo


@pytest.mark.slow
def test_demo_goes_from_dicom_to_a_report_and_repeats(tmp_path: Path) -> None:
    changes = ("data.image_size=32", "train.head.epochs=2", "train.finetune.epochs=1",
               "evaluate.n_boot=100")  # fmt: skip
    out = tmp_path / "demo"
    report = demo.run(out, patients=24, changes=changes)
    assert report.exists()
    assert list((tmp_path / "demo-phantoms").rglob("*.dcm"))
    content = json.loads((out / "metrics.json").read_text())
    assert content["unit"] == "patient"
    assert content["part"] == "test"
    record = json.loads((out / "model.json").read_text())
    assert record["modality"] == "CT"
    assert record["input_range"] == [-160.0, 240.0]
    before = (out / "model.keras").stat().st_mtime_ns
    assert demo.run(out, patients=24, changes=changes) == report
    assert (out / "model.keras").stat().st_mtime_ns == before

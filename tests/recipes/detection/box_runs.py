"""Detectors of boxes with drawn weights, in memory and as run folders, without a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.config import load_config, to_yaml
from recipes.detection.boxes.finder import BoxFinder, BoxRecord
from recipes.detection.boxes.windows import Windows
from recipes.detection.config import DetectionConfig
from recipes.detection.detector import Detector
from recipes.detection.record import DetectionRecord
from recipes.engine.modelfile import save_model, save_record
from recipes.segmentation.segmenter import record_sha256
from tests.recipes.explaining.nets import drawn
from tests.recipes.tiny_backbone import NAME, register
from zoo.boxes import create_box_detector

CLASSES = ("disc", "ring")


def box_detector(
    patch: tuple[int, ...],
    *,
    channels: int = 1,
    chain: tuple[dict[str, Any], ...] = (),
    mirrors: tuple[int, ...] = (),
    whole: bool = False,
    seed: int = 0,
) -> Detector:
    """A detector of boxes whose weights are large enough for a signal to survive."""
    register()
    model = create_box_detector(
        NAME, input_shape=(*patch, channels), classes=len(CLASSES), levels=("P2", "P3"), width=8,
        weights=None, dims=len(patch),
    )  # fmt: skip
    drawn(model, seed)
    first = BoxRecord(
        class_names=CLASSES, axes=len(patch), volume=len(patch) == 3, channels=channels,
        patch=patch, chain=chain, overlap=0.5, iou=0.3, mirrors=mirrors, whole=whole,
        modality=None, data_hash="0", train_ids=(), model_sha256="0", radzoo="0",
    )  # fmt: skip
    record = DetectionRecord(
        class_names=CLASSES, volume=first.volume, way="boxes", first_sha256="0", floor=0.02,
        apart=1.0, most=100, core=1.0, rule="centre_in_box", limit=None, per="image",
        thresholds=(0.9, None), rate=1.0, calibration=(None, None), radius=None, modality=None,
        data_hash="0", train_ids=(), radzoo="0",
    )  # fmt: skip
    windows = Windows(model, len(CLASSES), overlap=first.overlap, iou=first.iou, whole=whole)
    return Detector(BoxFinder(windows, first), record)


def write_run(detector: Detector, folder: Path) -> Path:
    """The detector as a finished run has it."""
    assert isinstance(detector.first, BoxFinder)
    first = folder / "first"
    first.mkdir(parents=True)
    sha256 = save_model(detector.first.windows.own.model, first)
    save_record(detector.first.record.model_copy(update={"model_sha256": sha256}), first)
    record = detector.record.model_copy(update={"first_sha256": record_sha256(first)})
    save_record(record, folder)
    changes = ["way=boxes", f"model.backbone={NAME}", "boxes.levels=[P2,P3]", "boxes.width=8"]
    (folder / "config.yaml").write_text(to_yaml(load_config(DetectionConfig, changes=changes)))
    return folder

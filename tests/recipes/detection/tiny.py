"""One tiny detection run for the whole session: tests of a finished run share it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recipes.config import load_config
from recipes.detection.config import DetectionConfig
from tests.recipes.tiny_backbone import NAME, register, write_weights
from tests.shared_runs import shared_run

TINY = (
    "model.network=unet",
    "plan.width=8",
    "plan.patch=[48,48]",
    "plan.batch=4",
    "train.steps=90",
    "train.rounds=2",
    "train.learning_rate=0.02",
    "train.ema=null",
    "augment.strength=none",
    "evaluate.n_boot=100",
    "model.deep_supervision=false",
    "second.patches=auto",
    f"second.backbone={NAME}",
    "second.side=32",
    "second.epochs=2",
)


@dataclass(frozen=True)
class TinyDetection:
    """A finished run, its data and its configuration."""

    data: Path
    out: Path
    config: DetectionConfig


def write_discs(folder: Path, *, parts: dict[str, int], seed: int = 0, lone: bool = False) -> Path:
    """A COCO folder: bright discs, and none in every fourth picture, in noise.

    Args:
        folder: Where.
        parts: Pictures of each part.
        seed: Of all that is random.
        lone: Add a class with one example in all, in training, larger than a patch.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    yy, xx = np.mgrid[:64, :72]
    for part, count in parts.items():
        images: list[Any] = []
        marks: list[Any] = []
        for i in range(count):
            picture = rng.normal(80, 12, yy.shape)
            number = 1000 * len(part) + i
            for kind in range(0 if i % 4 == 3 else int(rng.integers(1, 3))):
                y, x = rng.uniform(12, 52), 18 + 36 * kind + rng.uniform(-6, 6)
                r = rng.uniform(5, 8)
                picture[(yy - y) ** 2 + (xx - x) ** 2 < r**2] += 90
                box = [x - r + 0.5, y - r + 0.5, 2 * r, 2 * r]
                marks.append({"id": len(marks) + 1, "image_id": number, "category_id": 1,
                              "bbox": box, "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
            name = f"{part}_{i}.png"
            cv2.imwrite(str(folder / "images" / name), picture.clip(0, 255).astype(np.uint8))
            images.append({"id": number, "file_name": name, "height": 64, "width": 72})
        classes = [{"id": 1, "name": "disc"}]
        if lone:
            classes.append({"id": 2, "name": "flood"})
            if part == "train":
                marks.append({"id": len(marks) + 1, "image_id": images[3]["id"], "category_id": 2,
                              "bbox": [2, 2, 66, 58], "area": 66 * 58, "iscrowd": 0})  # fmt: skip
        content = {"images": images, "annotations": marks, "categories": classes}
        (folder / f"{part}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def tiny_detection(tmp_path_factory: pytest.TempPathFactory) -> TinyDetection:
    """Fit once on pictures of discs."""
    from recipes.detection.fitting import fit

    register()

    def configured(root: Path) -> DetectionConfig:
        weights = root / "start.weights.h5"
        return load_config(DetectionConfig, changes=[*TINY, f"second.weights={weights}"])

    def make(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RADZOO_HOME", str(root / "home"))
            data = write_discs(root / "data", parts={"train": 24, "val": 12})
            write_weights(root / "start.weights.h5")
            fit(data, root / "run", configured(root))

    shared, own = shared_run(tmp_path_factory, "tiny-detection", make)
    return TinyDetection(data=shared / "data", out=own / "run", config=configured(shared))

"""One tiny run for the whole session: every test that needs a trained model shares it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from recipes.classification.config import ClassificationConfig
from recipes.config import load_config
from tests.recipes.tiny_backbone import NAME, register, write_weights
from tests.shared_runs import shared_run

TINY = (
    "data.image_size=32",
    "data.positive=lesion",
    "model.members=2",
    "train.batch_size=8",
    "train.head.epochs=3",
    "train.finetune.epochs=2",
    "train.finetune.learning_rate=3e-3",
    "evaluate.n_boot=100",
)


@dataclass(frozen=True)
class TinyRun:
    """A finished run, its data and its configuration."""

    data: Path
    out: Path
    config: ClassificationConfig


def write_pictures(folder: Path, *, per_class: dict[str, int], seed: int = 0) -> Path:
    """Grey 24x24 pictures with or without a bright disc, one folder per part and class."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:24, :24]
    for part, count in per_class.items():
        for label in ("lesion", "plain"):
            target = folder / part / label
            target.mkdir(parents=True)
            for i in range(count):
                image = rng.normal(90, 20, (24, 24))
                if label == "lesion":
                    y, x = rng.uniform(7, 17, 2)
                    image += 110 * ((yy - y) ** 2 + (xx - x) ** 2 < 16)
                cv2.imwrite(str(target / f"{i}.png"), np.clip(image, 0, 255).astype("uint8"))
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Fit once on 24 + 12 + 12 small pictures."""
    from recipes.classification.fitting import fit

    register()

    def configured(root: Path) -> ClassificationConfig:
        weights = root / "start.weights.h5"
        changes = [*TINY, f"model.backbone={NAME}", f"model.weights={weights}"]
        return load_config(ClassificationConfig, changes=changes)

    def make(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RADZOO_HOME", str(root / "home"))
            data = write_pictures(root / "data", per_class={"train": 12, "val": 6, "test": 6})
            write_weights(root / "start.weights.h5")
            fit(data, root / "run", configured(root))

    shared, own = shared_run(tmp_path_factory, "tiny", make)
    return TinyRun(data=shared / "data", out=own / "run", config=configured(shared))

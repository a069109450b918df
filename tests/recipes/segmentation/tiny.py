"""One tiny segmentation run for the whole session: tests of a finished run share it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from recipes.config import load_config
from recipes.segmentation.config import SegmentationConfig
from tests.recipes.segmentation.sets import write_volumes
from tests.shared_runs import shared_run

TINY = (
    "plan.width=8",
    "plan.batch=2",
    "train.steps=120",
    "train.rounds=3",
    "train.learning_rate=0.02",
    "train.ema=null",
    "augment.strength=none",
    "evaluate.n_boot=100",
)


@dataclass(frozen=True)
class TinySegmentation:
    """A finished run, its data and its configuration."""

    data: Path
    out: Path
    config: SegmentationConfig


@pytest.fixture(scope="session")
def tiny_segmentation(tmp_path_factory: pytest.TempPathFactory) -> TinySegmentation:
    """Fit once on eight volumes of two balls each."""
    from recipes.segmentation.fitting import fit

    config = load_config(SegmentationConfig, changes=[*TINY, "data.fold=0"])

    def make(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RADZOO_HOME", str(root / "home"))
            fit(write_volumes(root / "data", splits=True), root / "run", config)

    shared, own = shared_run(tmp_path_factory, "tiny-segmentation", make)
    return TinySegmentation(data=shared / "data", out=own / "run", config=config)

"""Cases without labels in a run folder, and what a run with them refuses."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.engine.checkpoint import disk_error, write_atomic
from recipes.errors import ConfigError, RunFolderError
from recipes.fewlabels.unlabelled import Unlabelled

if TYPE_CHECKING:
    from recipes.classification.config import ClassificationConfig

FILE = "unlabelled.csv"
_COLUMNS = ["case_id", "pixel_sha256"]


def check_semi(config: ClassificationConfig, *, devices: int) -> None:
    """Refuse what semi-supervised learning cannot do.

    Args:
        config: The run's configuration.
        devices: Devices that share a batch.

    Raises:
        ConfigError: Naming the key.
    """
    if devices > 1:
        raise ConfigError(
            f"train.devices={devices}: unlabelled cases are learnt from on one device; give 1"
        )
    if config.train.mixup:
        raise ConfigError(
            f"train.mixup={config.train.mixup:g} mixes labelled cases only; give 0 where there "
            "are unlabelled ones"
        )
    if config.train.finetune.epochs == 0:
        raise ConfigError(
            "train.finetune.epochs=0 leaves out phase 2, in which unlabelled cases are learnt from"
        )


def write_unlabelled(folder: Path, found: Unlabelled) -> None:
    """List the cases that a run learns from without a label.

    Raises:
        RecipeError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *found.lines()])
    try:
        write_atomic(folder / FILE, text.getvalue().encode())
    except OSError as error:
        raise disk_error(error, FILE) from error


def read_unlabelled(folder: Path) -> set[str]:
    """Digests of the pixels that a run has learnt from without a label; none where it did not.

    Raises:
        RunFolderError: The list is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != _COLUMNS:
            raise RunFolderError(f"{FILE} of the run folder is damaged; fit again")
        return {row["pixel_sha256"] for row in reader}

"""Opening cases without labels, and what a run with them writes down and refuses."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_adapters import adapter as adapters
from data_adapters.adapter import Adapter, local_path
from data_adapters.errors import FormatError
from data_adapters.table_text import TABLE_SUFFIXES
from recipes.engine.checkpoint import disk_error, write_atomic
from recipes.errors import ConfigError, RunFolderError
from recipes.fewlabels.unlabelled import Unlabelled

if TYPE_CHECKING:
    from recipes.classification.config import ClassificationConfig, DataConfig

FILE = "unlabelled.csv"
_COLUMNS = ["case_id", "pixel_sha256"]


def open_unlabelled(source: str, config: DataConfig) -> Adapter:
    """Open cases whose labels, if they have any, are not looked at.

    Args:
        source: Anything ``data_adapters.open`` takes; a table needs no column of labels.
        config: The columns, as far as they are not of labels, and the modality. Of a folder, the
            rule that finds the patient in a path.

    Raises:
        data_adapters.errors.DataError: Nothing can read it.
    """
    columns = config.columns.model_dump(exclude={"label", "labels", "mask", "classes"})
    options: dict[str, Any] = {key: value for key, value in columns.items() if value}
    folder = local_path(source)
    if folder.is_dir() and not any(folder.iterdir()):
        raise FormatError(f"the folder {source!r} is empty; give one with pictures, or a table")
    if Path(source).suffix.lower() in TABLE_SUFFIXES:
        options["labelled"] = False
    else:
        rule = config.columns.patient or ""
        fits = folder.is_dir() and (rule == "folder" or "(" in rule)
        options = {"patient": rule} if fits else {}
    return adapters.open(source, modality=config.modality, **options)


def check_backend(what: str) -> None:
    """Refuse backends on which a loss cannot see the optimizer's steps and averages.

    Args:
        what: What is asked for, for the message.

    Raises:
        ConfigError: The backend is not TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"{what} needs the TensorFlow backend, not {keras.backend.backend()!r}; set "
            "KERAS_BACKEND=tensorflow"
        )


def check_semi(config: ClassificationConfig, *, devices: int) -> None:
    """Refuse what semi-supervised learning cannot do.

    Args:
        config: The run's configuration.
        devices: Devices that share a batch.

    Raises:
        ConfigError: Naming the key.
    """
    check_backend("learning from unlabelled cases")
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
    _write(folder, found.lines())


def join_unlabelled(folders: Sequence[Path], out: Path) -> None:
    """List the cases that any of several runs has learnt from without a label; nothing without.

    Raises:
        RecipeError: A list is damaged, or the file cannot be written.
    """
    lines = {line for folder in folders for line in _read(folder)}
    if lines:
        _write(out, sorted(lines))


def _write(folder: Path, lines: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *lines])
    try:
        write_atomic(folder / FILE, text.getvalue().encode())
    except OSError as error:
        raise disk_error(error, FILE) from error


def read_unlabelled(folder: Path) -> set[str]:
    """Digests of the pixels that a run has learnt from without a label; none where it did not.

    Raises:
        RunFolderError: The list is damaged.
    """
    return {digest for _, digest in _read(folder)}


def _read(folder: Path) -> list[tuple[str, str]]:
    """Case ids and digests of a run's list."""
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != _COLUMNS:
            raise RunFolderError(f"{FILE} of the run folder is damaged; fit again")
        return [(row["case_id"], row["pixel_sha256"]) for row in reader]

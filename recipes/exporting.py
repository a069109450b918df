"""``radzoo weights export``: the backbone of a finished run, as weights of the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict

import zoo
from data_adapters.adapter import IndexRow
from data_adapters.split_table import read_splits
from recipes.config import read_yaml
from recipes.engine.embedding import members
from recipes.engine.modelfile import MODEL_FILE, RECORD_FILE, open_model, read_record
from recipes.errors import ConfigError, RunFolderError
from recipes.fewlabels.gate import SEEN, pretrained_on, write_seen
from recipes.fewlabels.opening import read_unlabelled
from recipes.fewlabels.pretraining import WEIGHTS, write_weights
from recipes.runs import check_unused
from zoo.errors import ZooError
from zoo.weights.loading import weighted_layers

_SEEN_PARTS = ("train", "val")
"""A run chooses its epoch and thresholds on the validation part: it has seen that as well."""


class _Record(BaseModel):
    """What the records of all recipes share."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model_sha256: str
    runs: tuple[Any, ...] = ()


def export_backbone(run: str | Path, out: str | Path, *, member: int = 0) -> dict[str, Any]:
    """Take the backbone out of a finished run of any recipe.

    The file is what ``model.weights`` of a recipe and ``weights`` of ``zoo.create_backbone`` take.
    Beside it lies the list of cases that the run was trained and tuned on, so that the leakage gate
    of the next run knows them.

    Args:
        run: A run folder; of a detection, its first stage is taken.
        out: Folder, new or empty.
        member: Which network of an ensemble, from 0.

    Returns:
        ``backbone``, ``member``, ``layers`` that were trained, ``kept`` (layers above the highest
        level that the run used, which are as it started), ``started_from``, ``input_shape``,
        ``n_seen`` and ``files``.

    Raises:
        RunFolderError: A file is missing or damaged, or ``out`` holds something.
        ConfigError: The run is an ensemble of runs, has no network of the zoo, no such member, or
            started from nothing and left layers of the backbone out.
    """
    folder, target = _stage(Path(run)), Path(out)
    check_unused(target)
    record = read_record(folder, _Record)
    if record.runs:
        raise ConfigError(
            f"RUN is an ensemble of {len(record.runs)} runs; export from one of those, which knows "
            "where it started"
        )
    chosen = read_yaml(folder / "config.yaml", "RUN").get("model", {})
    name, start = str(chosen.get("backbone")), str(chosen.get("weights"))
    network = _member(open_model(folder, record.model_sha256), member)
    bare, kept = _filled(network, name, start)
    seen = _seen(Path(run), start)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"--out cannot be made: {error.strerror}") from error
    write_seen(target / SEEN, seen)
    write_weights(bare, target / WEIGHTS)
    return {
        "backbone": name,
        "member": member,
        "layers": len(weighted_layers(bare)) - len(kept),
        "kept": kept,
        "started_from": start if start in ("imagenet", "none") else "file",
        "input_shape": [None if n is None else int(n) for n in bare.input_shape[1:]],
        "n_seen": len(seen),
        "files": sorted(path.name for path in target.iterdir()),
    }


def _stage(run: Path) -> Path:
    """Folder of the network: the run's, or that of its first stage."""
    first = run / "first"
    return first if (first / RECORD_FILE).is_file() and not (run / MODEL_FILE).is_file() else run


def _member(model: keras.Model, number: int) -> keras.Model:
    found = members(model) or [model]
    if number >= len(found):
        raise ConfigError(f"--member {number}: the run has {len(found)}, counted from 0")
    return found[number]


def _filled(network: keras.Model, name: str, start: str) -> tuple[keras.Model, list[str]]:
    """The whole backbone with a network's weights, and names of layers that it does not have."""
    shape = tuple(network.input_shape[1:])
    dims = len(shape) - 1
    trained = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    try:
        bare = zoo.create_backbone(name, input_shape=shape, weights=None, dims=dims)
        names = weighted_layers(bare)
        kept = [one for one in names if one not in trained]
        if len(kept) == len(names):
            raise ConfigError(f"the run's network was not built on backbone {name!r}")
        if kept and start == "none":
            raise ConfigError(
                f"the run started from nothing and left out {len(kept)} layers of {name!r} above "
                "the level that it used, which nothing has trained; fit with the top level "
                "(model.levels=[P5])"
            )
        if kept:
            bare = zoo.create_backbone(name, input_shape=shape, weights=start, dims=dims)
    except ZooError as error:
        raise ConfigError(f"backbone {name!r} of the run cannot be built: {error}") from error
    for one in names:
        if one in trained:
            _put(bare.get_layer(one), trained[one])
    return bare, kept


def _put(layer: keras.layers.Layer, weights: list[np.ndarray[Any, Any]]) -> None:
    wanted = [tuple(weight.shape) for weight in layer.weights]
    if [weight.shape for weight in weights] != wanted:
        raise ConfigError(
            f"layer {layer.name!r} of the run holds {[w.shape for w in weights]}, and that of the "
            f"backbone {wanted}: it is not the backbone's alone"
        )
    layer.set_weights(weights)


def _seen(run: Path, start: str) -> list[tuple[IndexRow, str]]:
    """Cases that the run has learnt from or was tuned on, and those its own weights had seen."""
    found = [
        (
            IndexRow(
                row.case_id,
                row.patient or None,
                study_id=row.study or None,
                series_id=row.series or None,
            ),
            row.pixel_sha256,
        )
        for row in read_splits(run / "splits.csv")
        if row.part in _SEEN_PARTS
    ]
    found += [(IndexRow(f"unlabelled-{d[:12]}"), d) for d in sorted(read_unlabelled(run))]
    before = pretrained_on(start)
    return found + (list(zip(before.index, before.sha256s, strict=True)) if before else [])

"""The page of a pretraining: its loss, and whether the network collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recipes.classification.thumbnails import NOTES
from recipes.fewlabels.material import Example
from recipes.intended_use import INTENDED_USE
from recipes.report.images import BLUE, draw
from recipes.report.page import templates, write_text

_TITLES = {
    "loss": "Training loss",
    "embedding_spread": "Spread of the embeddings",
    "feature_rank": "Effective rank of the features",
}


def write_page(
    path: Path,
    facts: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    pictures: str | None,
    shown: str,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: Where to write, replaced if it exists.
        facts: What ``metrics.json`` holds.
        history: One record per epoch.
        pictures: What `rebuilt` drew, if anything.
        shown: ``report.pictures``.

    Raises:
        RunFolderError: The file cannot be written.
    """
    page = templates(autoescape=True).get_template("pretrain.html.j2")
    values = {
        "banner": INTENDED_USE,
        "facts": {"volumes": None, "reasons": ()} | dict(facts),
        "rows": [(label, _text(facts[key])) for key, label in _ROWS.items() if key in facts],
        "pictures": pictures,
        "note": NOTES[shown],
        "curves": curves(history),
    }
    write_text(path, page.render(values))


_ROWS = {
    "backbone": "Backbone",
    "started_from": "Started from",
    "n": "Cases",
    "n_skipped": "Cases that could not be read",
    "epochs": "Epochs",
    "loss": "Loss of the last epoch",
    "loss_of_grey": "Loss of leaving hidden parts grey (cases without augmentation)",
    "embedding_spread": "Spread of the embeddings at the end",
    "feature_rank": "Effective rank of the features at the end",
    "volumes": "Volumes are learnt from as",
    "spacing": "Voxel size, mm (slice, row, column)",
    "input_shape": "Input",
    "input_range": "Values that the network sees as 0 and 255",
    "patches_in_epoch": "Patches in an epoch",
    "batch_size": "Patches in a step",
    "blocks": "Blocks along each side, of which some are hidden",
    "rebuilt_from": "Levels of the pyramid that hidden voxels are rebuilt from",
    "bans": "Operations banned from the views",
    "seed": "Seed",
}


def rebuilt(learner: keras.Model, examples: Sequence[Example]) -> str | None:
    """Cases as they are, with patches hidden, and as they are rebuilt, as a data URI.

    Args:
        learner: A `learners.Masked`, trained.
        examples: Cases that may be shown; of volumes their middle slice is.

    Returns:
        None where there is none to show.
    """
    if not examples:
        return None
    low, high = learner.input_range
    rows = []
    for case in examples:
        given = [case.image[None], case.hidden[None]]
        made = np.asarray(learner(given, training=False))[0]
        seen = np.clip((case.image - low) / (high - low), 0, 1)
        views = (seen, np.where(case.hidden > 0, 0.5, seen), np.where(case.hidden > 0, made, seen))
        rows.append((case.case_id, [_plane(view, case) for view in views]))

    def paint(axes: Any) -> None:
        for (case_id, views), line in zip(rows, axes, strict=True):
            for axis, view, title in zip(line, views, _VIEWS, strict=True):
                axis.imshow(view, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set(title=title, xticks=[], yticks=[])
                axis.grid(False)
            line[0].set_ylabel(case_id)

    return draw((7.2, 2.5 * len(rows)), paint, 1, 1, 1, rows=len(rows), kind="png")


_VIEWS = ("As it is", "What the network sees", "Hidden parts rebuilt")


def _plane(values: Any, case: Example) -> Any:
    """The middle slice of a volume, a picture as it is; grey unless channels are colours."""
    plane = values[len(values) // 2] if values.ndim == 4 else values
    if case.colours and plane.shape[-1] == 3:
        return np.clip(plane, 0, 1)
    return plane[..., 0]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "as the files have it"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


def curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Loss, spread and rank by epoch, as a data URI."""

    def paint(axes: Any) -> None:
        epochs = np.asarray([record["epoch"] for record in history])
        for axis, (key, title) in zip(axes[0], _TITLES.items(), strict=True):
            values = [record[key] for record in history]
            axis.plot(epochs, values, color=BLUE, lw=1.7, marker="o" if len(epochs) < 4 else None)
            axis.set(title=title, xlabel="Epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0][1].set_ylim(0, 1.1)
        axes[0][2].set_ylim(0, 1.1 * max(1.0, *(record["feature_rank"] for record in history)))

    return draw((9.4, 2.9), paint, 1, 1, 1)

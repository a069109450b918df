"""The page of a pretraining: its loss, and whether the network collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.intended_use import INTENDED_USE
from recipes.report.images import BLUE, draw
from recipes.report.page import templates, write_text

_TITLES = {
    "loss": "Training loss",
    "embedding_spread": "Spread of the embeddings",
    "feature_rank": "Effective rank of the features",
}


def write_page(path: Path, facts: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: Where to write, replaced if it exists.
        facts: What ``metrics.json`` holds.
        history: One record per epoch.

    Raises:
        RunFolderError: The file cannot be written.
    """
    page = templates(autoescape=True).get_template("pretrain.html.j2")
    values = {
        "banner": INTENDED_USE,
        "facts": facts,
        "rows": [(label, _text(facts[key])) for key, label in _ROWS.items()],
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
    "embedding_spread": "Spread of the embeddings at the end",
    "feature_rank": "Effective rank of the features at the end",
    "input_shape": "Input",
    "bans": "Operations banned from the views",
    "seed": "Seed",
}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
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

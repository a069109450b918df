"""The page of cases to label next; pseudonyms are the only names of cases in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.engine.modelfile import ModelRecord
from recipes.intended_use import INTENDED_USE
from recipes.report.images import thumbnail
from recipes.report.page import templates, write_text

STRATEGY_TEXT = {
    "entropy": "highest entropy of the prediction",
    "margin": "two most probable answers nearest to each other",
    "mc": "highest mutual information over passes with dropout",
    "kcenter": "farthest from each other and from what is labelled (k-center)",
    "badge": "unsure and unlike each other (BADGE)",
    "mixed": "farthest from each other among the cases of highest entropy",
    "random": "drawn at random",
}


def write_page(
    path: Path,
    result: Mapping[str, Any],
    record: ModelRecord,
    pictures: Mapping[str, npt.NDArray[np.uint8]],
    note: str,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: Where to write, replaced if it exists.
        result: What ``suggesting.suggest`` returns.
        record: The model's record.
        pictures: Pictures of the cases that may be shown.
        note: Why pictures are shown or not.

    Raises:
        RunFolderError: The file cannot be written.
    """
    cards = []
    for row in result["cases"]:
        likely = sorted(record.class_names, key=lambda name: -row[f"p_{name}"])[:2]
        lines = [f"{row['rank']}. entropy {row['entropy']:.3f}"]
        lines += [f"p({name}) = {row[f'p_{name}']:.3f}" for name in likely]
        image = thumbnail(pictures.get(row["case_id"]))
        tag = "of another kind" if row.get("ood_flag") == "outside" else None
        cards.append({"case": row["case_id"], "lines": lines, "image": image, "tag": tag})
    page = templates(autoescape=True).get_template("suggest.html.j2")
    values = {
        "banner": INTENDED_USE,
        "result": result,
        "strategy": STRATEGY_TEXT[result["strategy"]],
        "skipped": ", ".join(f"{kind} {n}" for kind, n in result["n_skipped"].items()),
        "cards": cards,
        "pictures": bool(pictures),
        "note": note,
    }
    write_text(path, page.render(values))

"""``radzoo detect predict``: candidates of files without truth, on their own grid and in LPS mm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError
from data_adapters.files import open_files
from data_adapters.geometry import to_world
from recipes.classification.outputs import write_csv
from recipes.detection.calibrating import chances
from recipes.detection.candidates import Found
from recipes.detection.detector import Detector
from recipes.detection.drawings import cut_out
from recipes.detection.outputs import columns, figures, share_text
from recipes.engine.checkpoint import check_writable, write_atomic
from recipes.errors import RecipeError
from recipes.intended_use import INTENDED_USE
from recipes.progress import Reporter
from recipes.report.page import templates, write_text

PLACES = ("coordX", "coordY", "coordZ")


def predict(
    run: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    every: bool = False,
    pictures: bool = False,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Look for lesions in files or folders.

    Args:
        run: Run folder of a finished fit.
        sources: Pictures, volumes, DICOM series, folders of them.
        out: Folder for ``candidates.csv`` and, of pictures, ``candidates.json`` in COCO's form.
        every: Write candidates below the operating point too.
        pictures: Write ``found.html`` too: a page with every case, its candidates ranked and drawn.
            It holds pictures of the cases and their file names; it is for whoever may see them.
        reporter: Progress; quiet where None.

    Returns:
        One row per case, unreadable ones included with their reason in ``status``: ``file``,
        ``status``, ``candidates`` (how many were written), ``highest`` (the highest score of all).

    Raises:
        recipes.errors.RecipeError: The run cannot be opened, or ``out`` not be written.
        data_adapters.errors.DataError: Nothing readable was given.
    """
    folder = Path(out)
    check_writable(folder / "candidates.csv")
    with reporter or Reporter(quiet=True) as live:
        model = Detector.load(run)
        adapter = open_files([Path(source) for source in sources])
        rows: list[dict[str, Any]] = []
        table: list[list[str]] = []
        coco: dict[str, Any] = _coco(model)
        shown: list[dict[str, Any]] = []
        with live.task("finding candidates", len(adapter)) as step:
            for i in range(len(adapter)):
                name = adapter.source_name(i)
                row: dict[str, Any] = {"file": name}
                try:
                    case = adapter[i]
                    found = model.find(case)
                except CaseError as error:
                    row["status"] = error.kind
                except (DataError, RecipeError) as error:
                    row |= {"status": "unfit", "message": str(error)}
                else:
                    keep = _kept(model, found, every)
                    best = float(found.scores.max(initial=0.0))
                    row |= {"status": "ok", "candidates": len(keep), "highest": best}
                    table += _lines(model, case, found, keep, name)
                    _add(coco, name, case, found, keep)
                    if pictures:
                        shown.append(_shown(model, name, case, found, keep))
                rows.append(row)
                step(i + 1, len(adapter))
    axes = 3 if model.record.volume else 2
    header = ["file", "class", "score", "chance", "above", *columns(axes)]
    write_csv(folder / "candidates.csv", header + (list(PLACES) if axes == 3 else []), table)
    if axes == 2:
        write_atomic(folder / "candidates.json", json.dumps(coco, indent=1).encode())
    if pictures:
        page = templates(autoescape=True).get_template("found.html.j2")
        write_text(folder / "found.html", page.render(cases=shown, banner=INTENDED_USE))
    rows += [{"file": skip.source or skip.case_id, "status": skip.kind} for skip in adapter.skipped]
    return rows


def _kept(model: Detector, found: Found, every: bool) -> list[int]:
    """Positions of the candidates to write."""
    return [k for k in range(len(found.scores)) if every or _above(model, found, k)]


def _above(model: Detector, found: Found, k: int) -> bool:
    threshold = model.record.thresholds[int(found.labels[k])]
    return threshold is not None and bool(found.scores[k] >= threshold)


def _lines(
    model: Detector, case: Case, found: Found, keep: Sequence[int], name: str
) -> list[list[str]]:
    lines = []
    chance = chances(found.scores, found.labels, model.record.calibration)
    for k in keep:
        label = model.record.class_names[int(found.labels[k])]
        above = "yes" if _above(model, found, k) else "no"
        numbers = [f"{found.scores[k]:.6f}", share_text(chance[k])]
        line = [name, label, *numbers, above, *figures(found, k)]
        if found.centres.shape[1] == 3:
            known = case.geometry is not None and case.geometry.direction
            place = to_world(case.geometry, found.centres[k]) if known and case.geometry else None
            line += [""] * 3 if place is None else [f"{v:.3f}" for v in np.ravel(place)]
        lines.append(line)
    return lines


MOST_SHOWN = 12
"""Candidates of a case that are drawn one by one."""


def _shown(
    model: Detector, name: str, case: Case, found: Found, keep: Sequence[int]
) -> dict[str, Any]:
    """A case on the page: itself with its boxes, and its candidates ranked."""
    cards = []
    for rank, k in enumerate(keep[:MOST_SHOWN], start=1):
        label = model.record.class_names[int(found.labels[k])]
        place = ", ".join(f"{v:.0f}" for v in found.centres[k])
        cards.append(
            {
                "case": f"{rank}. {label}",
                "lines": [f"score {found.scores[k]:.3f}", f"voxel {place}"],
                "tag": None if _above(model, found, k) else "below the operating point",
                "image": cut_out(case, [(found.boxes[k], "dashed")]),
            }
        )
    boxes = [(found.boxes[k], "dashed") for k in keep]
    if boxes and case.image.ndim == 4:  # those that the slice of the highest one cuts
        middle = (boxes[0][0][0] + boxes[0][0][3]) / 2
        boxes = [one for one in boxes if one[0][0] <= middle <= one[0][3]]
    return {
        "name": Path(name).name,
        "n": len(keep),
        "image": cut_out(case, boxes, whole=True) if boxes else None,
        "cards": cards,
    }


def _coco(model: Detector) -> dict[str, Any]:
    return {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": k, "name": name} for k, name in enumerate(model.record.class_names, start=1)
        ],
    }


def _add(coco: dict[str, Any], name: str, case: Case, found: Found, keep: Sequence[int]) -> None:
    """A picture and its candidates in COCO's form: boxes are x, y, width, height."""
    if case.image.ndim != 3:
        return
    height, width = case.image.shape[:2]
    number = len(coco["images"]) + 1
    coco["images"].append({"id": number, "file_name": name, "height": height, "width": width})
    for k in keep:
        top, left, bottom, right = (float(v) for v in found.boxes[k])
        box = [round(v, 2) for v in (left, top, right - left, bottom - top)]
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": number,
                "category_id": int(found.labels[k]) + 1,
                "bbox": box,
                "area": round(box[2] * box[3], 2),
                "score": round(float(found.scores[k]), 6),
                "iscrowd": 0,
            }
        )

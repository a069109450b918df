"""Data with lesions: opened, and their truth gathered once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters import adapter as adapters
from data_adapters.adapter import Adapter
from data_adapters.errors import CaseError
from recipes.detection.config import DataConfig
from recipes.detection.truth import Components, Marks, marks_of, spacing_of
from recipes.engine.checkpoint import write_json
from recipes.errors import RecipeError
from recipes.segmentation.data import open_data

Progress = Callable[[int, int], None]


def open_lesions(source: str, config: DataConfig) -> Adapter:
    """Open data with boxes, points with a radius, or masks whose components are lesions.

    Raises:
        data_adapters.errors.DataError: Nothing can read it.
        RecipeError: The data have no lesions.
    """
    options: dict[str, Any] = {k: v for k, v in config.columns.model_dump().items() if v}
    if config.modality is not None:
        options["modality"] = config.modality
    adapter = adapters.open(source, **options)
    if adapter.task == "segmentation":
        return Components(open_data(source, config.segmentation()))
    if adapter.task != "detection":
        raise RecipeError(
            f"the truth of these data ({adapter.kind}) is {adapter.task}, and detection wants "
            "lesions: COCO or VOC boxes, a LUNA16 folder, a table of points or boxes, or masks"
        )
    return adapter


@dataclass(frozen=True)
class Truth:
    """Lesions of many cases, read once.

    Attributes:
        marks: Row -> lesions.
        spacing: Row -> voxel size along the axes, mm; ones where unknown.
        sides: Row -> voxels along the axes.
        masked: Whether the data have masks of their own.
    """

    marks: dict[int, Marks]
    spacing: dict[int, Any]
    sides: dict[int, tuple[int, ...]]
    masked: bool

    def notes(self) -> tuple[str, ...]:
        """What was left out, as sentences."""
        dropped = sum(one.dropped for one in self.marks.values())
        merged = sum(one.merged for one in self.marks.values())
        found = []
        if dropped:
            found.append(f"{dropped} boxes without area or outside their image do not count.")
        if merged:
            found.append(f"{merged} boxes that mark a lesion a second time are taken with it.")
        return tuple(found)


def gather(
    adapter: Adapter,
    rows: Sequence[int],
    *,
    radius: float | None,
    kept: Path,
    progress: Progress,
) -> Truth:
    """Read the lesions of cases, or take them from a file of an earlier attempt.

    Args:
        adapter: Cases with lesions.
        rows: Which.
        radius: As of `marks_of`.
        kept: JSON file in the run folder.
        progress: Called with (done, total).

    Raises:
        RecipeError: No case has a lesion, or a bare point has no radius.
    """
    key = f"{adapter.identity()}|{radius}|{list(rows)}"
    content = _read(kept, key)
    if content is None:
        content = {"key": key, "masked": False, "cases": {}}
        for done, row in enumerate(rows, start=1):
            try:
                case = adapter[row]
            except CaseError:
                continue
            marks = marks_of(case, radius=radius)
            content["masked"] |= case.mask is not None
            content["cases"][str(row)] = {
                "labels": marks.labels.tolist(),
                "boxes": marks.boxes.tolist(),
                "radii": marks.radii.tolist(),
                "dropped": marks.dropped,
                "merged": marks.merged,
                "spacing": spacing_of(case).tolist(),
                "sides": list(case.image.shape[:-1]),
            }
            progress(done, len(rows))
        write_json(kept, content)
    truth = _truth(content)
    if not any(len(one.labels) for one in truth.marks.values()):
        raise RecipeError(
            f"none of {len(truth.marks)} cases has a lesion; there is nothing to find"
        )
    return truth


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """The file's content, where it is of these cases."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None


def _truth(content: dict[str, Any]) -> Truth:
    marks, spacing, sides = {}, {}, {}
    for row, one in content["cases"].items():
        axes = len(one["spacing"])
        marks[int(row)] = Marks(
            np.asarray(one["labels"], np.int64),
            np.asarray(one["boxes"], np.float64).reshape(-1, 2 * axes),
            np.asarray(one["radii"], np.float64),
            one["dropped"],
            one["merged"],
        )
        spacing[int(row)] = np.asarray(one["spacing"], np.float64)
        sides[int(row)] = tuple(one["sides"])
    return Truth(marks, spacing, sides, bool(content["masked"]))


def usual_distance(truth: Truth, rows: Sequence[int]) -> float:
    """Half the smaller side of a lesion, its tenth percentile over rows, mm or pixels."""
    sides = [side.min() for _, side in lesion_sides(truth, rows)]
    return float(np.percentile(sides, 10)) / 2 if sides else 1.0


def usual_size(truth: Truth, rows: Sequence[int]) -> float:
    """The largest side of a lesion, its median over rows, mm or pixels."""
    sides = [side.max() for _, side in lesion_sides(truth, rows)]
    return float(np.median(sides)) if sides else 1.0


def lesion_sides(truth: Truth, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Row and sides of each lesion, mm or pixels."""
    for row in rows:
        boxes, spacing = truth.marks[row].boxes, truth.spacing[row]
        axes = len(spacing)
        for side in (boxes[:, axes:] - boxes[:, :axes]) * spacing:
            yield row, side

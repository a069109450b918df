"""``radzoo segment predict``: masks on the original grid for files without truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError
from data_adapters.files import open_files
from recipes.engine.checkpoint import check_writable
from recipes.errors import RecipeError
from recipes.progress import Reporter
from recipes.segmentation.inference import postprocess, write_mask, write_probabilities
from recipes.segmentation.record import SegmentationRecord
from recipes.segmentation.segmenter import Floats, Labels, Segmenter

FORMATS = ("auto", "nii.gz", "nrrd", "png")


def predict(
    run: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    probabilities: bool = False,
    format_: str = "auto",
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Apply a run's model to files or folders.

    Args:
        run: Run folder of a finished fit.
        sources: Pictures, volumes, DICOM series, folders of them.
        out: Folder for the masks, named as the files are.
        probabilities: Write ``<name>_probabilities`` too, one channel per class; they are all in
            memory then, as labels alone need not be.
        format_: ``nii.gz``, ``nrrd`` or ``png`` (pictures only); ``auto``: ``nii.gz`` for volumes.
        reporter: Progress; quiet where None.

    Returns:
        One row per case, unreadable ones included with their reason in ``status``: ``file``,
        ``status``, ``mask`` (name of the file written), and the volume of each class in mL
        (``pixels`` where the voxel size is unknown).

    Raises:
        recipes.errors.RecipeError: The run cannot be opened, or ``out`` not be written.
        data_adapters.errors.DataError: Nothing readable was given.
    """
    if format_ not in FORMATS:
        raise RecipeError(f"--format {format_!r} is none of {', '.join(FORMATS)}")
    folder = Path(out)
    check_writable(folder / "mask")
    with reporter or Reporter(quiet=True) as live:
        model = Segmenter.load(run)
        adapter = open_files([Path(source) for source in sources])
        rows = []
        names: Counter[str] = Counter()
        with live.task("predicting", len(adapter)) as step:
            for i in range(len(adapter)):
                name = adapter.source_name(i)
                row: dict[str, Any] = {"file": name}
                try:
                    case, found, labels = _apply(model, adapter, i, probabilities)
                except CaseError as error:
                    row["status"] = error.kind
                except (DataError, RecipeError) as error:
                    row |= {"status": "unfit", "message": str(error)}
                else:
                    target = _target(folder, name, case, format_, names)
                    row |= _write(target, labels, found, case, model.record)
                    del found, labels
                rows.append(row)
                step(i + 1, len(adapter))
    rows += [{"file": skip.source or skip.case_id, "status": skip.kind} for skip in adapter.skipped]
    return rows


def _apply(
    model: Segmenter, adapter: Adapter, i: int, probabilities: bool
) -> tuple[Case, Floats | None, Labels]:
    """A case without its voxels, and on its own grid probabilities, if wanted, and labels."""
    image, undos, case = model.ready_alone(adapter[i])
    if not probabilities:
        held = [image]
        del image  # a large case has no memory for its voxels and its probabilities
        return case, None, model.labels(held.pop(), undos)
    found = model.probabilities(image, undos)
    return case, found, np.asarray(found.argmax(axis=-1), np.uint8)


def _target(folder: Path, name: str, case: Case, format_: str, names: Counter[str]) -> Path:
    """Where a mask goes: named as its file, numbered where two files share a name."""
    base = Path(name).name
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"):
        base = base.removesuffix(ending)
    base = Path(base).stem if Path(base).suffix.lower() in _PICTURES else base
    names[base] += 1
    if names[base] > 1:
        base = f"{base}_{names[base]}"
    ending = format_
    if format_ == "auto":
        ending = "nii.gz" if case.image.ndim == 4 else "png"
    if ending == "png" and case.image.ndim == 4:
        raise RecipeError("--format png is for pictures; these are volumes: give nii.gz or nrrd")
    return folder / f"{base}.{ending}"


_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".gif", ".ppm", ".webp"}


def _write(
    target: Path,
    labels: Labels,
    found: Floats | None,
    case: Case,
    record: SegmentationRecord,
) -> dict[str, Any]:
    labels = postprocess(labels, record.postprocess, in_place=True)
    write_mask(labels, target, case.geometry)
    row: dict[str, Any] = {"status": "ok", "mask": target.name}
    if found is not None:
        stem, ending = target.name.split(".", 1)
        second = target.with_name(f"{stem}_probabilities.{'nrrd' if ending == 'png' else ending}")
        write_probabilities(found, second, case.geometry)
        row["probabilities"] = second.name
    unit, word = 1.0, "pixels"
    if case.geometry is not None and len(case.geometry.spacing) == 3:
        unit, word = float(np.prod(case.geometry.spacing)) / 1000, "ml"
    for k, name in enumerate(record.class_names):
        if k:
            row[f"{word}_{name}"] = float((labels == k).sum()) * unit
    return row

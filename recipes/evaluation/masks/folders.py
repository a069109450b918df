"""Scoring masks that any program wrote: two folders, matched by file name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.errors import RecipeError
from recipes.evaluation.masks.cases import CaseScores, ScoreOptions, score_case
from recipes.evaluation.masks.pairing import (
    Pair,
    Skipped,
    pair_files,
    patient_of,
    read_patients,
)
from recipes.evaluation.masks.summary import case_rows, summarise

ClassNames = str | Sequence[str] | Mapping[int, str]
_MOST_CLASSES = 256


def score_folders(
    truth_dir: str | Path,
    prediction_dir: str | Path,
    *,
    class_names: ClassNames | None = None,
    binary: bool = False,
    ignore: int | None = None,
    patients: str | Path | Mapping[str, str] | None = None,
    spacing: Sequence[float] | float | None = None,
    options: ScoreOptions | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Score every predicted mask that has a truth of the same name.

    Args:
        truth_dir: Folder of label maps (NIfTI, NRRD, MetaImage, PNG, TIFF), searched through; or
            one file, and `prediction_dir` another.
        prediction_dir: Folder of the predictions; names match without ending.
        class_names: Names of the values: a list (value k is name k), value -> name, or a text
            such as `background,liver` or `0=background,4=enhancing`. By default the values found
            in the truth, named by themselves.
        binary: Take every value but 0 (and `ignore`) as one class, `foreground`; for masks of 0
            and 255 against 0 and 1.
        ignore: Value of unknown truth, such as 255; -1 always is.
        patients: Case -> patient, or a table of both (`pairing.read_patients`); without it each
            file is its own patient.
        spacing: In mm in the order of the array axes, where the files name none; else 1, and
            distances are in pixels.
        options: Definitions, tolerance, hit rule.
        n_boot: Bootstrap resamples.
        seed: Seed of the resamples.
        level: Coverage of the intervals.

    Returns:
        JSON-able: what `summary.summarise` gives, and "cases" (`summary.case_rows`), "skipped"
        ({"case", "kind", "message"}: files without a partner, that cannot be read, lie on another
        grid or hold unknown labels).

    Raises:
        RecipeError: Nothing could be scored, or an option does not fit.
        DataError: The table of patients or the class names cannot be read.
    """
    options = options or ScoreOptions()
    if binary and class_names is not None:
        raise RecipeError("binary=True makes one class of every value: give no class_names")
    given = _given_classes(class_names)
    if ignore in {0, *given}:
        raise RecipeError(f"ignore={ignore!r} is the value of a class: {[0, *given]}")
    pairs, skipped = pair_files(Path(truth_dir), Path(prediction_dir))
    whose = read_patients(patients) if patients is not None else {}
    classes = {1: "foreground"} if binary else given or _found_classes(pairs, ignore)
    cases = []
    for number, pair in enumerate(pairs, start=1):
        scores = _score_pair(pair, number, classes, binary, ignore, spacing, options)
        if isinstance(scores, Skipped):
            skipped.append(scores)
        else:
            who = patient_of(pair.name, whose)
            cases.append(replace(scores, case_id=pair.name, patient_id=who))
    if not cases:
        kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(s.kind for s in skipped).items())
        raise RecipeError(f"no mask could be scored: {kinds}; first: {skipped[-1].message}")
    flat = Counter(case.axes for case in cases)
    if len(flat) > 1:
        raise RecipeError(
            f"{flat[2]} masks are flat and {flat[3]} are volumes: score them apart, as their "
            "volumes and distances are not alike"
        )
    result = summarise(cases, options=options, n_boot=n_boot, seed=seed, level=level)
    result["cases"] = case_rows(cases)
    result["skipped"] = [{"case": s.name, "kind": s.kind, "message": s.message} for s in skipped]
    result["notes"] = [*_notes(skipped), *result["notes"]]
    return result


def _given_classes(class_names: ClassNames | None) -> dict[int, str]:
    """Value -> name without the background; empty where nothing is given."""
    from data_adapters.volumes.classes import classes_option

    found = classes_option(class_names)
    return {} if found is None else {v: n for v, n in found.name_of.items() if v != 0}


def _found_classes(pairs: Sequence[Pair], ignore: int | None) -> dict[int, str]:
    """The values of all true masks that can be read, named by themselves."""
    from data_adapters.errors import CaseError
    from data_adapters.layouts.mask_file import read_mask
    from data_adapters.volumes.classes import distinct

    seen: set[int] = set()
    for pair in pairs:
        try:
            mask, _ = read_mask(pair.truth, pair.name)
        except CaseError:
            continue  # scoring the pair says why
        seen |= {int(value) for value in distinct(mask)} - {0, -1, ignore}
        if len(seen) >= _MOST_CLASSES:
            raise RecipeError(
                f"the true masks hold {len(seen)} values: are they label maps? Else name the "
                "classes, or take them as one (binary)"
            )
    if not seen:
        raise RecipeError("the true masks are all empty: name the classes (class_names)")
    return {value: str(value) for value in sorted(seen)}


def _score_pair(
    pair: Pair,
    number: int,
    classes: Mapping[int, str],
    binary: bool,
    ignore: int | None,
    spacing: Sequence[float] | float | None,
    options: ScoreOptions,
) -> CaseScores | Skipped:
    from data_adapters.errors import CaseError
    from data_adapters.layouts.mask_file import read_mask

    files = (("truth", pair.truth), ("prediction", pair.prediction))
    masks, places = [], []
    for role, path in files:
        try:
            mask, geometry = read_mask(path, f"{number}")
        except CaseError as error:
            return Skipped(pair.name, error.kind, f"{role}: {error.message}")
        masks.append(mask)
        places.append(geometry)
    refused = _off_grid(pair.name, masks, places)
    if refused is not None:
        return refused
    labels = []
    for (role, _), mask in zip(files, masks, strict=True):
        label = _numbered(mask, classes, binary, ignore if role == "truth" else None, role)
        if isinstance(label, str):
            return Skipped(pair.name, "unknown-label", f"{role}: {label}")
        labels.append(label)
    geometry = places[0] or places[1]
    steps = spacing if geometry is None else geometry.spacing
    return score_case(
        *labels,
        class_names=("background", *classes.values()),
        spacing=steps,
        case_id=str(number),
        options=options,
    )


def _off_grid(name: str, masks: Sequence[NDArray[Any]], places: Sequence[Any]) -> Skipped | None:
    """Why two masks do not lie on one grid; None where they do."""
    from data_adapters.geometry import grid_distance
    from data_adapters.layouts.mask_file import MOST_APART

    shapes = [mask.shape for mask in masks]
    if shapes[0] != shapes[1]:
        text = f"truth has {shapes[0]} voxels and prediction {shapes[1]}: resample to one grid"
        return Skipped(name, "grid", text)
    if len(shapes[0]) not in (2, 3):
        return Skipped(
            name, "grid", f"a mask of shape {shapes[0]} has channels: give one label map"
        )
    if None in places:
        return None
    apart = grid_distance(places[0], places[1], shapes[0])
    if not apart <= MOST_APART * min(places[0].spacing):
        text = f"truth and prediction lie up to {apart:.3g} mm apart: resample to one grid"
        return Skipped(name, "grid", text)
    return None


def _numbered(
    mask: NDArray[Any], classes: Mapping[int, str], binary: bool, ignore: int | None, role: str
) -> NDArray[np.int16] | str:
    """Class numbers of a mask, -1 where unknown; or what is wrong with its values."""
    from data_adapters.volumes.classes import distinct

    values = [int(value) for value in distinct(mask)]
    void = {-1, ignore} if role == "truth" else set()
    known = {0, *classes} | void
    strange = [value for value in values if value not in known]
    if strange and not (binary and min(strange) >= 0):
        wanted = [0, *classes]
        return (
            f"it holds the values {strange[:5]}, the classes are {wanted}: name them "
            "(class_names), or take every value as one class (binary)"
        )
    numbered = np.zeros(mask.shape, np.int16)
    if binary:
        numbered[mask > 0] = 1
    else:
        for number, value in enumerate(classes, start=1):
            numbered[mask == value] = number
    for unknown in void - {None}:
        numbered[mask == unknown] = -1
    return numbered


def _notes(skipped: Sequence[Skipped]) -> list[str]:
    counts = Counter(s.kind for s in skipped)
    return [f"{n} cases were not scored: {kind}" for kind, n in sorted(counts.items())]

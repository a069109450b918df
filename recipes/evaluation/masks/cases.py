"""The scores of one case: every figure of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.errors import RecipeError
from recipes.evaluation.masks.counts import overlap, voxel_volume
from recipes.evaluation.masks.grids import check_binary, check_shapes, check_spacing, joint_box
from recipes.evaluation.masks.lesions import Detection, detection
from recipes.evaluation.masks.membranes import membrane_scores
from recipes.evaluation.masks.surfaces import DEFINITIONS, surface_distances

VOID = -1
FIGURES: Mapping[str, str] = {
    "dice": "2 |A and B| / (|A| + |B|); one mask empty: 0; both: undefined",
    "iou": "|A and B| / |A or B| (Jaccard); one mask empty: 0; both: undefined",
    "sensitivity": "|A and B| / |A|, A the truth; undefined where the truth is empty",
    "precision": "|A and B| / |B|, B the prediction; undefined where the prediction is empty",
    "hd95": "larger of the two directed 95th percentiles of surface distance; one mask empty: "
    "infinite, counted apart; both: undefined",
    "nsd": "share of both surfaces within the tolerance of the other (normalised surface Dice); "
    "one mask empty: 0; both: undefined",
    "assd": "average distance over both surfaces together; one mask empty: infinite, counted "
    "apart; both: undefined",
    "truth_volume": "volume of the truth (area in two dimensions)",
    "prediction_volume": "volume of the prediction",
    "volume_error": "prediction minus truth",
    "relative_volume_error": "(prediction - truth) / truth; undefined where the truth is empty",
    "lesion_f1": "harmonic mean of the shares of lesions found and of claims right, over connected "
    "components; one mask empty: 0; both: undefined",
    "lesion_sensitivity": "share of the true components that are hit; undefined without one",
    "lesion_precision": "share of the predicted components that hit; undefined without one",
}
"""Every figure of a case and class, with its rule for empty masks."""
MEMBRANE_FIGURES: Mapping[str, str] = {
    "v_rand": "foreground-restricted Rand score of the class's components after border thinning "
    "(ISBI 2012), mean over slices; undefined where the truth is empty",
    "v_info": "foreground-restricted information score, likewise",
    "pixel_accuracy": "share of known pixels on the right side of the class's border",
}
"""Further figures of cells between membranes, with `ScoreOptions.membranes`."""


@dataclass(frozen=True)
class ScoreOptions:
    """What to measure, and by which definition.

    Attributes:
        definition: `monai` or `deepmind`, as `surfaces` describes them.
        tolerance: Of the normalised surface Dice in mm: one, or class -> tolerance.
        min_iou: Hit rule of lesions: 0 for one shared voxel, else the least IoU.
        min_voxels: Components with fewer voxels are no lesions.
        membranes: Measure `MEMBRANE_FIGURES` too, of classes that membranes divide into cells.
    """

    definition: str = "monai"
    tolerance: float | Mapping[str, float] = 1.0
    min_iou: float = 0.0
    min_voxels: int = 1
    membranes: bool = False

    def __post_init__(self) -> None:
        """Refuse what no score can be computed with."""
        if self.definition not in DEFINITIONS:
            choices = ", ".join(DEFINITIONS)
            raise RecipeError(f"definition={self.definition!r}: choose one of {choices}")
        every = self.tolerance
        values = list(every.values()) if isinstance(every, Mapping) else [every]
        if not all(np.isfinite(value) and value >= 0 for value in values):
            raise RecipeError(f"tolerance={every!r}: wanted 0 mm or more")
        if not 0 <= self.min_iou <= 1:
            raise RecipeError(f"min_iou={self.min_iou!r}: wanted 0 to 1")
        if self.min_voxels < 1:
            raise RecipeError(f"min_voxels={self.min_voxels!r}: wanted 1 or more")

    def tolerance_of(self, name: str) -> float:
        """Tolerance of one class in mm.

        Raises:
            RecipeError: The mapping does not name the class.
        """
        if not isinstance(self.tolerance, Mapping):
            return float(self.tolerance)
        if name not in self.tolerance:
            raise RecipeError(f"no tolerance for class {name!r}; given: {sorted(self.tolerance)}")
        return float(self.tolerance[name])


@dataclass(frozen=True)
class CaseScores:
    """Figures of one case.

    Attributes:
        case_id: Pseudonymous id.
        patient_id: Patient, the unit of intervals; None when unknown.
        figures: Class -> figure (a key of `FIGURES`, or of `MEMBRANE_FIGURES`) -> value; NaN
            undefined, infinite as said.
        lesions: Class -> lesions found and claimed.
        axes: 2 or 3.
        spacing: In mm; empty where none was given, so that distances and volumes are in voxels
            (volumes of three axes in thousands of them).
    """

    case_id: str
    patient_id: str | None
    figures: Mapping[str, Mapping[str, float]]
    lesions: Mapping[str, Detection] = field(default_factory=dict)
    axes: int = 3
    spacing: tuple[float, ...] = ()


def score_class(
    truth: Any,
    prediction: Any,
    *,
    spacing: Sequence[float] | float | None = None,
    options: ScoreOptions | None = None,
    tolerance: float | None = None,
) -> tuple[dict[str, float], Detection]:
    """All figures of one pair of binary masks, as one class or one channel of overlapping ones.

    Args:
        truth: Binary (H, W) or (D, H, W).
        prediction: The same shape.
        spacing: In mm, in the order of the array axes; None for 1.
        options: Definitions.
        tolerance: Of the surface Dice in mm, instead of the one in `options`.

    Returns:
        Figure -> value, with the keys of `FIGURES`; and the lesions.

    Raises:
        RecipeError: Shapes, values, spacing or options do not fit.
    """
    options = options or ScoreOptions()
    first, second = check_binary(truth, prediction)
    steps = check_spacing(spacing, first.ndim)
    box = joint_box(first, second)
    if box is not None:
        first, second = (np.ascontiguousarray(mask[box]) for mask in (first, second))
    counts = overlap(first, second)
    surfaces = surface_distances(first, second, spacing=steps, definition=options.definition)
    found = detection(first, second, min_iou=options.min_iou, min_voxels=options.min_voxels)
    unit = voxel_volume(steps)
    near = options.tolerance_of("") if tolerance is None else tolerance
    figures = {
        "dice": counts.dice,
        "iou": counts.iou,
        "sensitivity": counts.sensitivity,
        "precision": counts.precision,
        "hd95": surfaces.hausdorff(95.0),
        "nsd": surfaces.surface_dice(near),
        "assd": surfaces.average(),
        "truth_volume": counts.truth * unit,
        "prediction_volume": counts.prediction * unit,
        "volume_error": (counts.prediction - counts.truth) * unit,
        "relative_volume_error": counts.relative_error,
        "lesion_f1": found.f1,
        "lesion_sensitivity": found.sensitivity,
        "lesion_precision": found.precision,
    }
    return figures, found


def score_case(
    truth: Any,
    prediction: Any,
    *,
    class_names: Sequence[str],
    spacing: Sequence[float] | float | None = None,
    case_id: str = "case",
    patient_id: str | None = None,
    options: ScoreOptions | None = None,
) -> CaseScores:
    """Score one predicted label map against the truth, each class but the background.

    Voxels of unknown truth (-1) are left out: both masks are background there, as with MONAI's
    `ignore_index`; volumes leave them out as well.

    Args:
        truth: Whole numbers, (H, W) or (D, H, W): 0 background, k for `class_names[k]`, -1 void.
        prediction: The same shape and classes, without -1.
        class_names: `class_names[0]` is the background.
        spacing: In mm, in the order of the array axes; None for 1.
        case_id: Pseudonymous id, for messages and tables.
        patient_id: Patient; None when unknown.
        options: Definitions.

    Raises:
        RecipeError: Shapes, values, spacing, names or options do not fit.
    """
    options = options or ScoreOptions()
    names = _names(class_names)
    true = _labels(truth, len(names), f"case {case_id}: truth", void=True)
    guess = _labels(prediction, len(names), f"case {case_id}: prediction", void=False)
    try:
        check_shapes(true.shape, guess.shape)
    except RecipeError as error:
        raise RecipeError(f"case {case_id}: {error}") from None
    steps = check_spacing(spacing, true.ndim)
    known = true != VOID
    cells = [_cells(true, guess, k) if options.membranes else {} for k in range(len(names))]
    box = joint_box((true != 0) & known, (guess != 0) & known)
    if box is None:
        box = tuple(slice(0, 1) for _ in true.shape)
    true, guess, known = true[box], guess[box], known[box]
    figures, lesions = {}, {}
    for k, name in enumerate(names[1:], start=1):
        figures[name], lesions[name] = score_class(
            (true == k) & known,
            (guess == k) & known,
            spacing=steps,
            options=options,
            tolerance=options.tolerance_of(name),
        )
        figures[name] |= cells[k]
    told = () if spacing is None else steps
    return CaseScores(case_id, patient_id, figures, lesions, true.ndim, told)


def _cells(truth: NDArray[Any], prediction: NDArray[Any], k: int) -> dict[str, float]:
    """The figures of a class as cells, everything else as membrane."""
    cells = np.where(truth == VOID, VOID, truth == k)
    scores = membrane_scores(cells, prediction == k)
    return {name: scores[name] for name in MEMBRANE_FIGURES}


def _names(class_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(name) for name in class_names)
    if len(names) < 2 or len(set(names)) < len(names) or isinstance(class_names, str):
        raise RecipeError(f"class_names={class_names!r}: wanted the background and other names")
    return names


def _labels(mask: Any, classes: int, where: str, *, void: bool) -> NDArray[Any]:
    """A label map whose values are classes."""
    array = np.asarray(mask)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind == "f" and array.size and bool(np.isfinite(array).all()):
        whole = array.astype(np.int64)
        array = whole if bool((whole == array).all()) else array
    if array.dtype.kind not in "ui":
        raise RecipeError(f"{where} holds values that are no whole numbers: give a label map")
    if not array.size:
        raise RecipeError(f"{where} has shape {array.shape} and holds no voxel")
    low, high = int(array.min()), int(array.max())
    if low < (VOID if void else 0) or high >= classes:
        odd = low if low < (VOID if void else 0) else high
        allowed = f"0 to {classes - 1}" + (", or -1 where unknown" if void else "")
        raise RecipeError(f"{where} holds the value {odd}; the classes are {allowed}")
    return array

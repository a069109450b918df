"""ISBI 2012's scores of cells against membranes (Arganda-Carreras et al. 2015).

"Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers in
Neuroanatomy 9:142, doi 10.3389/fnana.2015.00142. With p_ij the share of the truth's foreground in
segment i of the proposal and j of the truth, s_i and t_j its sums:

    V_rand = sum p_ij^2 / (0.5 sum s_i^2 + 0.5 sum t_j^2)
    V_info = I(S; T) / (0.5 H(S) + 0.5 H(T))

"Foreground-restricted": only pixels that the truth calls cell count. As published: segments are
the 4-connected components of each 2D slice; a pixel of the truth's foreground that the proposal
leaves to its membranes is a segment of its own; borders of the proposal are thinned to one pixel
by a watershed from its segments; a stack's score is the mean over its slices. Which pixels a
border one pixel wide keeps is left to the watershed: here it floods the distance from the
segments, with 4-neighbours (ITK). 1 is perfect. These are figures on slices with known truth, not
those of the challenge's hidden test part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.errors import RecipeError

Labels = NDArray[np.int64]
_VOID = -1
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def membrane_scores(
    truth: Any, prediction: Any, *, threshold: float | None = None, thin: bool = True
) -> dict[str, float]:
    """Foreground-restricted Rand and information scores, and pixel accuracy.

    Args:
        truth: (H, W) or (D, H, W): 0 membrane, above 0 cell, -1 unknown (left out).
        prediction: The same shape: cells above `threshold`.
        threshold: None for a mask, whose cells are above 0; else for probabilities of cell.
        thin: Thin the prediction's membranes to one pixel first, as the challenge does. The pixel
            accuracy is that of the mask before.

    Returns:
        `v_rand`, `v_rand_split` (sum p^2 / sum t^2, lowered by splits) and `v_rand_merge` (by
        mergers), `v_info`, `v_info_split` (I / H(S)) and `v_info_merge` (I / H(T)), each the mean
        over slices with foreground, NaN without any; and `pixel_accuracy` over known pixels.

    Raises:
        RecipeError: Shapes or values do not fit.
    """
    true, cells = _checked(truth, prediction, threshold)
    known = true != _VOID
    right = ((true > 0) == cells)[known]
    slices = [_slice_scores(t, c, thin) for t, c in zip(true, cells, strict=True)]
    scored = [scores for scores in slices if scores is not None]
    names = ("v_rand", "v_rand_split", "v_rand_merge", "v_info", "v_info_split", "v_info_merge")
    means = {
        name: float(np.mean([scores[name] for scores in scored])) if scored else math.nan
        for name in names
    }
    return {**means, "pixel_accuracy": float(right.mean()) if right.size else math.nan}


def best_membrane_scores(
    truth: Any,
    probability: Any,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
    thin: bool = True,
) -> dict[str, Any]:
    """The scores at the threshold with the best V_rand, as the challenge reports them.

    The threshold is chosen on the truth it is scored with, which flatters; choose it on
    validation slices to score others.

    Args:
        truth: As for `membrane_scores`.
        probability: Probability of cell, 0 to 1, the same shape.
        thresholds: Tried ones.
        thin: As for `membrane_scores`.

    Returns:
        The scores, with "threshold" and "curve": the scores at every threshold.

    Raises:
        RecipeError: No thresholds, or arrays that do not fit.
    """
    curve = [
        {"threshold": float(t), **membrane_scores(truth, probability, threshold=t, thin=thin)}
        for t in thresholds
    ]
    if not curve:
        raise RecipeError("thresholds is empty: wanted one or more")
    best = max(curve, key=lambda row: -1.0 if math.isnan(row["v_rand"]) else row["v_rand"])
    return {**best, "curve": curve}


def _checked(
    truth: Any, prediction: Any, threshold: float | None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    true, guess = np.asarray(truth), np.asarray(prediction)
    if true.shape != guess.shape or true.ndim not in (2, 3) or not true.size:
        raise RecipeError(
            f"truth of shape {true.shape} and prediction of shape {guess.shape}: wanted one "
            "(H, W) or (D, H, W)"
        )
    for name, array in (("truth", true), ("prediction", guess)):
        if array.dtype.kind not in "buif" or not bool(np.isfinite(array).all()):
            raise RecipeError(f"{name} holds values that are no finite numbers")
    if true.dtype.kind == "b":
        true = true.astype(np.uint8)
    if float(true.min()) < _VOID or (true.dtype.kind == "f" and bool((true != true.round()).any())):
        raise RecipeError("truth: wanted 0 for membrane, whole numbers above 0 for cells, or -1")
    if threshold is not None and not math.isfinite(threshold):
        raise RecipeError(f"threshold={threshold!r}: wanted a finite number")
    cells = guess > (0 if threshold is None else threshold)
    return (true, cells) if true.ndim == 3 else (true[None], cells[None])


def _slice_scores(
    truth: NDArray[Any], cells: NDArray[np.bool_], thin: bool
) -> dict[str, float] | None:
    foreground = truth > 0
    if not foreground.any():
        return None
    proposal = components(cells)
    if thin:
        proposal = thinned(proposal)
    return pair_scores(components(foreground)[foreground], proposal[foreground])


def components(cells: NDArray[np.bool_]) -> Labels:
    """Number the 4-connected components of a slice from 1 on; 0 elsewhere."""
    from scipy import ndimage

    label: Callable[..., Any] = ndimage.label
    return np.asarray(label(cells)[0], np.int64)


def thinned(segments: Labels) -> Labels:
    """Grow segments until borders one pixel wide (8-connected) are left between them.

    Args:
        segments: (H, W) numbers from 1 on, 0 for borders.
    """
    if not segments.any() or segments.all():
        return segments
    import SimpleITK
    from scipy import ndimage

    distance: Callable[..., Any] = ndimage.distance_transform_edt
    landscape = SimpleITK.GetImageFromArray(np.asarray(distance(segments == 0), np.float32))
    markers = SimpleITK.GetImageFromArray(segments.astype(np.uint32))
    grown = SimpleITK.MorphologicalWatershedFromMarkers(
        landscape, markers, markWatershedLine=True, fullyConnected=False
    )
    return np.asarray(SimpleITK.GetArrayFromImage(grown), np.int64)


def pair_scores(truth: Labels, proposal: Labels) -> dict[str, float]:
    """Rand and information scores of two labellings of the same pixels.

    Args:
        truth: (n,) segment of each pixel of the truth's foreground, n > 0.
        proposal: (n,) segment that the proposal puts it in; 0 for none: a segment of its own.

    Returns:
        The six scores of `membrane_scores`. Where an entropy is 0 (one segment alone), the
        quotient is 1 if both labellings are one segment, else 0.
    """
    n = len(truth)
    inside = proposal != 0
    width = int(proposal.max()) + 1
    _, joint = np.unique(truth[inside] * width + proposal[inside], return_counts=True)
    _, sizes = np.unique(truth, return_counts=True)
    _, claims = np.unique(proposal[inside], return_counts=True)
    alone = np.ones(int(n - inside.sum()))
    shares = [np.concatenate(part) / n for part in ((joint, alone), (claims, alone))]
    p, s, t = *shares, sizes / n
    both, mine, true = (float((share**2).sum()) for share in (p, s, t))
    h_both, h_mine, h_true = (float(-(share * np.log(share)).sum()) for share in (p, s, t))
    shared = h_mine + h_true - h_both
    return {
        "v_rand": both / (0.5 * mine + 0.5 * true),
        "v_rand_split": both / true,
        "v_rand_merge": both / mine,
        "v_info": _share(shared, 0.5 * h_mine + 0.5 * h_true),
        "v_info_split": _share(shared, h_mine, same=h_true == h_mine),
        "v_info_merge": _share(shared, h_true, same=h_true == h_mine),
    }


def _share(part: float, whole: float, *, same: bool = True) -> float:
    if whole > 0:
        return max(0.0, part) / whole
    return 1.0 if same else 0.0

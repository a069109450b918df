"""Several answers for one case: their mean, and how far they disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What members say together.

    Attributes:
        prob: ``(n, k)`` mean probability (Lakshminarayanan et al. 2017, arXiv:1612.01474).
        entropy: ``(n,)`` entropy of the mean in nats; summed over labels for multi-label.
        disagreement: ``(n,)`` mutual information between answer and member, in nats: the entropy
            of the mean minus the mean entropy (Depeweg et al. 2018, arXiv:1710.07283); 0 where
            the members agree, however unsure each is.
    """

    prob: Array
    entropy: Array
    disagreement: Array


def ensemble(prob: npt.NDArray[Any], *, kind: str) -> Ensemble:
    """Combine members' probabilities.

    Args:
        prob: ``(members, n, k)``.
        kind: ``single`` (rows add up to 1) or ``multilabel`` (each label on its own).

    Raises:
        RecipeError: No member, another shape, or values that are no probabilities.
    """
    p = np.asarray(prob, "float64")
    if p.ndim != 3 or len(p) == 0:
        raise RecipeError(f"members' probabilities have shape {p.shape}, expected (members, n, k)")
    if not np.isfinite(p).all() or p.min() < 0 or p.max() > 1 + 1e-6:
        raise RecipeError("members' probabilities must be finite and between 0 and 1 (not logits)")
    mean = p.mean(axis=0)
    whole = _entropy(mean, kind)
    gap = whole - _entropy(p, kind).mean(axis=0)
    return Ensemble(prob=mean, entropy=whole, disagreement=np.maximum(gap, 0.0))


def _entropy(p: Array, kind: str) -> Array:
    from scipy.special import entr

    if kind == "single":
        return np.asarray(entr(p).sum(axis=-1))
    return np.asarray((entr(p) + entr(1.0 - np.minimum(p, 1.0))).sum(axis=-1))

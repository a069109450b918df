"""Cases of another kind: how far an embedding lies from those of the training cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.uncertainty.conformal import conformal_quantile

Method = Literal["mahalanobis", "neighbours"]
Array = npt.NDArray[np.float64]
_ROWS = 1024
"""Cases scored at once, to bound the memory."""


class Reference(Protocol):
    """What the training cases leave behind to measure new ones against."""

    def score(self, embeddings: npt.NDArray[Any]) -> Array:
        """Distance of ``(n, d)`` embeddings, shape (n,); larger is farther away."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that `read_reference` needs, as plain arrays."""


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Distance to the nearest class mean under one covariance (Lee et al. 2018).

    arXiv:1807.03888, equation 2: ``min_c (x - m_c)' S^-1 (x - m_c)``, here its square root.

    Attributes:
        means: ``(k, d)`` class means.
        whiten: ``(d, d)`` W with ``W W' = S^-1``.
    """

    means: Array
    whiten: Array

    def score(self, embeddings: npt.NDArray[Any]) -> Array:
        """Distance in standard deviations, shape (n,)."""
        x = _checked(embeddings, self.means.shape[1]) @ self.whiten
        centres = self.means @ self.whiten
        squares = [np.square(x - centre).sum(axis=1) for centre in centres]
        return np.asarray(np.sqrt(np.min(squares, axis=0)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The two attributes."""
        return {"means": self.means, "whiten": self.whiten}


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Distance to the k-th nearest training case on the unit sphere (Sun et al. 2022).

    arXiv:2204.06507, section 3: embeddings are brought to length 1, then Euclidean distances.

    Attributes:
        cases: ``(n, d)`` normalised training embeddings.
        k: Which neighbour counts.
    """

    cases: Array
    k: int

    def score(self, embeddings: npt.NDArray[Any]) -> Array:
        """Distance between 0 and 2, shape (n,)."""
        x = _unit(_checked(embeddings, self.cases.shape[1]))
        parts = []
        for start in range(0, len(x), _ROWS):
            inner = x[start : start + _ROWS] @ self.cases.T
            near = np.partition(-inner, self.k - 1, axis=1)[:, self.k - 1]
            parts.append(np.sqrt(np.maximum(2.0 + 2.0 * near, 0.0)))
        return np.concatenate(parts) if parts else np.zeros(0)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Embeddings as float32, and k."""
        return {"cases": self.cases.astype("float32"), "k": np.asarray(self.k)}


def fit_mahalanobis(
    embeddings: npt.NDArray[Any], labels: npt.NDArray[np.int64] | None
) -> Mahalanobis:
    """Class means and the shared covariance of training embeddings.

    The covariance is shrunk (Ledoit and Wolf 2004, scikit-learn), so that it can be inverted with
    fewer cases than features.

    Args:
        embeddings: ``(n, d)`` of training cases.
        labels: ``(n,)`` classes; None: one mean for all (multi-label).

    Raises:
        RecipeError: Fewer than two cases, embeddings that are not finite, or all equal.
    """
    x = _checked(embeddings, np.shape(embeddings)[-1])
    if len(x) < 2:
        raise RecipeError(f"{len(x)} training embeddings: a covariance needs at least 2")
    groups = np.zeros(len(x), "int64") if labels is None else np.asarray(labels, "int64")
    means = np.stack([x[groups == c].mean(axis=0) for c in np.unique(groups)])
    rest = x - means[np.searchsorted(np.unique(groups), groups)]
    from sklearn.covariance import LedoitWolf

    covariance = LedoitWolf(assume_centered=True).fit(rest).covariance_
    if not np.trace(covariance) > 0:
        raise RecipeError("the training embeddings do not vary; no distance can be measured")
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, values[-1] * 1e-12)
    return Mahalanobis(means=means, whiten=vectors / np.sqrt(values))


def fit_neighbours(embeddings: npt.NDArray[Any], *, k: int = 10) -> Neighbours:
    """Keep normalised training embeddings.

    Args:
        embeddings: ``(n, d)`` of training cases.
        k: Which neighbour counts; at most n.

    Raises:
        RecipeError: No case, ``k`` below 1, or embeddings that are not finite.
    """
    x = _checked(embeddings, np.shape(embeddings)[-1])
    if len(x) == 0 or k < 1:
        raise RecipeError(f"{len(x)} training embeddings and k = {k}: both must be at least 1")
    stored = _unit(x).astype("float32").astype("float64")
    return Neighbours(cases=stored, k=min(k, len(x)))


def read_reference(method: str, arrays: dict[str, npt.NDArray[Any]]) -> Reference:
    """The reference that ``arrays()`` described.

    Raises:
        RecipeError: An array is missing or of a wrong shape.
    """
    try:
        if method == "mahalanobis":
            means, whiten = (np.asarray(arrays[n], "float64") for n in ("means", "whiten"))
            if means.ndim != 2 or whiten.shape != (means.shape[1],) * 2:
                raise RecipeError(f"means {means.shape} and whiten {whiten.shape} do not fit")
            return Mahalanobis(means=means, whiten=whiten)
        cases = np.asarray(arrays["cases"], "float64")
        k = int(arrays["k"])
    except KeyError as error:
        raise RecipeError(f"the reference of training cases lacks {error}") from None
    if cases.ndim != 2 or not 1 <= k <= len(cases):
        raise RecipeError(f"cases {cases.shape} and k = {k} do not fit")
    return Neighbours(cases=cases, k=k)


def alarm_threshold(
    scores: npt.NDArray[Any], group_of: npt.NDArray[np.int64], *, false_alarms: float
) -> float:
    """Score above which a case is called foreign, at a stated rate of false alarms.

    The conformal quantile of validation scores: of new cases like those of validation, at most
    this share lies above it (arXiv:2107.07511, section 4.4).

    Args:
        scores: ``(n,)`` of validation cases, which the reference was not fitted on.
        group_of: ``(n,)`` number of each case's patient.
        false_alarms: Share in (0, 1).

    Returns:
        The threshold; infinite where there are too few patients for the rate.
    """
    if not 0 < false_alarms < 1:
        raise RecipeError(f"false alarm rate {false_alarms!r} must lie between 0 and 1, e.g. 0.05")
    return conformal_quantile(scores, group_of, coverage=1.0 - false_alarms)


def _checked(embeddings: npt.NDArray[Any], width: int) -> Array:
    x = np.asarray(embeddings, "float64")
    if x.ndim != 2 or x.shape[1] != width:
        raise RecipeError(f"embeddings have shape {x.shape}, expected (n, {width})")
    if not np.isfinite(x).all():
        raise RecipeError("an embedding is not finite; no distance can be measured")
    return x


def _unit(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))

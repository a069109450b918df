"""A map of an embedding in two dimensions: t-SNE, or UMAP where it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

Way = Literal["tsne", "umap"]
_WIDTH = 50
"""Principal components before the map, as van der Maaten and Hinton do."""
LEAST = 5

MEANING = {
    "tsne": (
        "t-SNE (van der Maaten and Hinton 2008) keeps near cases near. Distances between groups, "
        "their sizes and their density mean nothing, and structure can appear where there is none "
        "(Wattenberg et al. 2016, doi:10.23915/distill.00002): the figures below are computed in "
        "the embedding itself, not on this map."
    ),
    "umap": (
        "UMAP (McInnes et al. 2018, arXiv:1802.03426) keeps near cases near. Distances between "
        "groups and their density mean little: the figures below are computed in the embedding "
        "itself, not on this map."
    ),
}


def check_way(way: str) -> None:
    """Refuse a map that cannot be made, before any work.

    Raises:
        RecipeError: An unknown way, or UMAP is not installed.
    """
    if way not in MEANING:
        raise RecipeError(f"unknown map {way!r}; known: {', '.join(MEANING)}")
    if way == "umap" and find_spec("umap") is None:
        raise RecipeError("a UMAP map needs umap-learn: pip install 'radzoo[umap]'")


def project(
    embeddings: npt.NDArray[Any], *, way: Way = "tsne", perplexity: float = 30.0, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Two coordinates for every case.

    Args:
        embeddings: ``(n, d)``, finite; reduced to 50 principal components first.
        way: ``tsne`` (scikit-learn, started from the principal components) or ``umap``.
        perplexity: Of t-SNE; also the neighbours of UMAP. At most a third of the cases.
        seed: Seed.

    Returns:
        ``(n, 2)``, scaled by one factor to lie in the middle of the unit square.

    Raises:
        RecipeError: Fewer than five cases, an unknown way, or UMAP is not installed.
    """
    x = np.asarray(embeddings, "float64")
    if len(x) < LEAST:
        raise RecipeError(f"{len(x)} cases are too few for a map; it needs at least {LEAST}")
    check_way(way)
    near = min(perplexity, (len(x) - 1) / 3)
    if min(x.shape) > _WIDTH:
        from sklearn.decomposition import PCA

        x = PCA(_WIDTH, random_state=seed).fit_transform(x)
    flat = _tsne(x, near, seed) if way == "tsne" else _umap(x, near, seed)
    low, high = np.min(flat, axis=0), np.max(flat, axis=0)
    size = max(float((high - low).max()), 1e-12)
    middle = (np.asarray(flat, "float64") - (low + high) / 2) / size
    return np.asarray(np.clip(0.5 + middle, 0.0, 1.0))


def _tsne(x: npt.NDArray[np.float64], near: float, seed: int) -> Any:
    from sklearn.manifold import TSNE

    init = "pca" if x.shape[1] >= 2 else "random"
    return TSNE(2, perplexity=near, init=init, random_state=seed).fit_transform(x)


def _umap(x: npt.NDArray[np.float64], near: float, seed: int) -> Any:
    umap = import_module("umap")
    # A seed leaves one thread; said beforehand, so that UMAP does not warn of it.
    made = umap.UMAP(n_neighbors=max(2, int(near)), random_state=seed, n_jobs=1)
    return made.fit_transform(x)

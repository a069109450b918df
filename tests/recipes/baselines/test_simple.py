"""Simple features against scikit-image, scipy and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from skimage.feature import graycomatrix, graycoprops

from recipes.baselines import simple


@pytest.fixture
def picture() -> np.ndarray:
    """Correlated grey values in [0, 1]."""
    rng = np.random.default_rng(5)
    noise = rng.uniform(size=(23, 31))
    return np.asarray((noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 3)


def test_texture_is_that_of_scikit_image(picture: np.ndarray) -> None:
    levels = simple.quantised(picture).astype("uint8")
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = graycomatrix(
        levels, list(simple.DISTANCES), angles, levels=simple.LEVELS, symmetric=True, normed=True
    )
    # scikit-image's diagonal neighbours lie round(distance / sqrt(2)) away; ours as many steps.
    names = ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation")
    for k, distance in enumerate(simple.DISTANCES):
        for a, (dy, dx) in enumerate(simple.DIRECTIONS):
            step = distance if 0 in (dy, dx) else max(1, round(distance / np.sqrt(2)))
            ours = simple.co_occurrence(levels.astype("int64"), (dy * step, dx * step))
            np.testing.assert_allclose(ours, matrix[:, :, k, a], atol=1e-12)
            theirs = [graycoprops(matrix, name)[k, a] for name in names]
            np.testing.assert_allclose(simple.haralick(ours), theirs, rtol=1e-9)


def test_first_order_is_that_of_scipy(picture: np.ndarray) -> None:
    mean, sd, skewness, kurtosis, entropy, *percentiles = simple.first_order(picture)
    counts = np.histogram(picture, bins=simple.LEVELS, range=(0, 1))[0]
    assert (mean, sd) == pytest.approx((picture.mean(), picture.std()))
    assert skewness == pytest.approx(stats.skew(picture, axis=None))
    assert kurtosis == pytest.approx(stats.kurtosis(picture, axis=None))
    assert entropy == pytest.approx(stats.entropy(counts, base=2))
    assert percentiles == pytest.approx(np.percentile(picture, simple.PERCENTILES))


def test_mirrored_and_turned_pictures_have_the_same_features(picture: np.ndarray) -> None:
    square = picture[:20, :20]
    views = np.stack([square, square[::-1], square[:, ::-1], np.rot90(square), square.T])
    rows = simple.simple_features(views[..., None] * 255, range(5), low=0, high=255)
    np.testing.assert_allclose(rows[1:], np.repeat(rows[:1], 4, axis=0), rtol=1e-9)


def test_constant_tiny_and_clipped_pictures_are_finite() -> None:
    images = np.stack([np.full((3, 3, 1), 900.0), np.full((3, 3, 1), -2000.0)])
    rows = simple.simple_features(images, [0, 1], low=-1000, high=800)
    assert rows.shape == (2, len(simple.feature_names()))
    assert np.isfinite(rows).all()
    named = dict(zip(simple.feature_names(), rows[0], strict=True))
    assert (named["mean"], named["sd"], named["correlation_1"]) == (1.0, 0.0, 1.0)
    assert dict(zip(simple.feature_names(), rows[1], strict=True))["mean"] == 0.0

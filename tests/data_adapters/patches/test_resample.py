"""Values at places within a box, against scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from data_adapters.patches.resample import Places, mix_along
from tests.data_adapters.patches.stores import blobs

BOXES = [(13, 17), (9, 14, 11), (1, 8, 9), (40, 5, 6)]


def coordinates(box: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    """Random places, some beyond the box, as `(n, 6, 7, 5)` or `(n, 6, 7)`."""
    shape = (6, 7, 5)[: len(box)]
    unit = np.random.default_rng(seed).uniform(-0.1, 1.1, (len(box), *shape))
    sides = np.array(box).reshape(-1, *(1,) * len(box))
    return (unit * (sides - 1)).astype(np.float32)


@pytest.mark.parametrize("box", BOXES)
def test_linear_and_cubic_agree_with_scipy(box: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).standard_normal(box).astype(np.float32)
    at = coordinates(box)
    expected = ndimage.map_coordinates(values, at, order=1, mode="nearest")
    np.testing.assert_allclose(Places(at.copy(), box).linear(values), expected, atol=2e-4)
    cubic = ndimage.map_coordinates(values, at, order=3, mode="nearest")
    inner = np.logical_and.reduce([(a >= 0) & (a <= n - 1) for a, n in zip(at, box, strict=True)])
    got = Places(at.copy(), box).cubic(values)
    clipped = np.clip(cubic, values.min(), values.max())
    np.testing.assert_allclose(got[inner], clipped[inner], atol=1e-4)


@pytest.mark.parametrize("box", BOXES)
def test_nearest_agrees_with_scipy(box: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).integers(-3, 9, box).astype(np.int16)
    at = coordinates(box)
    expected = ndimage.map_coordinates(values, at, order=0, mode="nearest")
    got = Places(at.copy(), box).nearest(values)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.int16


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("smooth", [True, False])
def test_classes_have_the_largest_interpolated_share(box: tuple[int, ...], smooth: bool) -> None:
    noise = np.random.default_rng(3).integers(0, 4, box).astype(np.int16)
    mask = (blobs(3, box, classes=4) if smooth else noise) - 2
    at = coordinates(box, 4)
    shares = np.stack(
        [
            ndimage.map_coordinates((mask == k).astype(np.float64), at, order=1, mode="nearest")
            for k in range(-2, 2)
        ]
    )
    got = Places(at.copy(), box).classes(mask)
    won = np.take_along_axis(shares, (got + 2)[None].astype(int), 0)[0]
    np.testing.assert_allclose(won, shares.max(axis=0), atol=1e-5)
    assert got.dtype == np.int16
    assert len(np.unique(got)) > 1


@pytest.mark.parametrize("box", BOXES)
def test_whole_places_give_the_values_themselves(box: tuple[int, ...]) -> None:
    at = np.stack(np.meshgrid(*[np.arange(n) for n in box], indexing="ij")).astype(np.float32)
    values = np.random.default_rng(5).standard_normal(box).astype(np.float32)
    mask = np.random.default_rng(6).integers(-2, 5, box).astype(np.int16)
    places = Places(at, box)
    np.testing.assert_array_equal(places.linear(values), values)
    np.testing.assert_array_equal(places.nearest(mask), mask)
    np.testing.assert_array_equal(places.classes(mask), mask)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mixtures_along_an_axis_are_products_with_a_sparse_matrix(axis: int) -> None:
    rng = np.random.default_rng(axis)
    values = rng.standard_normal((5, 7, 6)).astype(np.float32)
    taken = [rng.integers(0, values.shape[axis], 9) for _ in range(3)]
    weights = [rng.standard_normal(9).astype(np.float32) for _ in range(3)]
    matrix = np.zeros((9, values.shape[axis]))
    for places, weight in zip(taken, weights, strict=True):
        np.add.at(matrix, (np.arange(9), places), weight)
    expected = np.moveaxis(np.tensordot(values, matrix, (axis, 1)), -1, axis)
    np.testing.assert_allclose(mix_along(values, axis, taken, weights), expected, atol=1e-5)

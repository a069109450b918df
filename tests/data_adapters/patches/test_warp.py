"""Rotation, scaling and deformation of patches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import BSpline

from data_adapters.patches.policy import PatchPolicy
from data_adapters.patches.warp import (
    Warp,
    affine_matrix,
    draw_lattice,
    draw_warp,
    thick_axes,
)
from tests.data_adapters.patches.stores import blobs

FREE = (False,) * 3


def resampled(warp: Warp, whole: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """The warped patch that begins at `start` along each axis of a larger array."""
    low, sides = warp.box()
    box = tuple(slice(start + a, start + a + n) for a, n in zip(low, sides, strict=True))
    assert whole[box].shape == sides
    return warp.places().linear(whole[box])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quarter_turns_are_numpys(axis: int) -> None:
    whole = np.random.default_rng(axis).standard_normal((11, 11, 11)).astype(np.float32)
    angles = [0.0, 0.0, 0.0]
    angles[axis] = math.pi / 2
    got = resampled(Warp((11,) * 3, affine_matrix(angles, 1.0, (2, 2, 2), FREE)), whole, 0)
    plane = [(1, 2), (0, 2), (0, 1)][axis]
    np.testing.assert_allclose(got, np.rot90(whole, -1, plane), atol=2e-3)


def test_a_warp_agrees_with_scipy_on_its_matrix() -> None:
    whole = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    size = (10, 12, 9)
    matrix = affine_matrix((0.3, -0.2, 0.4), 1.2, (2.0, 1.0, 1.5), FREE)
    got = resampled(Warp(size, matrix), whole, 14)
    half = (np.array(size) - 1) / 2
    expected = ndimage.affine_transform(
        whole, matrix, 14 + half - matrix @ half, output_shape=size, order=1
    )
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_a_ball_stays_a_ball_in_millimetres(scale: float) -> None:
    spacing, size = np.array([2.5, 1.0, 1.5]), (21, 51, 35)
    matrix = affine_matrix((0.5, -0.4, 0.3), scale, spacing, FREE)
    warp = Warp(size, matrix)
    low, sides = warp.box()
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in sides], indexing="ij"), -1) + np.array(low)
    centre = (np.array(size) - 1) / 2
    distance = np.linalg.norm((grid - centre) * spacing, axis=-1).astype(np.float32)
    got = warp.places().linear(distance)
    here = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    expected = np.linalg.norm((here - centre) * spacing, axis=-1) / scale
    far = expected > 5  # linear interpolation of a cone is rough at its tip
    np.testing.assert_allclose(got[far], expected[far], atol=0.2)
    rigid = np.diag(spacing) @ matrix @ np.diag(1 / spacing) * scale
    np.testing.assert_allclose(rigid @ rigid.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rigid) == pytest.approx(1)


def test_a_ball_turned_in_voxels_would_not_stay_one() -> None:
    matrix = affine_matrix((0.5, 0.0, 0.0), 1.0, (1, 1, 1), FREE)
    rigid = np.diag([2.5, 1.0, 1.5]) @ matrix @ np.diag([0.4, 1.0, 1 / 1.5])
    assert np.abs(rigid @ rigid.T - np.eye(3)).max() > 0.2


def test_thick_slices_stay_apart() -> None:
    spacing = (5.0, 1.0, 1.2)
    assert thick_axes(spacing, 3.0) == (True, False, False)
    policy = PatchPolicy(
        rotate_deg=30, p_rotate=1, scale=0.4, p_scale=1, elastic=0.2, p_elastic=1
    )  # fmt: skip
    warp = draw_warp(policy, (6, 20, 20), spacing, np.random.default_rng(0))
    assert warp is not None
    np.testing.assert_array_equal(warp.matrix[0], [1, 0, 0])
    np.testing.assert_array_equal(warp.matrix[:, 0], [1, 0, 0])
    assert warp.matrix[1, 2] != 0
    assert warp.lattice is not None
    assert not warp.lattice[0].any()
    assert warp.lattice[1].any()
    assert warp.box()[0][0] == 0
    assert warp.box()[1][0] == 6


@pytest.mark.parametrize(("size", "spacing"), [((17, 30, 12), (2.0, 1, 1)), ((25, 19), (1, 1))])
def test_the_deformation_is_a_b_spline_that_does_not_fold(
    size: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    rng, n = np.random.default_rng(0), len(size)
    lattice = draw_lattice(0.4, size, spacing, (False,) * n, rng)
    warp = Warp(size, np.eye(n), lattice)
    low, _ = warp.box()
    grid = np.stack(np.meshgrid(*[np.arange(side) for side in size], indexing="ij"))
    moved = warp.places()._at + np.array(low).reshape(-1, *(1,) * n) - grid
    dense = lattice
    for axis, side in enumerate(size):
        cells = lattice.shape[axis + 1] - 3
        spline = BSpline(np.arange(-3, cells + 4), np.eye(cells + 3), 3)
        weights = spline((np.arange(side) + 0.5) * cells / side)
        dense = np.moveaxis(np.tensordot(dense, weights, (axis + 1, 1)), -1, axis + 1)
    np.testing.assert_allclose(moved, dense, atol=1e-3)
    assert np.abs(dense).max() > 0.5
    for axis, side in enumerate(size):
        cell = side / (lattice.shape[axis + 1] - 3)
        assert np.abs(lattice[axis]).max() == pytest.approx(0.4 * cell, rel=1e-5)
    for axis in range(n):
        assert (np.diff(moved + grid, axis=axis + 1)[axis] > 0).all()


def test_image_and_mask_move_together() -> None:
    mask = blobs(1, (60, 60, 60), classes=2)
    policy = PatchPolicy(
        rotate_deg=30, p_rotate=1, scale=0.4, p_scale=1, elastic=0.2, p_elastic=1
    )  # fmt: skip
    for seed in range(4):
        warp = draw_warp(policy, (14, 18, 16), (1, 1, 1), np.random.default_rng(seed))
        assert warp is not None
        low, sides = warp.box()
        cut = mask[tuple(slice(22 + a, 22 + a + n) for a, n in zip(low, sides, strict=True))]
        places = warp.places()
        image = places.linear(cut.astype(np.float32))
        clear = np.abs(image - 0.5) > 1e-3
        np.testing.assert_array_equal(places.classes(cut)[clear], (image > 0.5)[clear])
        assert 0 < image.mean() < 1


def test_nothing_drawn_is_no_warp() -> None:
    rng = np.random.default_rng(0)
    assert draw_warp(PatchPolicy(rotate_deg=30, p_rotate=0), (4, 4, 4), (1, 1, 1), rng) is None
    assert draw_warp(PatchPolicy(p_scale=1, p_elastic=1), (4, 4), (1, 1), rng) is None
    shares = [
        draw_warp(PatchPolicy(rotate_deg=9, p_rotate=0.2), (4, 4), (1, 1), rng) is not None
        for _ in range(1000)
    ]
    assert 0.16 < np.mean(shares) < 0.24

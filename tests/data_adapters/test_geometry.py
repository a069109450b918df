"""One convention for where voxels lie, against SimpleITK and against its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.geometry import (
    affine,
    from_affine,
    from_sitk,
    grid_distance,
    same_grid,
    to_index,
    to_sitk,
    to_world,
)
from tests.data_adapters.grids import irregular, regular

QUICK = settings(max_examples=40, derandomize=True, deadline=None)
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def indices(seed: int) -> np.ndarray:
    """Some fractional indices, inside and outside."""
    return np.random.default_rng(seed).uniform(-3, 12, (20, 3))


@given(geometry=st.one_of(regular(), irregular()), seed=st.integers(0, 2**31))
@QUICK
def test_world_and_index_are_inverse(geometry: Geometry, seed: int) -> None:
    index = indices(seed)
    points = to_world(geometry, index)
    np.testing.assert_allclose(to_index(geometry, points), index, rtol=0, atol=1e-6)


@given(geometry=regular(), seed=st.integers(0, 2**31))
@QUICK
def test_world_equals_simpleitk(geometry: Geometry, seed: int) -> None:
    image = to_sitk(np.zeros((3, 4, 5), np.uint8), geometry)
    index = indices(seed)
    points = to_world(geometry, index)
    for place, point in zip(index, points, strict=True):
        theirs = image.TransformContinuousIndexToPhysicalPoint(place[::-1].tolist())
        np.testing.assert_allclose(point, theirs, rtol=0, atol=1e-8)
    whole = np.array([2, 1, 3])
    np.testing.assert_allclose(
        to_world(geometry, whole),
        image.TransformIndexToPhysicalPoint(whole[::-1].tolist()),
        rtol=0,
        atol=1e-8,
    )
    assert same_grid(from_sitk(image), geometry, tolerance=1e-9)


@given(geometry=regular(), seed=st.integers(0, 2**31))
@QUICK
def test_the_matrix_leads_where_world_leads(geometry: Geometry, seed: int) -> None:
    index = indices(seed)
    ones = np.concatenate([index, np.ones((len(index), 1))], axis=1)
    points = to_world(geometry, index)
    np.testing.assert_allclose((ones @ affine(geometry).T)[:, :3], points, rtol=0, atol=1e-8)
    ras = (ones @ affine(geometry, ras=True).T)[:, :3]
    np.testing.assert_allclose(ras, points * [-1, -1, 1], rtol=0, atol=1e-8)
    for flag in (False, True):
        back = from_affine(affine(geometry, ras=flag), ras=flag)
        assert same_grid(back, geometry, tolerance=1e-9)


@given(geometry=irregular())
@QUICK
def test_each_slice_of_a_stack_lies_at_its_own_position(geometry: Geometry) -> None:
    for k, place in enumerate(geometry.positions):
        np.testing.assert_allclose(to_world(geometry, [k, 0, 0]), place, atol=1e-9)
        step = np.asarray(geometry.direction[2]) * geometry.spacing[2]
        np.testing.assert_allclose(to_world(geometry, [k, 0, 2]), place + 2 * step, atol=1e-9)
        np.testing.assert_allclose(to_index(geometry, place), [k, 0, 0], atol=1e-6)


def test_a_known_place() -> None:
    geometry = Geometry((3.0, 2.0, 0.5), (10.0, 20.0, 30.0), AXES)
    assert to_world(geometry, [1, 2, 4]).tolist() == [12.0, 24.0, 33.0]
    assert affine(geometry, ras=True)[:3, 3].tolist() == [-10.0, -20.0, 30.0]
    flat = Geometry((2.0, 0.5), (10.0, 20.0, 30.0), AXES[1:])
    assert to_world(flat, [2, 4]).tolist() == [12.0, 24.0, 30.0]


def test_a_stack_of_one_slice_with_a_position() -> None:
    geometry = Geometry((3.0, 2.0, 0.5), (1.0, 1.0, 1.0), AXES, ((10.0, 20.0, 30.0),))
    assert to_world(geometry, [0, 1, 1]).tolist() == [10.5, 22.0, 30.0]
    assert to_index(geometry, [10.5, 22.0, 30.0]).tolist() == [0.0, 1.0, 1.0]


def test_same_grid_looks_at_everything() -> None:
    base = Geometry((3.0, 2.0, 0.5), (10.0, 20.0, 30.0), AXES)
    turned = (AXES[0], AXES[1], (-1.0, 0.0, 0.0))
    assert same_grid(base, base)
    assert same_grid(base, Geometry((3.0, 2.0, 0.5), (10.0, 20.0, 30.0005), AXES))
    for other in (
        Geometry((3.0, 2.0, 0.51), base.origin, AXES),
        Geometry(base.spacing, (10.0, 20.1, 30.0), AXES),
        Geometry(base.spacing, base.origin, turned),
        Geometry(base.spacing, base.origin),
        Geometry(base.spacing, base.origin, AXES, ((10.0, 20.0, 30.0), (10.0, 20.0, 33.0))),
        Geometry((2.0, 0.5)),
    ):
        assert not same_grid(base, other)
        assert not same_grid(other, base)


@given(geometry=st.one_of(regular(), irregular(slices=4)), seed=st.integers(0, 2**31))
@QUICK
def test_distance_of_grids_is_the_largest_over_all_voxels(geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (4, 3, 5)
    moved = rng.normal(0, 0.2, (4, 3) if geometry.positions else 3)
    other = Geometry(
        tuple((np.asarray(geometry.spacing) * rng.uniform(0.9, 1.1, 3)).tolist()),
        geometry.origin if geometry.positions else tuple(geometry.origin + moved),
        geometry.direction,
        tuple(map(tuple, np.asarray(geometry.positions) + moved)) if geometry.positions else (),
    )
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    apart = np.linalg.norm(to_world(geometry, index) - to_world(other, index), axis=1)
    assert grid_distance(geometry, other, shape) == pytest.approx(apart.max(), rel=1e-9)
    assert grid_distance(geometry, geometry, shape) == 0


def test_grids_of_another_kind_are_infinitely_far() -> None:
    base = Geometry((3.0, 2.0, 0.5), (0, 0, 0), AXES)
    two = Geometry((3.0, 2.0, 0.5), (0, 0, 0), AXES, ((0, 0, 0), (0, 0, 3)))
    assert grid_distance(base, Geometry((2.0, 0.5)), (2, 4, 5)) == np.inf
    assert grid_distance(base, two, (3, 4, 5)) == np.inf
    assert grid_distance(base, two, (2, 4, 5)) == 0
    assert grid_distance(base, Geometry((3.0, 2.0, 0.75)), (2, 4, 5)) == 1.0


def test_what_has_no_place_is_refused() -> None:
    unknown = Geometry((1.0, 1.0, 1.0))
    stack = Geometry((1.0, 1.0, 1.0), (0, 0, 0), AXES, ((0, 0, 0), (0, 0, 1)))
    flat = Geometry((1.0, 1.0), (0, 0, 0), AXES[1:])
    with pytest.raises(DataError, match="not known"):
        to_world(unknown, [0, 0, 0])
    with pytest.raises(DataError, match="axes"):
        to_world(stack, [0, 0])
    with pytest.raises(DataError, match="only volumes"):
        to_index(flat, [0, 0, 0])
    with pytest.raises(DataError, match="resample"):
        affine(stack)
    with pytest.raises(DataError, match="resample"):
        to_sitk(np.zeros((2, 2, 2)), stack)
    for matrix in (np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)):
        with pytest.raises(DataError, match="matrix"):
            from_affine(matrix)

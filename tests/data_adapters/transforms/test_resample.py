"""Resampling against SimpleITK, closed forms and the positions of each slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_adapters.case import Case, Geometry, Lesion, check_case
from data_adapters.errors import DataError
from data_adapters.geometry import from_sitk, to_index, to_sitk, to_world
from data_adapters.transforms import resample
from data_adapters.transforms.compose import invert_mask, invert_probabilities
from data_adapters.transforms.resample import Resample
from data_adapters.transforms.sampling import sample, smooth_for
from tests.data_adapters.grids import irregular, regular

QUICK = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def plane(geometry: Geometry, shape: tuple[int, ...]) -> np.ndarray:
    """An image that is linear in space, so that linear interpolation is exact."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return (to_world(geometry, index) @ [0.3, -0.7, 0.5] + 40.0).astype(np.float32)[..., None]


def inner(geometry: Geometry, shape: tuple[int, ...], source: Geometry, size: tuple) -> np.ndarray:
    """Voxels of a grid that lie between voxel centres of another."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    there = to_index(source, to_world(geometry, index))
    return ((there >= -1e-6) & (there <= np.asarray(size) - 1 + 1e-6)).all(axis=-1)


@pytest.mark.parametrize("image", ["linear", "bspline"])
@given(geometry=regular(), seed=st.integers(0, 2**31))
@QUICK
def test_a_finer_grid_equals_simpleitks(image: str, geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(5, 9, 3).tolist())
    values = rng.normal(0, 50, (*shape, 1)).astype(np.float32)
    mask = rng.integers(0, 4, shape).astype(np.uint8)
    case = Case(values, "c", mask=mask, geometry=geometry)
    spacing = tuple((np.asarray(geometry.spacing) * rng.uniform(0.4, 1.0, 3)).tolist())
    done, _ = Resample(spacing, image=image).apply(case)
    check_case(done)
    grid = to_sitk(np.zeros(done.image.shape[:3], np.float32), done.geometry)
    index = np.moveaxis(np.indices(done.image.shape[:3]), 0, -1)
    there = to_index(geometry, to_world(done.geometry, index))
    # A place half way between two voxels may be rounded either way.
    clear = (np.abs(there - np.floor(there) - 0.5) > 1e-3).all(axis=-1)
    spline = {"linear": SimpleITK.sitkLinear, "bspline": SimpleITK.sitkBSpline}[image]
    for ours, original, method in (
        (done.image[..., 0], values[..., 0], spline),
        (done.mask[clear], mask, SimpleITK.sitkNearestNeighbor),
    ):
        resampler = SimpleITK.ResampleImageFilter()
        resampler.SetReferenceImage(grid)
        resampler.SetInterpolator(method)
        resampler.UseNearestNeighborExtrapolatorOn()
        theirs = SimpleITK.GetArrayFromImage(resampler.Execute(to_sitk(original, geometry)))
        theirs = np.clip(theirs, original.min(), original.max())
        if original is mask:
            np.testing.assert_array_equal(ours, theirs[clear])
        else:  # at the very edge rounding decides whether a place is inside
            inside = ((there > -0.499) & (there < np.asarray(shape) - 0.501)).all(axis=-1)
            np.testing.assert_allclose(ours[inside], theirs[inside], rtol=0, atol=0.02)
    assert done.geometry.spacing == spacing
    centre = to_world(geometry, (np.asarray(shape) - 1) / 2)
    np.testing.assert_allclose(
        to_world(done.geometry, (np.asarray(done.image.shape[:3]) - 1) / 2), centre, atol=1e-6
    )


def test_smoothing_before_a_coarser_grid_follows_the_closed_form() -> None:
    """A wave of w radians a voxel keeps exp(-w^2 (f^2 - 1) / (16 ln 2)) of its height."""
    wave = 2 * np.pi / 16
    places = np.arange(512)
    values = np.sin(wave * places).astype(np.float32)
    for factor in (2.0, 3.5):
        smooth = smooth_for(values[None, :], (1.0, factor))[0]
        kept = np.exp(-(wave**2) * (factor**2 - 1) / (16 * np.log(2)))
        np.testing.assert_allclose(smooth[64:-64], kept * values[64:-64], atol=2e-3)
    assert smooth_for(values[None, :], (1.0, 0.7)) is not None
    np.testing.assert_array_equal(smooth_for(values[None, :], (1.0, 1.0))[0], values)


def test_what_a_coarser_grid_cannot_hold_does_not_alias() -> None:
    checks = (np.indices((32, 32, 32)).sum(axis=0) % 2).astype(np.float32)[..., None]
    case = Case(checks, "c", geometry=Geometry((1.0, 1.0, 1.0), (0, 0, 0), AXES))
    done, _ = Resample((3.0, 3.0, 3.0)).apply(case)
    inside = done.image[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(inside, 0.5, atol=0.05)
    plain = sample(checks[..., 0], done.image.shape[:3], (0.5, 0.5, 0.5), (3, 3, 3), "nearest")
    assert np.abs(plain - 0.5).max() == 0.5


def test_overshoot_of_the_spline_is_clipped() -> None:
    edge = np.zeros((9, 9, 9, 1), np.float32)
    edge[:, :, 4:] = 100.0
    case = Case(edge, "c", geometry=Geometry((1.0, 1.0, 1.0), (0, 0, 0), AXES))
    done, _ = Resample((0.4, 0.4, 0.4), image="bspline").apply(case)
    assert done.image.min() == 0.0
    assert done.image.max() == 100.0
    raw = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            to_sitk(edge[..., 0], case.geometry),
            to_sitk(done.image[..., 0], done.geometry),
            SimpleITK.Transform(),
            SimpleITK.sitkBSpline,
        )
    )
    assert raw.max() > 105.0


def test_onehot_keeps_what_nearest_loses() -> None:
    """A quarter of the third class is sprinkled with the second: a block's majority decides."""
    geometry = Geometry((1.0, 1.0, 1.0), (0, 0, 0), AXES)
    lost = 0
    for first in (0, 1):
        mask = np.zeros((12, 12, 12), np.uint8)
        mask[:, :, 4:8] = 5
        mask[:, :, 8:] = 9
        mask[first::2, first::2, 8:] = 5
        case = Case(np.zeros((12, 12, 12, 1), np.float32), "c", mask=mask, geometry=geometry)
        onehot, _ = Resample((2.0, 2.0, 2.0), mask="onehot").apply(case)
        nearest, _ = Resample((2.0, 2.0, 2.0), mask="nearest").apply(case)
        assert onehot.mask.dtype == nearest.mask.dtype == np.uint8
        assert set(np.unique(onehot.mask)) == {0, 5, 9}
        assert set(np.unique(nearest.mask)) <= {0, 5, 9}
        assert (onehot.mask[1:-1, 1:-1, 5] == 9).all()
        lost += int((nearest.mask[1:-1, 1:-1, 5] != 9).sum())
    assert lost >= 16


@pytest.mark.parametrize("rule", ["nearest", "onehot"])
@given(geometry=regular(), seed=st.integers(0, 2**31))
@QUICK
def test_a_prediction_comes_back_to_the_original_grid(
    rule: str, geometry: Geometry, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 3).tolist())
    case = Case(rng.normal(size=(*shape, 2)).astype(np.float32), "c", geometry=geometry)
    spacing = tuple((np.asarray(geometry.spacing) * rng.uniform(0.4, 2.5, 3)).tolist())
    done, undo = Resample(spacing, mask=rule).apply(case)
    grid = done.image.shape[:3]
    mask = rng.choice([0, 3, 200], grid).astype(np.uint8)
    back = invert_mask(mask, (undo,))
    assert back.shape == shape
    assert back.dtype == np.uint8
    assert set(np.unique(back)) <= set(np.unique(mask))
    values = rng.dirichlet([1, 1, 1], grid).astype(np.float32)
    returned = invert_probabilities(values, (undo,))
    assert returned.shape == (*shape, 3)
    np.testing.assert_allclose(returned.sum(axis=-1), 1.0, atol=1e-5)


def test_smooth_probabilities_come_back_close_and_their_argmax_closer() -> None:
    z, y, x = np.indices((20, 24, 28)).astype(np.float32)
    ball = 1 / (1 + np.exp(np.sqrt((z - 10) ** 2 + (y - 12) ** 2 + (x - 13) ** 2) - 6))
    geometry = Geometry((2.0, 1.0, 1.0), (5, 6, 7), AXES)
    case = Case(ball[..., None], "c", geometry=geometry)
    done, undo = Resample((1.3, 1.3, 1.3), image="bspline").apply(case)
    share = done.image[..., 0]
    back = invert_probabilities(np.stack([1 - share, share], -1), (undo,))
    np.testing.assert_allclose(back[..., 1], ball, atol=0.06)
    agree = (back.argmax(-1) == (ball > 0.5)).mean()
    assert agree > 0.995


@given(geometry=irregular(slices=6), seed=st.integers(0, 2**31))
@QUICK
def test_each_slice_of_an_irregular_stack_counts_where_it_is(geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (6, 8, 9)
    case = Case(plane(geometry, shape), "c", geometry=geometry)
    steps = np.diff(np.asarray(geometry.positions) @ np.asarray(geometry.direction[0]))
    fine = (float(steps.min()), *(np.asarray(geometry.spacing[1:]) * 0.8).tolist())
    spacing = (fine[0] * rng.uniform(0.5, 1.0), *fine[1:])
    done, undo = Resample(spacing).apply(case)
    assert not done.geometry.positions
    assert done.geometry.direction == geometry.direction
    grid = done.image.shape[:3]
    sure = inner(done.geometry, grid, geometry, shape)
    if done.padding is not None:
        assert not (done.padding & sure).any()
        assert (done.image[done.padding] == case.image.min()).all()
    truth = plane(done.geometry, grid)
    np.testing.assert_allclose(done.image[sure], truth[sure], rtol=0, atol=0.02)
    # Every slice of the stack is covered, and comes back.
    corners = np.stack(np.meshgrid([0, 5], [0, 7], [0, 8], indexing="ij"), -1).reshape(-1, 3)
    places = to_index(done.geometry, to_world(geometry, corners))
    assert (places > -0.51).all()
    assert (places < np.asarray(grid) - 0.49).all()
    half = (np.moveaxis(np.indices(grid), 0, -1)[..., 2] > grid[2] / 2).astype(np.uint8)
    back = invert_mask(half, (undo,))
    assert back.shape == shape
    index = np.moveaxis(np.indices(shape), 0, -1)
    column = to_index(done.geometry, to_world(geometry, index))[..., 2]
    np.testing.assert_array_equal(
        back[np.abs(column - np.ceil((grid[2] - 1) / 2)) > 1],
        (column > grid[2] / 2)[np.abs(column - np.ceil((grid[2] - 1) / 2)) > 1],
    )


def test_a_tilted_stack_is_not_what_simpleitk_would_make_of_it() -> None:
    tilt = np.tan(np.radians(20))
    places = tuple((0.0, float(3 * k * tilt), 3.0 * k) for k in range(8))
    geometry = Geometry((3.0, 1.0, 1.0), places[0], AXES, places)
    case = Case(plane(geometry, (8, 10, 10)), "c", geometry=geometry)
    done, _ = Resample((0, 0, 0)).apply(case)
    assert done.geometry.spacing == (3.0, 1.0, 1.0)
    assert done.image.shape[0] == 8
    assert done.image.shape[1] > 10
    sure = inner(done.geometry, done.image.shape[:3], geometry, (8, 10, 10))
    np.testing.assert_allclose(
        done.image[sure], plane(done.geometry, done.image.shape[:3])[sure], atol=0.01
    )
    naive = from_sitk(to_sitk(case.image[..., 0], replace(geometry, positions=())))
    assert np.abs(plane(naive, (8, 10, 10)) - case.image).max() > 3


def test_padding_does_not_bleed_into_what_was_measured() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(40, 1, (12, 12, 12, 1)).astype(np.float32)
    padding = np.zeros((12, 12, 12), bool)
    padding[:, :, 8:] = True
    values[padding] = -1024
    geometry = Geometry((1.0, 1.0, 1.0), (0, 0, 0), AXES)
    case = Case(values, "c", padding=padding, geometry=geometry)
    for size in (0.6, 2.0):
        done, _ = Resample((size, size, size), image="bspline").apply(case)
        check_case(done)
        assert done.padding is not None
        assert 0.2 < done.padding.mean() < 0.45
        assert (done.image[done.padding] == -1024).all()
        assert done.image[~done.padding].min() > 30


def test_lesions_move_with_the_grid() -> None:
    lesions = (
        Lesion(1, box=(2.0, 2.0, 4.0, 4.0, 6.0, 8.0)),
        Lesion(2, centre=(3.5, 3.5, 3.5), radius=2.0),
    )
    geometry = Geometry((1.0, 1.0, 1.0), (0, 0, 0), AXES)
    case = Case(np.zeros((8, 8, 8, 1), np.float32), "c", lesions=lesions, geometry=geometry)
    done, _ = Resample((2.0, 2.0, 2.0)).apply(case)
    assert done.lesions[0].box == (1.0, 1.0, 2.0, 2.0, 3.0, 4.0)
    assert done.lesions[1].centre == (1.5, 1.5, 1.5)
    assert done.lesions[1].radius == 1.0
    places = tuple((0.0, 0.0, float(k)) for k in range(8))
    stack, _ = Resample((2.0, 2.0, 2.0)).apply(
        replace(case, geometry=replace(geometry, positions=places))
    )
    moved = to_world(stack.geometry, stack.lesions[1].centre)
    np.testing.assert_allclose(moved, [3.5, 3.5, 3.5])


def test_overlapping_masks_and_pictures() -> None:
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 2, (10, 12, 2)).astype(np.uint8)
    picture = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)
    case = Case(picture, "c", masks=masks, geometry=Geometry((1.0, 0.5)))
    for rule in ("nearest", "onehot"):
        done, undo = Resample((0.5, 0.5), mask=rule).apply(case)
        check_case(done)
        assert done.image.shape == (20, 12, 3)
        assert done.image.dtype == np.float32
        assert done.masks.dtype == np.uint8
        assert invert_mask(done.masks[..., 0], (undo,)).shape == (10, 12)
    shares = replace(case, masks=rng.random((10, 12, 2), np.float32))
    assert Resample((0.5, 0.5)).apply(shares)[0].masks.dtype == np.float32


def test_what_does_not_fit_is_refused() -> None:
    case = Case(np.zeros((4, 4, 4, 1), np.float32), "c")
    with pytest.raises(DataError, match="voxel size"):
        Resample((1.0, 1.0, 1.0)).apply(case)
    flat = replace(case, geometry=Geometry((1.0, 1.0, 1.0)))
    with pytest.raises(DataError, match="3 axes"):
        Resample((1.0, 1.0)).apply(flat)
    with pytest.raises(DataError, match="grid of"):
        Resample((1e-4, 1e-4, 1e-4)).apply(flat)
    for bad in ((1.0,), (1.0, -1.0), (1.0, np.nan), "abc", [1.0, 1.0]):
        with pytest.raises(DataError, match="spacing"):
            Resample(bad)
    with pytest.raises(DataError, match="must be one of"):
        Resample((1.0, 1.0), image="cubic")
    done, undo = Resample((2.0, 2.0, 2.0)).apply(flat)
    assert done.geometry == Geometry((2.0, 2.0, 2.0))
    with pytest.raises(DataError, match="on a grid of"):
        invert_mask(np.zeros((4, 4, 4), np.uint8), (undo,))


@pytest.mark.parametrize("spacing", [(0.6, 1.3, 0.9), (2.1, 0.7, 1.7)])
def test_pieces_of_a_large_volume_join_without_a_seam(
    spacing: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(5)
    case = Case(
        random.normal(size=(23, 14, 12, 2)).astype(np.float32),
        "a",
        mask=random.integers(0, 3, (23, 14, 12)),
        geometry=Geometry((1.0, 1.0, 1.0)),
    )
    step = Resample(spacing, mask="onehot")
    whole, undo = step.apply(case)
    monkeypatch.setattr(resample, "PIECE", 400)
    pieces, _ = step.apply(case)
    np.testing.assert_allclose(pieces.image, whole.image, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(pieces.mask, whole.mask)
    values = random.random((*undo.after.shape, 2)).astype(np.float32)
    apart = step.back_probabilities(values, undo, np.zeros(2))
    monkeypatch.undo()
    joined = step.back_probabilities(values, undo, np.zeros(2))
    np.testing.assert_allclose(apart, joined, rtol=0, atol=2e-6)

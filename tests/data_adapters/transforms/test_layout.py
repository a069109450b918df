"""Turning, cutting and padding: exact, and exactly undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_adapters.case import Case, Geometry, Lesion, check_case
from data_adapters.errors import DataError
from data_adapters.geometry import from_sitk, same_grid, to_sitk, to_world
from data_adapters.transforms.compose import invert_mask, invert_probabilities
from data_adapters.transforms.layout import Crop, Pad, Reorient
from tests.data_adapters.grids import irregular, regular

QUICK = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
PLAIN = Geometry((2.0, 1.0, 0.5), (1.0, 2.0, 3.0), AXES)


def made(geometry: Geometry | None, seed: int, shape: tuple[int, ...] = (5, 6, 7)) -> Case:
    """A case whose voxels all differ, with a mask, padding and a lesion."""
    rng = np.random.default_rng(seed)
    image = rng.permutation(int(np.prod(shape)) * 2).reshape(*shape, 2).astype(np.float32)
    return Case(
        image,
        "c",
        mask=rng.integers(0, 3, shape).astype(np.uint8),
        padding=rng.random(shape) < 0.1,
        masks=rng.integers(0, 2, (*shape, 2)).astype(np.uint8),
        lesions=(Lesion(1, box=(1.0, 2.0, 3.0, 3.0, 4.0, 6.0)), Lesion(1, centre=(2, 3, 4))),
        geometry=geometry,
    )


def same_voxels_at_same_places(before: Case, after: Case) -> None:
    """Every voxel of `after` holds what `before` holds at that place in the patient."""
    place_of = {}
    for index in np.ndindex(before.image.shape[:-1]):
        place_of[float(before.image[index][0])] = to_world(before.geometry, index)
    lowest = before.image[..., 0].min()  # what a step may have padded with
    for index in np.ndindex(after.image.shape[:-1]):
        value = float(after.image[index][0])
        if value > lowest:
            np.testing.assert_allclose(
                to_world(after.geometry, index), place_of[value], rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("to", ["LPS", "RAS", "SPL", "AIR", "PSR"])
@given(geometry=regular(), seed=st.integers(0, 2**31))
@QUICK
def test_turning_equals_simpleitk_and_is_undone(to: str, geometry: Geometry, seed: int) -> None:
    case = made(geometry, seed)
    done, undo = Reorient(to).apply(case)
    check_case(done)
    theirs = SimpleITK.DICOMOrient(to_sitk(case.image[..., 0], geometry), to)
    cosines = np.sort(np.abs(np.asarray(geometry.direction)), axis=0)
    clear = (cosines[2] - cosines[1]).min() > 0.05 and (cosines[2] > 0.75).all()
    if clear:  # between two patient axes either choice is as good
        np.testing.assert_array_equal(done.image[..., 0], SimpleITK.GetArrayFromImage(theirs))
        assert same_grid(done.geometry, from_sitk(theirs), tolerance=1e-6)
    same_voxels_at_same_places(case, done)
    np.testing.assert_array_equal(invert_mask(done.mask, (undo,)), case.mask)
    np.testing.assert_array_equal(invert_probabilities(done.image, (undo,)), case.image)
    centre = done.lesions[1].centre
    np.testing.assert_allclose(
        to_world(done.geometry, centre), to_world(geometry, (2, 3, 4)), atol=1e-6
    )
    box = np.asarray(done.lesions[0].box).reshape(2, 3)
    assert np.prod(box[1] - box[0]) == pytest.approx(2 * 2 * 3)


def test_turning_needs_known_directions() -> None:
    case = made(None, 1)
    with pytest.raises(DataError, match="directions"):
        Reorient("LPS").apply(case)
    places = ((0, 0, 0), (0, 0, 1), (0, 0, 3), (0, 0, 4), (0, 0, 5))
    with pytest.raises(DataError, match="resample"):
        Reorient("LPS").apply(replace(case, geometry=replace(PLAIN, positions=places)))
    for bad in ("LP", "LLS", "XYZ", "lps", 3):
        with pytest.raises(DataError, match="letters"):
            Reorient(bad)


@given(geometry=st.one_of(regular(), irregular(slices=5)), seed=st.integers(0, 2**31))
@QUICK
def test_a_crop_keeps_places_and_comes_back(geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = made(geometry, seed)
    low = [int(rng.integers(0, n - 1)) for n in (5, 6, 7)]
    high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, (5, 6, 7), strict=True)]
    done, undo = Crop("box", box=(*low, *high)).apply(case)
    check_case(done)
    assert done.image.shape[:3] == tuple(np.subtract(high, low))
    same_voxels_at_same_places(case, done)
    inside = np.zeros((5, 6, 7), bool)
    inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    back = invert_mask(done.mask, (undo,))
    np.testing.assert_array_equal(back, np.where(inside, case.mask, 0))
    shares = np.full((*done.image.shape[:3], 2), 0.5, np.float32)
    returned = invert_probabilities(shares, (undo,))
    np.testing.assert_array_equal(returned[~inside], [[1.0, 0.0]] * int((~inside).sum()))
    assert (returned[inside] == 0.5).all()
    assert (invert_probabilities(shares, (undo,), background=None)[~inside] == 0).all()
    assert done.lesions[1].centre == tuple(np.subtract((2, 3, 4), low))


@given(geometry=st.one_of(regular(), irregular(slices=5)), seed=st.integers(0, 2**31))
@QUICK
def test_padding_keeps_places_and_comes_back(geometry: Geometry, seed: int) -> None:
    case = made(geometry, seed)
    done, undo = Pad(size=(4, 8, 11), multiple=(3, 2, 4)).apply(case)
    check_case(done)
    assert done.image.shape[:3] == (6, 8, 12)
    same_voxels_at_same_places(case, done)
    assert done.padding.sum() == 6 * 8 * 12 - 5 * 6 * 7 + case.padding.sum()
    assert (done.image[done.padding].min(axis=0) >= case.image.min(axis=(0, 1, 2))).all()
    np.testing.assert_array_equal(invert_mask(done.mask, (undo,)), case.mask)
    np.testing.assert_array_equal(invert_probabilities(done.image, (undo,)), case.image)


def test_padding_with_a_value() -> None:
    case = Case(np.ones((3, 4, 1), np.uint8), "c")
    done, _ = Pad(multiple=4, value=7).apply(case)
    assert done.image.shape == (4, 4, 1)
    assert done.image[-1].tolist() == [[7]] * 4
    assert done.padding.sum() == 4
    with pytest.raises(DataError, match="no uint8"):
        Pad(multiple=4, value=0.5).apply(case)
    same, _ = Pad(multiple=1).apply(case)
    assert same.padding is None


def body(extra: float = 0.0) -> Case:
    """A bright box of noise in the dark, a bright speck away from it, and one hot voxel."""
    rng = np.random.default_rng(9)
    image = rng.normal(0, 5, (20, 30, 40, 1)).astype(np.float32)
    image[4:15, 6:21, 10:33] += 400
    image[1, 1, 1] += 400
    image[10, 10, 20] += extra
    return Case(image, "c", geometry=PLAIN)


@pytest.mark.parametrize("extra", [0.0, 1.7e6])
def test_crop_to_the_body(extra: float) -> None:
    case = body(extra)
    done, _ = Crop("body").apply(case)
    np.testing.assert_array_equal(done.image, case.image[4:15, 6:21, 10:33])
    roomy, _ = Crop("body", margin=2.0).apply(case)
    np.testing.assert_array_equal(roomy.image, case.image[3:16, 4:23, 6:37])
    edge, _ = Crop("body", margin=500.0).apply(case)
    assert edge.image.shape == case.image.shape
    by_value, _ = Crop("body", threshold=200.0).apply(case)
    np.testing.assert_array_equal(by_value.image, done.image)


def test_bright_padding_is_no_body() -> None:
    case = body()
    padding = np.zeros(case.image.shape[:3], bool)
    padding[:, 24:] = True
    image = np.where(padding[..., None], 400, case.image).astype(np.float32)
    done, _ = Crop("body").apply(replace(case, image=image, padding=padding))
    assert done.image.shape[:3] == (11, 15, 23)


def test_nothing_to_crop_to_leaves_the_case_whole() -> None:
    flat = Case(np.full((3, 4, 5, 1), 7.0, np.float32), "c", mask=np.zeros((3, 4, 5), np.uint8))
    for to in ("body", "mask"):
        assert Crop(to).apply(flat)[0].image.shape == flat.image.shape


def test_crop_to_the_mask() -> None:
    case = made(PLAIN, 3)
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1:3, 2:4, 3:6] = 2
    done, _ = Crop("mask").apply(replace(case, mask=mask))
    np.testing.assert_array_equal(done.image, case.image[1:3, 2:4, 3:6])
    assert (done.mask == 2).all()
    masks = np.stack([mask * 0, mask // 2], axis=-1)
    again, _ = Crop("mask").apply(replace(case, mask=None, masks=masks))
    np.testing.assert_array_equal(again.image, done.image)
    with pytest.raises(DataError, match="no mask"):
        Crop("mask").apply(replace(case, mask=None, masks=None))


@pytest.mark.parametrize(
    "options",
    [
        {"to": "head"},
        {"margin": -1.0},
        {"margin": np.nan},
        {"threshold": np.inf},
        {"to": "box"},
        {"box": (0, 0, 1, 1)},
        {"to": "box", "box": (0, 0, 0, 1)},
        {"to": "box", "box": (0, 0, 1)},
    ],
)
def test_crops_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(DataError, match="crop"):
        Crop(**options)


def test_boxes_and_sizes_for_other_grids() -> None:
    case = made(PLAIN, 3)
    for step in (
        Crop("box", box=(0, 0, 1, 1)),
        Crop("box", box=(50, 0, 0, 60, 1, 1)),
        Pad(size=(4, 4)),
    ):
        with pytest.raises(DataError, match=r"grid|misses"):
            step.apply(case)
    for size in ((0, 1), (1.5, 2), (np.nan, 2)):
        with pytest.raises(DataError, match="pad"):
            Pad(size=size)

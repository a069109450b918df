"""Outlines of masks on pictures: the right planes, hung the right way, along the right pixels."""

from __future__ import annotations

import base64
import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path as Line
from PIL import Image

from data_adapters.case import Case, Display, Geometry
from data_adapters.geometry import to_world
from recipes.report.images import PALETTE
from recipes.segmentation.report import overlays
from recipes.segmentation.report.cases import chosen, rank
from recipes.segmentation.report.overlays import cut_out, hanging, middle, overlay, planes


def directions() -> list[tuple[tuple[float, float, float], ...]]:
    """Every way in which three axes can lie along left, posterior and superior."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((-1.0, 1.0), repeat=3):
            lines = np.zeros((3, 3))
            for axis, (own, sign) in enumerate(zip(order, signs, strict=True)):
                lines[axis, own] = sign
            found.append(tuple(tuple(float(v) for v in line) for line in lines))
    return found


@pytest.mark.parametrize("name", ["axial", "coronal", "sagittal"])
def test_planes_hang_as_radiologists_hang_them(name: str) -> None:
    """Voxels that hold their own place in the patient say how a plane lies."""
    shape = (4, 5, 6)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    rng = np.random.default_rng(1)
    for direction in directions():
        tilt = np.asarray(direction) + rng.normal(0, 0.02, (3, 3))
        lines = tuple(tuple(float(v) for v in line / np.linalg.norm(line)) for line in tilt)
        geometry = Geometry((3.0, 1.0, 2.0), (5.0, -7.0, 11.0), lines)  # type: ignore[arg-type]
        places = to_world(geometry, grid.reshape(-1, 3).astype(float)).reshape(*shape, 3)
        hung = next(h for h in (hanging(geometry, a) for a in range(3)) if h.name == name)
        plane = hung.turn(places, 2)
        down, right = np.diff(plane, axis=0).mean(axis=(0, 1)), np.diff(plane, axis=1)
        right = right.mean(axis=(0, 1))
        wanted = {"axial": (1, 0), "coronal": (-2, 0), "sagittal": (-2, 1)}[name]
        for step, (axis, sign) in zip(
            (down, right),
            ((abs(wanted[0]), -1 if wanted[0] < 0 else 1), (wanted[1], 1)),
            strict=True,
        ):
            assert np.argmax(np.abs(step)) == axis
            assert np.sign(step[axis]) == sign
        assert np.linalg.norm(down) == pytest.approx(geometry.spacing[hung.down])
        assert np.linalg.norm(right) == pytest.approx(geometry.spacing[hung.right])


def test_unknown_and_oblique_directions_stay_as_stored() -> None:
    half = 0.5**0.5
    twice = ((half, half, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    for geometry in (None, Geometry((1.0, 1.0, 1.0)), Geometry((1.0,) * 3, direction=twice)):
        hung = hanging(geometry, 1)
        assert (hung.name, hung.down, hung.right) == ("plane across axis 1", 0, 2)
        assert not hung.flip_down
        assert not hung.flip_right


def volume(shape: tuple[int, ...], *, display: Display | None = None) -> Case:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*shape, 1)).astype(np.float32)
    geometry = Geometry((4.0, 1.0, 2.0)[-len(shape) :])
    return Case(image, "a", geometry=geometry, display=display or Display())


def test_planes_cross_inside_the_mask() -> None:
    """A horseshoe's centre lies outside it; the planes still show it."""
    truth = np.zeros((9, 20, 20), np.int16)
    truth[2:7, 4:16, 4:16] = 1
    truth[2:7, 4:14, 6:14] = 0
    assert truth[tuple(np.argwhere(truth).mean(axis=0).round().astype(int))] == 0
    assert truth[middle(truth, truth, (4.0, 1.0, 2.0))] == 1
    for plane in planes(volume(truth.shape), truth, truth):
        assert (plane.truth == 1).any()
    empty = np.zeros_like(truth)
    assert middle(empty, empty, (1.0, 1.0, 1.0)) == (4, 10, 10)
    assert middle(empty, truth, (1.0, 1.0, 1.0)) == middle(truth, empty, (1.0, 1.0, 1.0))


def test_planes_keep_image_and_masks_together() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, (5, 7, 6)).astype(np.int16)
    found = rng.integers(0, 2, truth.shape).astype(np.uint8)
    image = (truth + 2 * found)[..., None].astype(np.float32)
    for direction in directions()[::7]:
        case = Case(image, "a", geometry=Geometry((4.0, 1.0, 2.0), direction=direction))
        for plane in planes(case, truth, found):
            shown = plane.truth + 2 * plane.found
            assert np.corrcoef(plane.image.ravel(), shown.ravel())[0, 1] == pytest.approx(1)


def test_single_slices_and_pictures_have_one_plane() -> None:
    for shape, count in (((1, 8, 9), 1), ((8, 1, 9), 1), ((1, 1, 9), 1), ((3, 8, 9), 3)):
        mask = np.ones(shape, np.int16)
        found = planes(volume(shape), mask, mask)
        assert len(found) == count
        assert found[0].sides == {1: (1.0, 2.0), 8: (4.0, 2.0), 3: (1.0, 2.0)}[shape[0]]
    picture = Case(np.full((5, 6, 3), 255, np.uint8), "a")
    mask = np.ones((5, 6), np.int16)
    plane = planes(picture, mask, mask)[0]
    assert plane.image.shape == (5, 6, 3)
    assert plane.image.max() == 1


def test_the_window_of_the_file_is_used() -> None:
    mask = np.ones((3, 8, 9), np.int16)
    windowed = Display(windows=((0.0, 2.0),))
    low, high = (
        planes(volume((3, 8, 9), display=d), mask, mask)[0].image for d in (Display(), windowed)
    )
    assert not np.allclose(low, high)
    assert ((high == 0) | (high == 1)).mean() > 0.2
    turned = planes(volume((3, 8, 9), display=Display(inverted=True)), mask, mask)[0].image
    np.testing.assert_allclose(turned, 1 - low, atol=1e-6)


def test_cutting_out_loses_no_mask() -> None:
    truth, found = np.zeros((2, 300, 280), np.int16)
    truth[100:130, 40:60] = 1
    found[101:131, 50:90] = 2
    plane = overlays.Plane("", np.arange(84000.0).reshape(300, 280), truth, found, (1.0, 2.0))
    small = cut_out(plane)
    assert (small.truth == 1).sum() == (truth == 1).sum()
    assert (small.found == 2).sum() == (found == 2).sum()
    assert small.image.size < plane.image.size / 4
    at = np.argwhere(plane.image == small.image[0, 0])[0]
    np.testing.assert_array_equal(truth[at[0] :, at[1] :][:30, :20], small.truth[:30, :20])
    none = overlays.Plane("", plane.image, 0 * truth, 0 * found, (1.0, 2.0))
    assert cut_out(none).image.shape == plane.image.shape


@pytest.mark.parametrize("side", [17, 300])
def test_an_outline_holds_just_the_pixels_of_its_mask(side: int) -> None:
    rng = np.random.default_rng(side)
    mask = np.zeros((side, side + 3), bool)
    corner = rng.integers(0, 5, 2)
    mask[corner[0] : corner[0] + 9, corner[1] :] = True  # meets the edge
    mask[2:4, 2:4] ^= True
    x, y, inside = overlays._outline(mask)
    lines = Figure().subplots().contour(x, y, inside, levels=[0.5])
    rows, columns = np.indices(mask.shape)
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    crossed = np.zeros(len(centres), int)
    for polygon in lines.get_paths()[0].to_polygons():
        crossed += Line(polygon).contains_points(centres)
    np.testing.assert_array_equal((crossed % 2).reshape(mask.shape), mask)


def test_a_millimetre_is_as_long_down_as_across() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    mask = np.ones((7, 9), np.int16)
    ax = figure.subplots()
    overlays._paint(ax, overlays.Plane("", mask * 1.0, mask, mask, (5.0, 2.0)))
    figure.canvas.draw()
    (x0, y0), (x1, y1) = ax.transData.transform([(0, 0), (1, 1)])
    assert abs((y1 - y0) / (x1 - x0)) == pytest.approx(2.5)


def pixels(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.split(",", 1)[1], validate=True)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float) / 255


def near(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture - to_rgb(colour)).max(axis=-1) < 0.06).sum())


def test_truth_and_prediction_are_drawn_in_the_colours_of_their_class() -> None:
    case = volume((6, 20, 22))
    truth, found = np.zeros((2, 6, 20, 22), np.int16)
    truth[1:4, 5:12, 4:10] = 1
    found[1:4, 5:12, 6:12] = 1
    names = ("background", "first", "second")
    plain = pixels(overlay(case, truth, found, names)[0])
    assert near(plain, PALETTE[0]) > 300
    assert near(plain, PALETTE[1]) == 0
    other = pixels(overlay(case, truth * 2, found, names)[0])
    assert near(other, PALETTE[1]) > 300
    missed = pixels(overlay(case, truth, 0 * found, names)[0])
    assert near(missed, PALETTE[0]) > 300
    assert not np.array_equal(missed, plain)
    unknown = truth.copy()
    unknown[:, :3] = -1
    assert not np.array_equal(pixels(overlay(case, unknown, found, names)[0]), plain)
    again, smaller = overlay(case, truth, found, names)
    np.testing.assert_array_equal(pixels(again), plain)
    assert not smaller


def test_best_median_and_worst() -> None:
    rows = [
        {"case": "a", "dice": 0.9}, {"case": "a", "dice": None},
        {"case": "b", "dice": 0.2}, {"case": "b", "dice": 0.6},
        {"case": "c", "dice": 0.7}, {"case": "d", "dice": None},
        {"case": "e", "dice": 0.0},
    ]  # fmt: skip
    ranked = rank(rows)
    assert [(case, round(dice, 6)) for case, dice in ranked] == [
        ("a", 0.9), ("c", 0.7), ("b", 0.4), ("e", 0.0),
    ]  # fmt: skip
    assert [item[:2] for item in chosen(ranked)] == [
        ("Best", "a"), ("Median", "c"), ("Worst", "e"),
    ]  # fmt: skip
    assert [item[:2] for item in chosen(ranked[:2])] == [("Best", "a"), ("Worst", "c")]
    assert [item[:2] for item in chosen(ranked[:1])] == [("Best", "a")]
    assert chosen([]) == []

"""Contours become the pixels whose centres they enclose, slice by slice, whatever the geometry."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.dicom.polygons import combine, fill
from data_adapters.dicom.rtstruct import Drawn, draw, read_rtstruct
from data_adapters.errors import CaseError
from data_adapters.geometry import to_index, to_world, triple
from tests.data_adapters.dicom.annotations import (
    ct_series,
    random_geometry,
    rtstruct,
    save,
    sources,
)
from tests.data_adapters.dicom.test_seg import _painted

CASE = "c0123456789"
SHAPE = (4, 40, 50)


def star(rng: np.random.Generator, centre: Any, radius: float, corners: int = 17) -> Any:
    """(n, 2) corners of a polygon that is not convex and does not cross itself."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = radius * rng.uniform(0.4, 1, corners)
    return np.asarray(centre) + reach[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1)


def area(points: Any) -> float:
    """Area of a polygon (shoelace formula)."""
    (r, c), (s, d) = np.asarray(points).T, np.roll(points, -1, axis=0).T
    return abs(float((r * d - s * c).sum())) / 2


def perimeter(points: Any) -> float:
    return float(np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum())


def _square(low: float, high: float) -> NDArray[np.float64]:
    return np.array([[low, low], [low, high], [high, high], [high, low]])


def _world(geometry: Geometry, place: float, points: Any) -> Any:
    return to_world(geometry, [[place, *point] for point in points])


def _draw(
    geometry: Geometry, rois: dict[str, list[tuple[str, Any, Any]]], folder: Path, **options: Any
) -> Drawn:
    images = ct_series(geometry, SHAPE)
    path = save(rtstruct(images, rois), folder / "rt.dcm")
    read = read_rtstruct(path, case_id=CASE)
    known = {"sources": sources(images), "case_id": CASE, **options}
    return draw(read, geometry, SHAPE, **known)


def _codes(drawn: Drawn) -> set[str]:
    return {finding.code for finding in drawn.findings}


@pytest.mark.parametrize("seed", range(20))
def test_random_polygons_hold_the_centres_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = star(rng, rng.uniform(-5, 65, 2), rng.uniform(2, 30))
    raster = fill(points, (60, 60))
    centres = np.stack(np.meshgrid(np.arange(60), np.arange(60), indexing="ij"), -1)
    want = Outline(points).contains_points(centres.reshape(-1, 2)).reshape(60, 60)
    full = np.zeros((60, 60), np.uint8)
    if raster is not None:
        high, wide = raster.values.shape
        full[raster.row : raster.row + high, raster.column : raster.column + wide] = raster.values
    np.testing.assert_array_equal(full, want)


@pytest.mark.parametrize("seed", range(5))
def test_areas_agree_within_half_a_pixel_along_the_edge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = star(rng, (50, 50), 45, 30)
    raster = fill(points, (100, 100))
    assert raster is not None
    assert abs(float(raster.values.sum()) - area(points)) <= perimeter(points) / 2


def test_polygons_that_share_an_edge_share_no_pixel() -> None:
    full = np.zeros((9, 9), np.uint8)
    for corners in ([[1, 1], [1, 4], [6, 4], [6, 1]], [[1, 4], [1, 8], [6, 8], [6, 4]]):
        raster = fill(corners, (9, 9))
        assert raster is not None
        high, wide = raster.values.shape
        full[raster.row : raster.row + high, raster.column : raster.column + wide] += raster.values
    want = np.zeros((9, 9))
    want[1:6, 1:8] = 1
    np.testing.assert_array_equal(full, want)


def test_nesting_alternates_and_crossing_joins() -> None:
    rings = [fill(_square(k, 20 - k), (30, 30)) for k in (0, 3, 6)]
    counts: Counter[str] = Counter()
    found = combine([(ring, False) for ring in rings if ring], counts)
    assert int(found.values.sum()) == 20**2 - 14**2 + 8**2
    assert counts["nested-contours"] == 2
    first, second = fill(_square(0, 10), (30, 30)), fill(_square(5, 15), (30, 30))
    assert first is not None
    assert second is not None
    counts = Counter()
    found = combine([(first, False), (second, False), (first, False)], counts)
    assert int(found.values.sum()) == 100 + 100 - 25
    assert counts == {"crossing-contours": 1, "duplicate-contours": 1, "nested-contours": 0}
    declared = combine([(first, True), (second, True)], Counter())
    assert int(declared.values.sum()) == 150


@pytest.mark.parametrize("seed", [0, 1])
def test_contours_on_an_oblique_stack(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    geometry = random_geometry(rng)
    outlines = {k: star(rng, (20, 25), 17) for k in range(3)}
    rois = {"organ": [("CLOSED_PLANAR", _world(geometry, k, p), None) for k, p in outlines.items()]}
    drawn = _draw(geometry, rois, tmp_path)
    painted = _painted(drawn.regions, "organ", SHAPE)
    for k, points in outlines.items():
        assert abs(painted[k].sum() - area(points)) <= perimeter(points) / 2
        want = Outline(points).contains_points(np.argwhere(np.ones(SHAPE[1:])))
        assert (painted[k].ravel() != want).sum() == 0
    assert not painted[3].any()
    assert drawn.findings == []


def test_a_tilted_stack_uses_each_slice_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    geometry = random_geometry(rng)
    slant = np.asarray(geometry.direction[0]) * 3 + np.asarray(geometry.direction[1]) * 1.1
    starts = [triple(np.asarray(geometry.origin) + k * slant) for k in range(4)]
    tilted = replace(geometry, spacing=(3.0, *geometry.spacing[1:]), positions=tuple(starts))
    points = star(rng, (20, 25), 17)
    rois = {"organ": [("CLOSED_PLANAR", _world(tilted, k, points), None) for k in range(4)]}
    painted = _painted(_draw(tilted, rois, tmp_path).regions, "organ", SHAPE)
    want = Outline(points).contains_points(np.argwhere(np.ones(SHAPE[1:]))).reshape(SHAPE[1:])
    for k in range(4):
        np.testing.assert_array_equal(painted[k], want)


def test_holes_are_cut_out_and_recorded(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(3))
    ring = [_square(5.5, 20.5), _square(8.5, 12.5)]
    rois = {"ring": [("CLOSED_PLANAR", _world(geometry, 1, p), None) for p in ring]}
    drawn = _draw(geometry, rois, tmp_path)
    assert int(_painted(drawn.regions, "ring", SHAPE).sum()) == 15**2 - 4**2
    assert _codes(drawn) == {"nested-contours"}


def test_what_cannot_be_drawn_is_reported(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(4))
    flat = _square(5.5, 9.5)
    upright = np.array([[0, 5, 5], [0, 9, 5], [3, 9, 5], [3, 5, 5]], float)
    rois: dict[str, list[tuple[str, Any, Any]]] = {
        "a": [
            ("CLOSED_PLANAR", _world(geometry, 9, flat), None),
            ("CLOSED_PLANAR", _world(geometry, 1.3, flat), None),
            ("CLOSED_PLANAR", to_world(geometry, upright), None),
            ("OPEN_PLANAR", _world(geometry, 1, flat), None),
            ("CLOSED_PLANAR", _world(geometry, 1, flat[:2]), None),
            ("CLOSED_PLANAR", _world(geometry, 2, flat - 7), None),
        ],
        "b": [],
        "mark": [
            ("POINT", _world(geometry, 2, [[7, 9]]), None),
            ("POINT", _world(geometry, 20, [[7, 9]]), None),
        ],
    }
    drawn = _draw(geometry, rois, tmp_path)
    counts = Counter(finding.code for finding in drawn.findings)
    assert counts == {
        "empty-mask": 1,
        "contour-off-grid": 1,
        "mask-off-grid": 1,
        "contour-between-slices": 1,
        "contour-not-in-plane": 1,
        "contour-kind": 1,
        "contour-degenerate": 1,
    }
    off = next(f for f in drawn.findings if f.code == "contour-off-grid")
    assert off.message.startswith("2 ")
    painted = _painted(drawn.regions, "a", SHAPE)
    assert [int(v) for v in painted.sum((1, 2))] == [0, 16, 9, 0]
    (label, place), *more = drawn.points
    assert label.name == "mark"
    np.testing.assert_allclose(place, (2, 7, 9), atol=1e-4)
    assert more == []


def test_the_plane_nearest_to_a_slice_is_drawn(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(8))
    places = {0.7: 4, 1.02: 6, 1.3: 8, 2.4: 10, 2.3: 12}
    rois = {
        "a": [
            ("CLOSED_PLANAR", _world(geometry, place, _square(5.5, 5.5 + side)), None)
            for place, side in places.items()
        ]
    }
    drawn = _draw(geometry, rois, tmp_path)
    painted = _painted(drawn.regions, "a", SHAPE)
    assert [int(v) for v in painted.sum((1, 2))] == [0, 36, 144, 0]
    found = [f.message for f in drawn.findings if f.code == "contour-between-slices"]
    assert [message[:2] for message in found] == ["1 ", "3 "]


def test_a_contour_where_slices_are_missing_goes_to_none(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(9))
    starts = [triple(to_world(geometry, [k, 0, 0])) for k in (0, 1, 6, 7)]
    gap = replace(geometry, positions=tuple(starts))
    square = _square(5.5, 9.5)
    rois = {"a": [("CLOSED_PLANAR", _world(geometry, k, square), None) for k in (1, 2, 5, 7)]}
    drawn = _draw(gap, rois, tmp_path)
    painted = _painted(drawn.regions, "a", SHAPE)
    assert [int(v) for v in painted.sum((1, 2))] == [0, 16, 0, 16]
    assert [f.message[:2] for f in drawn.findings] == ["2 "]
    assert _codes(drawn) == {"contour-off-grid"}


def test_references_to_another_slice_are_reported(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(5))
    images = ct_series(geometry, SHAPE)
    contour = ("CLOSED_PLANAR", _world(geometry, 1, _square(5.5, 9.5)), images[2])
    path = save(rtstruct(images, {"a": [contour]}), tmp_path / "rt.dcm")
    read = read_rtstruct(path, case_id=CASE)
    drawn = draw(read, geometry, SHAPE, sources=sources(images), case_id=CASE)
    assert _codes(drawn) == {"reference-mismatch"}
    assert [region.slice for region in drawn.regions] == [1]
    assert str(images[2].SOPInstanceUID) in read.instances
    assert read.series == (str(images[0].SeriesInstanceUID),)


def test_broken_contours_are_left_out_and_reported(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(6))
    images = ct_series(geometry, SHAPE)
    contour = ("CLOSED_PLANAR", _world(geometry, 1, _square(5.5, 9.5)), None)
    made = rtstruct(images, {"a": [contour, contour]})
    first = made.ROIContourSequence[0].ContourSequence[0]
    first.ContourData = first.ContourData[:-1]
    made.ROIContourSequence.append(copy.deepcopy(made.ROIContourSequence[0]))
    made.ROIContourSequence[1].ReferencedROINumber = 9
    read = read_rtstruct(save(made, tmp_path / "rt.dcm"), case_id=CASE)
    assert [f.code for f in read.findings] == ["broken-contours", "unknown-values"]
    assert len(read.rois[0].contours) == 1


def test_an_image_without_position_is_refused(tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(7))
    images = ct_series(geometry, SHAPE)
    read = read_rtstruct(save(rtstruct(images, {"a": []}), tmp_path / "rt.dcm"), case_id=CASE)
    with pytest.raises(CaseError) as caught:
        draw(read, Geometry(geometry.spacing[1:]), SHAPE[1:], case_id=CASE)
    assert caught.value.kind == "no-geometry"
    with pytest.raises(CaseError) as caught:
        read_rtstruct(save(images[0], tmp_path / "image.dcm"), case_id=CASE)
    assert caught.value.kind == "other-object"


@pytest.mark.data
def test_shared_structure_sets_agree_with_their_polygons(radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom/rtstruct"
    slices = [pydicom.dcmread(folder / f"mock_data/ct_{k}.dcm") for k in (1, 2)]
    step = tuple(float(v) for v in slices[0].PixelSpacing)
    place = triple(slices[0].ImagePositionPatient)
    geometry = Geometry((5.0, *step), place, ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    compared = 0
    for name in ("mock_data/invalid_reference_rt", "mock_data/non_existent_reference_rt"):
        read = read_rtstruct(folder / f"{name}.dcm", case_id=CASE)
        drawn = draw(read, geometry, (2, 512, 512), sources=sources(slices), case_id=CASE)
        assert _codes(drawn) == {"contour-off-grid"}
        for roi in read.rois:
            painted = _painted(drawn.regions, roi.label.name, (2, 512, 512))
            for contour in roi.contours:
                points = to_index(geometry, contour.points)
                if round(points[0, 0]) > 1:
                    continue
                filled = painted[round(points[0, 0])].sum()
                assert abs(filled - area(points[:, 1:])) <= perimeter(points[:, 1:]) / 2
                compared += 1
    assert compared == 16
    read = read_rtstruct(folder / "mock_data/rt.dcm", case_id=CASE)
    drawn = draw(read, geometry, (2, 512, 512), sources=sources(slices), case_id=CASE)
    assert _codes(drawn) == {"nested-contours"}
    outer, inner = (to_index(geometry, c.points)[:, 1:] for c in read.rois[0].contours)
    filled = _painted(drawn.regions, "ROI-1", (2, 512, 512)).sum()
    edge = perimeter(outer) + perimeter(inner)
    assert abs(filled - (area(outer) - area(inner))) <= edge / 2
    absent = read_rtstruct(folder / "empty/dummy_rt.dcm", case_id=CASE)
    assert [roi.label.name for roi in absent.rois] == ["ROI-1", "ROI-2", "ROI-3", "ROI-4"]

"""Marks of measurement reports written by highdicom lie where they were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from data_adapters.case import Geometry, Lesion
from data_adapters.dicom.sr import locate, read_sr
from data_adapters.errors import CaseError
from data_adapters.geometry import to_world
from tests.data_adapters.dicom.annotations import (
    ct_series,
    random_geometry,
    region,
    region_3d,
    report,
    save,
    sources,
)

CASE = "c0123456789"
SHAPE = (6, 40, 50)


@pytest.fixture
def geometry() -> Geometry:
    return random_geometry(np.random.default_rng(0))


def _lesions(
    made: pydicom.Dataset, images: list[Any], geometry: Geometry | None, folder: Path
) -> tuple[list[tuple[str, Lesion]], set[str]]:
    read = read_sr(save(made, folder / "sr.dcm"), case_id=CASE)
    found, findings = locate(
        read,
        geometry,
        SHAPE,
        sources=sources(images),
        frame_of_reference=str(images[0].FrameOfReferenceUID),
        case_id=CASE,
    )
    lesions = [(label.name, extent.lesion(1, 3)) for label, extent in found]
    return lesions, {finding.code for finding in findings}


def test_marks_on_an_image_are_counted_from_its_corner(geometry: Geometry, tmp_path: Path) -> None:
    images = ct_series(geometry, SHAPE)
    shapes = {
        "point": ("POINT", [[10.5, 20.5]]),
        "circle": ("CIRCLE", [[10.5, 20.5], [13.5, 24.5]]),
        "box": ("POLYLINE", [[4, 6], [9, 6], [9, 14], [4, 14], [4, 6]]),
        "ellipse": ("ELLIPSE", [[6, 20], [14, 20], [10, 17], [10, 23]]),
        "line": ("POLYLINE", [[4, 6], [10, 14]]),
    }
    made = report(images, [(n, region(*s, images[2])) for n, s in shapes.items()])
    lesions, codes = _lesions(made, images, geometry, tmp_path)
    found = dict(lesions)
    assert found["point"] == Lesion(1, None, (2, 20, 10))
    assert found["circle"] == Lesion(1, (2, 15.5, 5.5, 3, 25.5, 15.5), (2, 20, 10), 5)
    assert found["box"] == Lesion(1, (2, 6, 4, 3, 14, 9), (2, 9.5, 6))
    assert found["ellipse"] == Lesion(1, (2, 17, 6, 3, 23, 14), (2, 19.5, 9.5))
    assert found["line"] == Lesion(1, None, (2, 9.5, 6.5), 5)
    assert codes == set()


def test_a_turned_ellipse_has_the_box_of_its_outline(geometry: Geometry, tmp_path: Path) -> None:
    images = ct_series(geometry, SHAPE)
    along, across = np.array([8.0, 6.0]), np.array([-3.0, 4.0])
    centre = np.array([20.0, 25.0])
    ends = [centre - along, centre + along, centre - across, centre + across]
    made = report(images, [("node", region("ELLIPSE", ends, images[0]))])
    ((_, lesion),), _ = _lesions(made, images, geometry, tmp_path)
    angle = np.linspace(0, 2 * np.pi, 20000)[:, None]
    outline = centre + np.cos(angle) * along + np.sin(angle) * across
    (x0, y0), (x1, y1) = outline.min(0), outline.max(0)
    assert lesion.box == pytest.approx((0, y0, x0, 1, y1, x1), abs=1e-4)


def test_marks_in_the_patient_go_through_the_geometry(geometry: Geometry, tmp_path: Path) -> None:
    images = ct_series(geometry, SHAPE)
    flat = to_world(geometry, [[3, 5, 6], [3, 5, 16], [3, 25, 16], [3, 25, 6], [3, 5, 6]])
    arms = to_world(
        geometry, [[1, 10, 10], [5, 10, 10], [3, 4, 10], [3, 16, 10], [3, 10, 8], [3, 10, 12]]
    )
    surface = highdicom.sr.VolumeSurface(
        "ELLIPSOID",
        [arms],
        images[0].FrameOfReferenceUID,
        source_images=[
            highdicom.sr.SourceImageForSegmentation(i.SOPClassUID, i.SOPInstanceUID) for i in images
        ],
    )
    made = report(
        images,
        [
            ("flat", region_3d("POLYGON", flat, images[0])),
            ("seed", region_3d("POINT", to_world(geometry, [[2, 7, 8]]), images[0])),
            ("mass", surface),
        ],
    )
    lesions, _ = _lesions(made, images, geometry, tmp_path)
    found = dict(lesions)
    assert found["flat"].box == pytest.approx((3, 5.5, 6.5, 4, 25.5, 16.5), abs=1e-3)
    assert found["seed"].centre == pytest.approx((2, 7, 8), abs=1e-3)
    assert found["mass"].box is not None
    np.testing.assert_allclose(found["mass"].box[1:3], (4.5, 8.5), atol=1e-3)
    np.testing.assert_allclose(found["mass"].box[4:], (16.5, 12.5), atol=1e-3)
    other = [pydicom.dcmread(save(image, tmp_path / "i.dcm")) for image in images]
    for image in other:
        image.FrameOfReferenceUID = "1.2.3"
    lesions, codes = _lesions(made, other, geometry, tmp_path)
    assert (lesions, codes) == ([], {"other-images"})


def test_slices_of_one_volume_make_one_box(geometry: Geometry, tmp_path: Path) -> None:
    images = ct_series(geometry, SHAPE)
    squares = {1: (4, 9), 2: (3, 11), 3: (6, 8)}
    regions = [
        region("POLYLINE", [[a, a], [b, a], [b, b], [a, b], [a, a]], images[k])
        for k, (a, b) in squares.items()
    ]
    made = report(images, [("mass", regions)])
    lesions, _ = _lesions(made, images, geometry, tmp_path)
    assert [lesion.box for _, lesion in lesions] == [(1, 3, 3, 4, 11, 11)]


def test_marks_on_other_images_or_beyond_are_reported(geometry: Geometry, tmp_path: Path) -> None:
    images, others = ct_series(geometry, SHAPE), ct_series(geometry, SHAPE)
    far = to_world(geometry, [[2, 90, 8]])
    made = report(
        images,
        [
            ("seed", region("POINT", [[3, 4]], images[0])),
            ("far", region_3d("POINT", far, images[0])),
        ],
    )
    lesions, codes = _lesions(made, images, geometry, tmp_path)
    assert [name for name, _ in lesions] == ["seed"]
    assert codes == {"lesion-off-grid"}
    for image, other in zip(images, others, strict=True):
        other.FrameOfReferenceUID = image.FrameOfReferenceUID
    lesions, codes = _lesions(made, others, geometry, tmp_path)
    assert (lesions, codes) == ([], {"lesion-off-grid", "other-images"})


def test_other_reports_are_refused(geometry: Geometry, tmp_path: Path) -> None:
    images = ct_series(geometry, SHAPE)
    made = report(images, [("seed", region("POINT", [[3, 4]], images[0]))])

    def kind(dataset: pydicom.Dataset) -> str:
        with pytest.raises(CaseError) as caught:
            read_sr(save(dataset, tmp_path / "sr.dcm"), case_id=CASE)
        assert "PHANTOM" not in str(caught.value)
        return caught.value.kind

    assert kind(images[0]) == "other-object"
    made.ContentTemplateSequence[0].TemplateIdentifier = "2000"
    assert kind(made) == "unsupported"
    made.ContentTemplateSequence[0].TemplateIdentifier = "1500"
    measured = made.ContentSequence[-1].ContentSequence[0]
    for item in measured.ContentSequence:
        if item.ValueType == "SCOORD":
            item.GraphicData = item.GraphicData[:1]
    assert kind(made) == "corrupt"


@pytest.mark.data
def test_shared_reports(radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom"
    read = read_sr(folder / "highdicom/sr_document_with_multiple_groups.dcm", case_id=CASE)
    assert [group.label.name for group in read.groups] == ["Nodule", "Aorta", "Vertebra", "finding"]
    assert read.groups[0].measurements == (("Diameter", 10.0, "mm"),)
    known = {(uid, 0): 0 for uid in read.instances}
    found, findings = locate(read, None, (128, 128), sources=known, case_id=CASE)
    boxes = [extent.lesion(1, 2).box for _, extent in found]
    assert boxes == [(45, 35, 65, 55), (45, 25, 65, 45)]
    assert {finding.code for finding in findings} == {"no-region", "other-images"}
    read = read_sr(folder / "dcmqi/sr-example/sr.dcm", case_id=CASE)
    segmentation = pydicom.dcmread(folder / "dcmqi/sr-example/seg.dcm", stop_before_pixels=True)
    (group,) = read.groups
    assert group.segments == ((str(segmentation.SOPInstanceUID), 1),)
    assert (group.label.name, len(group.measurements)) == ("Neoplasm, Primary", 22)

"""All annotation objects of a series together: classes, masks, lesions, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from data_adapters.case import Geometry, Lesion
from data_adapters.dicom import painting
from data_adapters.dicom import truth as module
from data_adapters.dicom.classes import Classes, read_classes
from data_adapters.dicom.model import Instance, Stack
from data_adapters.dicom.objects import Label
from data_adapters.dicom.truth import annotates, class_names, read_alone, read_truth
from data_adapters.errors import CaseError
from data_adapters.geometry import to_world, triple
from tests.data_adapters.dicom.annotations import (
    ct_series,
    instance,
    random_geometry,
    region,
    report,
    rtstruct,
    save,
    seg,
    stack_of,
)

CASE = "c0123456789"
SHAPE = (5, 24, 30)


class Delivery:
    """A series and the annotation objects beside it."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.geometry = random_geometry(self.rng)
        self.images = ct_series(self.geometry, SHAPE)
        self.stack = stack_of(self.images, self.geometry, folder)
        self.objects: list[Instance] = []

    def add(self, made: pydicom.Dataset) -> Instance:
        path = save(made, self.folder / f"object{len(self.objects)}.dcm")
        self.objects.append(instance(path))
        return self.objects[-1]

    def blocks(self, *boxes: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
        masks = np.zeros((*SHAPE, len(boxes)), np.uint8)
        for k, box in enumerate(boxes):
            masks[(*box, k)] = 1
        return masks

    def contour(self, place: float, low: float, high: float) -> tuple[str, Any, None]:
        square = [[low, low], [low, high], [high, high], [high, low]]
        points = to_world(self.geometry, [[place, *corner] for corner in square])
        return "CLOSED_PLANAR", points, None

    def read(self, **options: Any) -> module.Truth:
        return read_truth(self.objects, self.stack, SHAPE, self.geometry, case_id=CASE, **options)


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    return Delivery(tmp_path)


LEFT = (slice(1, 3), slice(2, 8), slice(2, 9))
RIGHT = (slice(2, 5), slice(10, 20), slice(12, 25))
ACROSS = (slice(2, 4), slice(5, 15), slice(5, 15))


def test_masks_of_several_objects_become_one(delivery: Delivery) -> None:
    masks = delivery.blocks(LEFT, RIGHT)
    delivery.add(seg(delivery.images, masks, "BINARY", names=["liver", "spleen"]))
    delivery.add(rtstruct(delivery.images, {"Kidney": [delivery.contour(0, 3.5, 9.5)]}))
    truth = delivery.read()
    assert truth.class_names == ("background", "Kidney", "liver", "spleen")
    assert truth.masks is None
    assert truth.mask is not None
    want = masks[..., 0] * 2 + masks[..., 1] * 3
    want[0, 4:10, 4:10] = 1
    np.testing.assert_array_equal(truth.mask, want)
    assert truth.mask.dtype == np.uint8
    assert {finding.code for finding in truth.findings} <= {"sparse-frames"}
    assert all(annotates(one) for one in delivery.objects)
    assert not any(annotates(one) for one in delivery.stack.instances)


def test_overlapping_classes_keep_a_channel_each(delivery: Delivery) -> None:
    masks = delivery.blocks(LEFT, ACROSS)
    delivery.add(seg(delivery.images, masks[..., :1], "BINARY", names=["liver"]))
    delivery.add(seg(delivery.images, masks[..., 1:], "BINARY", names=["cyst"]))
    made = pydicom.dcmread(delivery.objects[1].path)
    made.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "other"
    save(made, Path(delivery.objects[1].path))
    truth = delivery.read()
    assert truth.class_names == ("background", "cyst", "liver")
    assert truth.mask is None
    assert truth.masks is not None
    np.testing.assert_array_equal(truth.masks, masks[..., ::-1])
    assert truth.masks.dtype == np.uint8


def test_the_same_class_twice_is_no_overlap(delivery: Delivery) -> None:
    masks = delivery.blocks(LEFT, ACROSS)
    for k, name in enumerate(("liver", " Liver ")):
        delivery.add(seg(delivery.images, masks[..., k : k + 1], "BINARY", names=[name]))
    truth = delivery.read()
    assert truth.class_names[1:] == ("Liver",)
    np.testing.assert_array_equal(truth.mask, masks.max(-1))
    joined = [f.message for f in truth.findings if f.code == "joined-objects"]
    assert joined == ["2 annotation objects mark 'Liver': they were joined"]


def test_fractions_stay_fractions(delivery: Delivery) -> None:
    share = delivery.blocks(LEFT)[..., 0] * delivery.rng.integers(1, 256, SHAPE)
    delivery.add(seg(delivery.images, share[..., None] / 255, "FRACTIONAL", names=["liver"]))
    delivery.add(rtstruct(delivery.images, {"spine": [delivery.contour(1, 3.5, 9.5)]}))
    truth = delivery.read()
    assert truth.mask is None
    assert truth.masks is not None
    assert truth.masks.dtype == np.float32
    place = truth.class_names.index("liver") - 1
    np.testing.assert_allclose(truth.masks[..., place], share / 255, atol=1e-6)
    assert truth.masks[1, 4:10, 4:10, 1 - place].all()


def test_marks_and_points_become_lesions(delivery: Delivery) -> None:
    images = delivery.images
    square = [[4, 6], [9, 6], [9, 14], [4, 14], [4, 6]]
    delivery.add(report(images, [("nodule", region("POLYLINE", square, images[2]))]))
    truth = delivery.read()
    assert (truth.mask, truth.masks) == (None, None)
    assert truth.class_names == ("nodule",)
    assert truth.lesions == (Lesion(0, (2, 6, 4, 3, 14, 9), (2, 9.5, 6)),)
    assert read_classes(delivery.objects).task == "detection"
    seed = ("POINT", to_world(delivery.geometry, [[3, 4, 5]]), None)
    delivery.add(rtstruct(images, {"seed": [seed]}))
    truth = delivery.read()
    assert truth.class_names == ("background", "seed", "nodule")
    assert sorted(lesion.label for lesion in truth.lesions) == [1, 2]
    assert truth.mask is not None
    assert not truth.mask.any()


def test_objects_of_other_images_are_left_out(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Delivery(tmp_path / "other", seed=1)
    for image in other.images:
        image.FrameOfReferenceUID = delivery.images[0].FrameOfReferenceUID
    delivery.add(seg(other.images, other.blocks(LEFT), "BINARY"))
    delivery.add(rtstruct(other.images, {"a": [delivery.contour(0, 3.5, 9.5)]}))
    truth = delivery.read()
    assert (truth.mask, truth.masks) == (None, None)
    assert [finding.code for finding in truth.findings] == ["other-images"] * 2


def test_another_frame_of_reference_is_reported(delivery: Delivery) -> None:
    made = seg(delivery.images, delivery.blocks(LEFT), "BINARY")
    made.FrameOfReferenceUID = "1.2.3"
    delivery.add(made)
    truth = delivery.read()
    np.testing.assert_array_equal(truth.mask, delivery.blocks(LEFT)[..., 0])
    assert "frame-of-reference" in {finding.code for finding in truth.findings}


def test_a_report_names_the_segmentations_it_lacks(delivery: Delivery) -> None:
    made = seg(delivery.images, delivery.blocks(LEFT), "BINARY")
    source = highdicom.sr.SourceImageForSegmentation(
        delivery.images[0].SOPClassUID, delivery.images[0].SOPInstanceUID
    )
    segment = highdicom.sr.ReferencedSegment(
        made.SOPClassUID, made.SOPInstanceUID, 1, source_images=[source]
    )
    delivery.add(report([*delivery.images, made], [("mass", segment)]))
    absent = [f for f in delivery.read().findings if f.code == "absent-segmentation"]
    assert len(absent) == 1
    delivery.add(made)
    truth = delivery.read()
    assert "absent-segmentation" not in {finding.code for finding in truth.findings}
    assert truth.class_names == ("background", "part 1")


def test_a_picture_and_a_multi_frame_object(delivery: Delivery) -> None:
    masks = delivery.blocks(LEFT)
    delivery.add(seg(delivery.images, masks, "BINARY"))
    one = delivery.stack.instances[1]
    place = triple(to_world(delivery.geometry, [1, 0, 0]))
    flat = Geometry(delivery.geometry.spacing[1:], place, delivery.geometry.direction[1:])
    picture = Stack((replace(one, slice_thickness=delivery.geometry.spacing[0]),), flat, "picture")
    truth = read_truth(delivery.objects, picture, SHAPE[1:], flat, case_id=CASE)
    np.testing.assert_array_equal(truth.mask, masks[1, ..., 0])
    assert "mask-off-grid" in {finding.code for finding in truth.findings}
    frames = Stack((one,), delivery.geometry, "multiframe")
    truth = read_truth(
        delivery.objects, frames, SHAPE, delivery.geometry, case_id=CASE, frames=range(5)
    )
    np.testing.assert_array_equal(truth.mask, masks[..., 0])


def test_classes_by_name_and_by_concept(delivery: Delivery) -> None:
    def one(names: list[str], codes: list[str]) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[0, 0, : len(names)] = range(1, len(names) + 1)
        made = seg(delivery.images, labels, "LABELMAP", names=names)
        for item in made.SegmentSequence:
            if item.SegmentNumber:
                kind = item.SegmentedPropertyTypeCodeSequence[0]
                kind.CodeValue = codes[int(item.SegmentNumber) - 1]
        delivery.add(made)

    one(["lesion 1", "lesion 2", "liver"], ["L", "L", "V"])
    one(["lesion 2", "Leber"], ["L", "V"])
    one(["bone"], ["85756007"])
    one(["skin"], ["85756007"])
    classes = read_classes(delivery.objects)
    assert classes.names == ("background", "bone", "lesion 1", "lesion 2", "skin", "Leber")
    assert [finding.code for finding in classes.findings] == ["joined-classes"]
    assert "'liver' and 'Leber'" in classes.findings[0].message
    assert classes.number(Label("LIVER")) == classes.number(Label("leber", "V")) == 5
    assert class_names(delivery.objects) == classes.names
    with pytest.raises(CaseError):
        classes.number(Label("heart"))


def test_a_segmentation_without_images_keeps_its_own_grid(delivery: Delivery) -> None:
    masks = delivery.blocks(LEFT, ACROSS)
    one = delivery.add(seg(delivery.images, masks, "BINARY", names=["liver", "cyst"]))
    truth = read_alone(one.path, case_id=CASE)
    assert truth.class_names == ("background", "liver", "cyst")
    assert truth.geometry is not None
    np.testing.assert_array_equal(truth.masks, masks[1:4])
    np.testing.assert_allclose(
        to_world(truth.geometry, [1, 2, 3]), to_world(delivery.geometry, [2, 2, 3]), atol=1e-3
    )
    assert [f.severity for f in truth.findings if f.code == "absent-images"] == ["warning"]


def test_objects_that_cannot_be_read(delivery: Delivery) -> None:
    one = delivery.add(seg(delivery.images, delivery.blocks(LEFT), "BINARY"))
    Path(one.path).write_bytes(b"")
    classes = read_classes(delivery.objects, case_ids=[CASE])
    assert (classes.names, classes.task) == (("background",), "segmentation")
    assert [(f.code, f.case_id) for f in classes.findings] == [("zero-byte", CASE)]
    with pytest.raises(CaseError) as caught:
        delivery.read()
    assert (caught.value.kind, caught.value.case_id) == ("zero-byte", CASE)


def test_a_class_that_was_not_there_before(delivery: Delivery) -> None:
    delivery.add(seg(delivery.images, delivery.blocks(LEFT), "BINARY"))
    with pytest.raises(CaseError) as caught:
        delivery.read(classes=Classes(("background",), "segmentation", {"background": 0}))
    assert (caught.value.kind, caught.value.case_id) == ("class", CASE)


def test_channels_beyond_memory_are_refused(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery.add(seg(delivery.images, delivery.blocks(LEFT, ACROSS), "BINARY"))
    monkeypatch.setattr(painting, "MAX_CHANNEL_VOXELS", 100)
    with pytest.raises(CaseError) as caught:
        delivery.read()
    assert caught.value.kind == "masks-size"

"""A tree of images and annotation objects: each goes to its own images, and nothing gets lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

import data_adapters
from data_adapters.case import check_case
from data_adapters.dicom.attaching import attach
from data_adapters.dicom_tree import DicomTree
from data_adapters.lint.reading import reading_findings
from data_adapters.store_cases import plain
from tests.data_adapters.dicom.annotations import region, report, rtstruct, save, seg, stack_of
from tests.data_adapters.dicom.test_truth import ACROSS, LEFT, SHAPE, Delivery


def _patient(root: Path, seed: int, *, frame: str = "") -> Delivery:
    """A series in a folder of its own."""
    folder = root / f"patient{seed}"
    folder.mkdir(parents=True)
    made = Delivery(folder, seed)
    for image in made.images:
        image.PatientID = f"PHANTOM-{seed}"
        if frame:
            image.FrameOfReferenceUID = frame
    made.stack = stack_of(made.images, made.geometry, folder)
    return made


def test_each_object_goes_to_its_own_images(tmp_path: Path) -> None:
    first, second = (_patient(tmp_path, seed, frame="1.2.3") for seed in (1, 2))
    first.add(seg(first.images, first.blocks(LEFT, ACROSS), "BINARY", names=["liver", "cyst"]))
    contours = {"Kidney": [second.contour(0, 3.5, 9.5), second.contour(9, 3.5, 9.5)]}
    second.add(rtstruct(second.images, contours))
    _patient(tmp_path, 3, frame="1.2.3")
    data = data_adapters.open(tmp_path)
    assert data.task == "segmentation"
    assert data.class_names == ("background", "Kidney", "liver", "cyst")
    assert data.skipped == ()
    assert any(
        "2 annotation objects annotate 2 images; 1 images have none" in n for n in data.notes
    )
    cases = [data[i] for i in range(3)]
    for case in cases:
        check_case(case)
        json.dumps(plain(case.meta))
    assert cases[0].masks is not None
    empty = np.zeros(SHAPE, np.uint8)
    want = np.stack([empty, *first.blocks(LEFT, ACROSS).transpose(3, 0, 1, 2)], -1)
    np.testing.assert_array_equal(cases[0].masks, want)
    assert cases[1].mask is not None
    assert {int(v) for v in np.unique(cases[1].mask)} == {0, 1}
    assert int(cases[1].mask[0].sum()) == 36
    assert (cases[2].mask, cases[2].masks, cases[2].lesions) == (None, None, ())
    found = {finding.code for finding in reading_findings(cases[1])}
    assert "contour-off-grid" in found


def test_reports_alone_make_detection(tmp_path: Path) -> None:
    one = _patient(tmp_path, 1)
    square = [[4, 6], [9, 6], [9, 14], [4, 14], [4, 6]]
    one.add(report(one.images, [("nodule", region("POLYLINE", square, one.images[2]))]))
    data = data_adapters.open(tmp_path)
    assert (data.task, data.class_names) == ("detection", ("nodule",))
    (lesion,) = data[0].lesions
    assert (lesion.label, lesion.box) == (0, (2, 6, 4, 3, 14, 9))
    assert data[0].mask is None


def test_labels_by_folder_leave_annotations_out(tmp_path: Path) -> None:
    for name, seed in (("sick", 1), ("well", 2)):
        one = _patient(tmp_path / name, seed)
        one.add(seg(one.images, one.blocks(LEFT), "BINARY"))
    data = data_adapters.open(tmp_path, label="folder")
    assert (data.task, data.class_names) == ("single", ("sick", "well"))
    assert data[0].mask is None
    assert [skip.kind for skip in data.skipped] == ["no-image", "no-image"]


def test_a_changed_annotation_changes_the_key(tmp_path: Path) -> None:
    one = _patient(tmp_path, 1)
    made = seg(one.images, one.blocks(LEFT), "BINARY", names=["liver"])
    before = DicomTree(tmp_path).file_key(0)
    path = Path(one.add(made).path)
    with_mask = DicomTree(tmp_path).file_key(0)
    made.SegmentSequence[0].SegmentLabel = "spleen"
    save(made, path)
    assert len({before, with_mask, DicomTree(tmp_path).file_key(0)}) == 3


def test_what_cannot_be_attached_is_recorded(tmp_path: Path) -> None:
    one, gone = _patient(tmp_path, 1), _patient(tmp_path, 2)
    one.add(seg(gone.images, gone.blocks(LEFT), "BINARY"))
    damaged = Path(one.add(seg(one.images, one.blocks(LEFT), "BINARY")).path)
    tiled = seg(one.images, one.blocks(LEFT), "BINARY")
    tiled.DimensionOrganizationType = "TILED_FULL"
    one.add(tiled)
    for file in gone.folder.glob("slice*"):
        file.unlink()
    content = pydicom.dcmread(damaged)
    del content.SegmentSequence[0].SegmentNumber
    save(content, damaged)
    data = data_adapters.open(tmp_path)
    kinds = sorted(skip.kind for skip in data.skipped)
    assert kinds == ["absent-images", "corrupt", "whole-slide"]
    assert len(data) == 1
    assert data[0].mask is None


def test_series_without_a_name_go_by_instance(tmp_path: Path) -> None:
    one, other = _patient(tmp_path, 1), _patient(tmp_path, 2)
    for made in (
        seg(one.images, one.blocks(LEFT), "BINARY"),
        rtstruct(one.images, {"a": [one.contour(0, 3.5, 9.5)]}),
    ):
        one.add(made)
    bare = [replace(entry, referenced_series=()) for entry in one.objects]
    found = attach([*one.stack.instances, *bare], [other.stack, one.stack])
    assert [len(objects) for objects in found.objects] == [0, 2]
    assert found.left_out == ()
    lost = attach(bare, [other.stack])
    assert [kind for _, kind, _ in lost.left_out] == ["absent-images"] * 2


def test_no_planted_name_gets_out(tmp_path: Path) -> None:
    one = _patient(tmp_path, 1)
    square = [[4, 6], [9, 6], [9, 14], [4, 14], [4, 6]]
    for made in (
        seg(one.images, one.blocks(LEFT, ACROSS), "BINARY", names=["a", "b"]),
        rtstruct(one.images, {"c": [one.contour(0, 3.5, 9.5), one.contour(9, 3.5, 9.5)]}),
        report(one.images, [("d", region("POLYLINE", square, one.images[2]))]),
        seg(_patient(tmp_path / "gone", 2).images, one.blocks(LEFT), "BINARY"),
    ):
        _plant(made)
        one.add(made)
    for file in (tmp_path / "gone").rglob("slice*"):
        file.unlink()
    data = data_adapters.open(tmp_path)
    case = data[0]
    assert data.class_names == ("background", "ROI 1", "segment 1", "segment 2", "finding")
    assert len(data.skipped) == 1
    assert [code for _, code, _, _ in case.meta["truth"]] == ["contour-off-grid"]
    assert [finding.code for finding in data.findings] == ["unnamed-classes"]
    told = [data.notes, data.skipped, data.findings, data.index, data.class_names, case.meta]
    assert MARK.lower() not in repr(told).lower()


MARK = "Zanzibar"


def _plant(made: pydicom.Dataset) -> None:
    """Put a marked name into every element that holds text."""
    for element in made.iterall():
        if element.VR in ("LO", "LT", "PN", "SH", "ST", "UC", "UT") and element.keyword not in (
            "CodingSchemeDesignator",
            "CodeValue",
        ):
            element.value = f"{MARK}^Anna" if element.VR == "PN" else f"of {MARK}"
    made.PatientName, made.PatientID = f"{MARK}^Anna", f"{MARK}-77"


@pytest.mark.data
def test_the_shared_ct_with_its_masks(radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom/dcmqi/segmentations"
    data = data_adapters.open(folder)
    assert data.task == "segmentation"
    place = next(i for i in range(len(data)) if "ct-3slice" in data.source_name(i))
    case = data[place]
    assert case.masks is not None
    liver = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "liver_seg.nrrd")))
    channel = data.class_names.index("Liver") - 1
    np.testing.assert_array_equal(case.masks[..., channel], liver)
    for n, names in ((1, {1: "GREEN", 4: "LIGHT_BLUE", 5: "DARK_BLUE"}), (2, {2: "ORANGE"})):
        file = folder / f"partial_overlaps-{n}.nrrd"
        parts = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
        for value, name in names.items():
            channel = data.class_names.index(name) - 1
            np.testing.assert_array_equal(case.masks[..., channel], parts == value)


@pytest.mark.data
def test_masks_of_a_multi_frame_image(radzoo_data: Path, tmp_path: Path) -> None:
    file = radzoo_data / "dicom/dcmqi/segmentations/24x38x3/multiframe/mf.dcm"
    masks = (np.random.default_rng(0).random((3, 38, 24, 1)) < 0.3).astype(np.uint8)
    image = pydicom.dcmread(file)
    order = np.array([2, 0, 1])
    groups = image.PerFrameFunctionalGroupsSequence
    frames = np.frombuffer(image.PixelData, np.uint16).reshape(3, 38, 24)
    image.PerFrameFunctionalGroupsSequence = [groups[k] for k in order]
    image.PixelData = frames[order].tobytes()
    save(image, tmp_path / "image.dcm")
    save(seg([image], masks[order], "BINARY"), tmp_path / "seg.dcm")
    data = data_adapters.open(tmp_path)
    assert len(data) == 1
    case = data[0]
    np.testing.assert_array_equal(case.mask, masks[..., 0])
    np.testing.assert_array_equal(case.image[..., 0], data_adapters.open(file)[0].image[..., 0])
    assert case.meta["truth"] == ()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape"),
    [("ct_binary", 4), ("ct_binary_overlap", 4), ("ct_true_fractional", 4), ("cr_binary", 0)],
)
def test_highdicom_segmentations_on_the_images_of_pydicom(
    name: str, shape: int, radzoo_data: Path, tmp_path: Path
) -> None:
    file = radzoo_data / f"dicom/highdicom/seg_image_{name}.dcm"
    folder = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/77654033"
    for source in (folder / ("CT2" if shape else "CR1")).iterdir():
        shutil.copy(source, tmp_path / source.name)
    shutil.copy(file, tmp_path / "seg.dcm")
    made = pydicom.dcmread(file)
    data = data_adapters.open(tmp_path)
    assert (data.task, len(data)) == ("segmentation", 1)
    case = data[0]
    grid = case.image.shape[:-1]
    assert grid == ((shape, 16, 16) if shape else (16, 16))
    want = np.zeros((shape or 1, 16, 16, len(made.SegmentSequence)), np.float32)
    for frame, pixels in zip(
        made.PerFrameFunctionalGroupsSequence, made.pixel_array.reshape(-1, 16, 16), strict=True
    ):
        place = 0
        if shape:
            heights = [p[2] for p in case.geometry.positions]
            height = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
            place = int(np.argmin(np.abs(np.array(heights) - height)))
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        want[place, ..., number - 1] = pixels / float(made.get("MaximumFractionalValue", 1))
    assert want.any()
    found = case.masks if case.masks is not None else case.mask[..., None]
    np.testing.assert_allclose(found.reshape(want.shape), want, atol=1e-6)
    assert (case.masks is None) == (name in ("ct_binary", "cr_binary"))

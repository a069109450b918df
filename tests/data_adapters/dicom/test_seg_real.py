"""Segmentations of other people's software: the same voxels as their NRRD files and readers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray

from data_adapters.dicom.placing import on_grid
from data_adapters.dicom.seg import Segmentation, read_seg
from data_adapters.errors import CaseError
from data_adapters.geometry import from_sitk, same_grid
from tests.data_adapters.dicom.test_seg import _painted

pytestmark = pytest.mark.data
CASE = "c0123456789"


def _nrrd(path: Path) -> tuple[NDArray[Any], Any]:
    image = SimpleITK.ReadImage(str(path))
    return SimpleITK.GetArrayFromImage(image), from_sitk(image)


def _read(path: Path) -> Segmentation:
    return read_seg(path, case_id=CASE)


def test_the_liver_lies_on_the_ct_as_in_the_nrrd(radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom/dcmqi/segmentations"
    want, geometry = _nrrd(folder / "liver_seg.nrrd")
    files = [pydicom.dcmread(f, stop_before_pixels=True) for f in folder.glob("ct-3slice/*")]
    files.sort(key=lambda image: float(image.ImagePositionPatient[2]))
    sources = {(str(image.SOPInstanceUID), 0): k for k, image in enumerate(files)}
    regions, findings = on_grid(
        _read(folder / "liver.dcm"), geometry, want.shape, sources=sources, case_id=CASE
    )
    np.testing.assert_array_equal(_painted(regions, "Liver", want.shape), want == 1)
    assert want.any()
    assert findings == []


def test_overlapping_parts_keep_their_voxels(radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom/dcmqi/segmentations"
    read = _read(folder / "partial_overlaps.dcm")
    assert read.overlapping
    seen = 0
    for n in (1, 2, 3):
        want, geometry = _nrrd(folder / f"partial_overlaps-{n}.nrrd")
        assert read.geometry is not None
        assert same_grid(read.geometry, geometry)
        for number in np.unique(want)[1:]:
            index = [s.number for s in read.segments].index(int(number))
            np.testing.assert_array_equal(read.array(index), want == number)
            seen += 1
    assert seen == len(read.segments) == 5
    assert (sum(read.array(k).astype(int) for k in range(5)) > 1).any()


@pytest.mark.parametrize("size", ["23x38x3", "24x38x3"])
def test_frames_that_do_not_end_on_a_byte(size: str, radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom/dcmqi/segmentations" / size
    want, geometry = _nrrd(folder / "nrrd/label.nrrd")
    read = _read(folder / "seg/label.seg")
    np.testing.assert_array_equal(read.array(0), want == 1)
    assert read.geometry is not None
    assert same_grid(read.geometry, geometry, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["noppv", "ppv5"])
def test_label_maps_with_gaps(kind: str, radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom/dcmqi/segmentations"
    want, geometry = _nrrd(folder / f"sparse_labelmap_{kind}_seg.nrrd")
    read = _read(folder / f"sparse-labelmap-{kind}.dcm")
    np.testing.assert_array_equal(read.array(0), want == 1)
    assert [s.label.name for s in read.segments] == ["Liver"]
    assert read.geometry is not None
    assert same_grid(read.geometry, geometry, tolerance=1e-4)


def test_absent_images_leave_a_mask_on_its_own_grid(radzoo_data: Path) -> None:
    read = _read(radzoo_data / "dicom/dcmqi/sr-example/seg.dcm")
    assert (read.shape, int(read.array(0).sum())) == ((13, 128, 128), 795)
    assert read.geometry is not None
    assert read.geometry.spacing == pytest.approx((3.375, 3.537818, 3.537818))


def test_highdicom_variants_as_highdicom_reads_them(radzoo_data: Path) -> None:
    read = refused = 0
    for path in sorted((radzoo_data / "dicom/highdicom").glob("seg_image_*.dcm")):
        if "_sm_" in path.name:
            with pytest.raises(CaseError) as caught:
                _read(path)
            assert caught.value.kind == "whole-slide"
            refused += 1
            continue
        read += 1
        ours, theirs = _read(path), highdicom.seg.segread(path)
        for k, segment in enumerate(ours.segments):
            want = theirs.pixel_array[None]
            if ours.geometry is not None:
                volume = theirs.get_volume(
                    segment_numbers=[segment.number],
                    combine_segments=False,
                    rescale_fractional=True,
                    allow_missing_positions=True,
                )
                same_way = np.allclose(volume.position, ours.geometry.origin, atol=1e-3)
                want = volume.array[:: 1 if same_way else -1, ..., 0]
            np.testing.assert_allclose(ours.array(k), want, atol=1e-6)
    assert (read, refused) == (6, 6)

"""Phantoms as DICOM: valid UIDs, honest headers, geometry, and how another program reads them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_adapters.dicom_write import phantom_uid, write_dicom_series
from data_adapters.errors import DataError
from data_adapters.phantoms import Phantom, Scan, ct_slice, ct_volume, radiograph

UIDS = (
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)


@pytest.fixture(scope="module")
def volume() -> Phantom:
    return ct_volume(
        3, shape=(5, 24, 40), step_mm=4.0, phase="arterial", scan=Scan(circle=True, organs=False)
    )


@pytest.fixture(scope="module")
def film() -> Phantom:
    return radiograph(1, size=32)


def test_uids_are_valid_distinct_and_repeatable(tmp_path: Path, volume: Phantom) -> None:
    files = write_dicom_series(volume, tmp_path / "a", patient=2, seed=5)
    again = write_dicom_series(volume, tmp_path / "b", patient=2, seed=5)
    other = write_dicom_series(volume, tmp_path / "c", patient=3, seed=5)
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    heads = [pydicom.dcmread(f) for f in files]
    for name in UIDS:
        for head in heads:
            uid = pydicom.uid.UID(getattr(head, name))
            assert uid.is_valid
            assert uid.startswith("2.25.")
            assert len(uid) <= 64
    assert len({h.SOPInstanceUID for h in heads}) == 5
    for name in UIDS[1:]:
        assert len({getattr(h, name) for h in heads}) == 1
    stranger = pydicom.dcmread(other[0])
    assert not {getattr(stranger, n) for n in UIDS} & {getattr(heads[0], n) for n in UIDS}
    assert phantom_uid(1, 23) != phantom_uid(12, 3)


def test_header_says_that_it_is_a_phantom(tmp_path: Path, volume: Phantom, film: Phantom) -> None:
    for phantom in (volume, film):
        head = pydicom.dcmread(write_dicom_series(phantom, tmp_path / phantom.modality)[0])
        assert head.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert head.PatientID == "PHANTOM-0001"
        assert str(head.PatientName) == "Phantom^0001"
        assert head.QualityControlSubject == "YES"
        assert head.Manufacturer == "radzoo phantom"
        for text in (head.ImageComments, head.SeriesDescription, head.StudyDescription):
            assert "phantom" in text.lower()
            assert "synthetic" in text.lower()
        assert head.PatientBirthDate == ""
        assert head.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert head.file_meta.MediaStorageSOPInstanceUID == head.SOPInstanceUID


def test_slices_lie_where_the_geometry_says(tmp_path: Path, volume: Phantom) -> None:
    heads = [pydicom.dcmread(f) for f in write_dicom_series(volume, tmp_path)]
    positions = np.array([h.ImagePositionPatient for h in heads], float)
    np.testing.assert_allclose(positions[0], volume.geometry.origin, atol=1e-4)
    np.testing.assert_allclose(np.diff(positions, axis=0), [[0, 0, 4.0]] * 4, atol=1e-4)
    for head, position in zip(heads, positions, strict=True):
        assert list(head.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
        np.testing.assert_allclose(head.PixelSpacing, volume.geometry.spacing[1:], rtol=1e-8)
        assert float(head.SliceThickness) == 4.0
        assert float(head.SliceLocation) == pytest.approx(position[2])
        assert (head.Rows, head.Columns) == (24, 40)
        assert head.PatientPosition == "HFS"
    numbers = [int(h.InstanceNumber) for h in heads]
    assert all(b == a + 1 for a, b in pairwise(numbers))


@pytest.mark.parametrize(("stored", "bits"), [("int16", 16), ("uint12", 12)])
def test_stored_values_give_back_hu(
    tmp_path: Path, volume: Phantom, stored: str, bits: int
) -> None:
    head = pydicom.dcmread(write_dicom_series(volume, tmp_path, stored=stored)[2])
    assert head.BitsStored == bits
    assert head.HighBit == bits - 1
    raw = head.pixel_array
    hu = raw * float(head.RescaleSlope) + float(head.RescaleIntercept)
    wanted = np.rint(volume.image[2, ..., 0])
    assert volume.padding is not None
    np.testing.assert_array_equal(raw[volume.padding], head.PixelPaddingValue)
    lowest = -1024 if stored == "int16" else -1023
    inside = ~volume.padding
    np.testing.assert_array_equal(hu[inside], np.maximum(wanted, lowest)[inside])


def test_simpleitk_reads_the_same_volume(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK, the second reader, is not installed")
    volume = ct_volume(4, shape=(6, 20, 28), step_mm=3.5, centre_xy=(20.0, -10.0))
    write_dicom_series(volume, tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(image), np.rint(volume.image[..., 0]).astype(int)
    )
    np.testing.assert_allclose(image.GetSpacing(), volume.geometry.spacing[::-1], rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), volume.geometry.origin, atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-9)
    finding = volume.findings[0]
    point = image.TransformContinuousIndexToPhysicalPoint([float(c) for c in finding.centre[::-1]])
    np.testing.assert_allclose(point, finding.centre_mm, atol=1e-3)


def test_several_slices_of_a_patient_are_one_series(tmp_path: Path) -> None:
    slices = [ct_slice(seed, size=16, z_mm=10.0 * seed, fov_mm=400) for seed in (1, 2)]
    heads = [pydicom.dcmread(f) for f in write_dicom_series(slices, tmp_path, patient=12)]
    assert [float(h.SliceLocation) for h in heads] == [10.0, 20.0]
    assert len({h.SeriesInstanceUID for h in heads}) == 1
    assert heads[0].PatientID == "PHANTOM-0012"
    assert "PixelPaddingValue" not in heads[0]


def test_projection_in_both_polarities(tmp_path: Path, film: Phantom) -> None:
    plain = pydicom.dcmread(write_dicom_series(film, tmp_path / "2")[0])
    turned = pydicom.dcmread(write_dicom_series(film, tmp_path / "1", polarity="MONOCHROME1")[0])
    assert plain.Modality == turned.Modality == "DX"
    assert plain.PresentationLUTShape == "IDENTITY"
    assert turned.PresentationLUTShape == "INVERSE"
    np.testing.assert_array_equal(plain.pixel_array, film.image[..., 0])
    np.testing.assert_array_equal(turned.pixel_array, 4095 - film.image[..., 0])
    np.testing.assert_allclose(plain.ImagerPixelSpacing, film.geometry.spacing)


def test_what_makes_no_series_is_refused(tmp_path: Path, volume: Phantom, film: Phantom) -> None:
    with pytest.raises(DataError, match="no phantom"):
        write_dicom_series([], tmp_path)
    with pytest.raises(DataError, match="no single series"):
        write_dicom_series([volume, film], tmp_path)
    with pytest.raises(DataError, match="int8"):
        write_dicom_series(film, tmp_path, stored="int8")
    assert not list(tmp_path.iterdir())

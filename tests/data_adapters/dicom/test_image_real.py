"""Reading real single-frame DICOM files, against pydicom and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_adapters.case import Case
from data_adapters.dicom.display import bright_is_dense
from data_adapters.dicom.image import DicomImage, read_dicom_image


def _read(path: Path) -> DicomImage:
    return read_dicom_image(path, case_id="c0123456789")


def test_real_ct_equals_pydicom(radzoo_data: Path) -> None:
    path = radzoo_data / "dicom" / "highdicom" / "ct_image.dcm"
    read, data = _read(path), pydicom.dcmread(path)
    np.testing.assert_array_equal(read.image[..., 0], data.pixel_array.astype(float) - 1024)
    assert read.padding is None
    assert read.geometry is not None
    assert read.geometry.origin == tuple(data.ImagePositionPatient)


def test_polarity_of_a_real_film(radzoo_data: Path) -> None:
    path = radzoo_data / "dicom" / "highdicom" / "dx_image.dcm"
    read = _read(path)
    stored = pydicom.dcmread(path).pixel_array.astype(float)
    np.testing.assert_array_equal(read.image[..., 0], stored)
    assert read.display.inverted
    case = Case(image=read.image, case_id="c1", display=read.display, meta=read.meta)
    np.testing.assert_array_equal(bright_is_dense(case)[..., 0], 255 - stored)
    assert read.display.windows == ((128.0, 256.0),)


def test_real_ct_with_padding(radzoo_data: Path) -> None:
    path = radzoo_data / "dicom" / "dcmqi" / "segmentations" / "ct-3slice" / "01.dcm"
    read = _read(path)
    stored = pydicom.dcmread(path).pixel_array
    assert read.padding is not None
    np.testing.assert_array_equal(read.padding, stored == -2000)
    assert read.padding.mean() == pytest.approx(0.21, abs=0.01)
    assert (read.image[read.padding] == -1024).all()
    measured = stored[~read.padding].astype(float) - 1024
    np.testing.assert_array_equal(read.image[..., 0][~read.padding], measured)
    assert read.display.windows == ((40.0, 400.0),)

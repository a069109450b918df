"""Spacing of projections and ultrasound, and facts that name nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from data_adapters.dicom.facts import meta_of, pixel_spacing, plane_geometry, reading_notes
from data_adapters.dicom.image import read_dicom_image
from tests.data_adapters.dicom.samples import image, item, save


def _header(**values: Any) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


@pytest.mark.parametrize(
    ("values", "spacing", "at"),
    [
        ({"PixelSpacing": [0.5, 0.6]}, (0.5, 0.6), "patient"),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "detector"),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "detector"),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "calibrated"),
        (
            {"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.1, 0.1),
            "calibrated",
        ),
        ({"NominalScannedPixelSpacing": [0.3, 0.3]}, (0.3, 0.3), "film"),
        ({"PixelSpacing": [0.0, 0.5], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "detector"),
        ({"PixelSpacing": [0.5]}, None, ""),
        ({}, None, ""),
    ],
)
def test_where_spacing_comes_from(
    values: dict[str, Any], spacing: tuple[float, float] | None, at: str
) -> None:
    assert pixel_spacing(_header(**values)) == (spacing, at)


def _region(dx: float, dy: float, **values: Any) -> Dataset:
    plain = {"RegionSpatialFormat": 1, "RegionDataType": 1, "PhysicalUnitsXDirection": 3}
    known = {"PhysicalUnitsYDirection": 3, "PhysicalDeltaX": dx, "PhysicalDeltaY": dy}
    return item(**(plain | known | values))[0]


def test_ultrasound_regions(tmp_path: Path) -> None:
    doppler = _region(0.1, 5.0, RegionSpatialFormat=3, RegionDataType=3)
    data = _header(SequenceOfUltrasoundRegions=[_region(0.01, -0.02), doppler])
    assert pixel_spacing(data) == (pytest.approx((0.2, 0.1)), "region")
    assert reading_notes(data) == []
    both = _header(SequenceOfUltrasoundRegions=[_region(0.01, 0.02), _region(0.02, 0.02)])
    assert pixel_spacing(both) == (None, "")
    assert reading_notes(both) == ["us-regions-differ"]
    seconds = _header(SequenceOfUltrasoundRegions=[_region(0.1, 0.1, PhysicalUnitsXDirection=4)])
    assert pixel_spacing(seconds) == (None, "")
    file = image(np.zeros((4, 4), np.uint8), Modality="US")
    file.SequenceOfUltrasoundRegions = both.SequenceOfUltrasoundRegions
    read = read_dicom_image(save(file, tmp_path / "a.dcm"), case_id="c1")
    assert (read.geometry, read.notes) == (None, ("us-regions-differ",))


def test_directions_are_made_unit_vectors_or_left_away() -> None:
    place: dict[str, Any] = {"PixelSpacing": [1, 1], "ImagePositionPatient": [1, 2, 3]}
    near = plane_geometry(_header(**place, ImageOrientationPatient=[1.001, 0, 0, 0, 0.6, 0.8002]))
    assert near is not None
    np.testing.assert_allclose(np.linalg.norm(near.direction, axis=1), 1, atol=1e-12)
    none = plane_geometry(_header(**place, ImageOrientationPatient=[0, 0, 0, 0, 1, 0]))
    assert none is not None
    assert (none.spacing, none.direction) == ((1.0, 1.0), ())


def test_projection_facts_are_recorded() -> None:
    data = _header(
        Modality="MG",
        ImagerPixelSpacing=[0.07, 0.07],
        EstimatedRadiographicMagnificationFactor="1.07",
        PixelSpacingCalibrationType="GEOMETRY",
        BurnedInAnnotation="no",
        PatientAge="061Y",
    )
    assert meta_of(data) == {
        "modality": "MG",
        "spacing_at": "detector",
        "magnification": 1.07,
        "calibration": "GEOMETRY",
        "burned_in": "NO",
        "age": 61.0,
    }

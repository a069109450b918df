"""What a data set says about its image beside the values: place, spacing, study, scanner."""

from __future__ import annotations

import math
import re
from typing import Any

from pydicom.dataset import Dataset

from data_adapters.case import Geometry
from data_adapters.dicom import terms
from data_adapters.dicom.values import numbers, word
from data_adapters.privacy import uid_pseudonym

_TISSUE_2D, _CM = (1, 1), 3


def plane_geometry(dataset: Dataset) -> Geometry | None:
    """Position of a single frame; spacing alone where only that is known."""
    spacing, _ = pixel_spacing(dataset)
    if spacing is None:
        return None
    position = numbers(dataset, "ImagePositionPatient")
    axes = numbers(dataset, "ImageOrientationPatient")
    if len(position) != 3 or len(axes) != 6:
        return Geometry(spacing)
    directions = tuple(_unit(axes[start : start + 3]) for start in (3, 0))
    if None in directions:
        return Geometry(spacing)
    origin = (position[0], position[1], position[2])
    return Geometry(spacing, origin, tuple(d for d in directions if d is not None))


def _unit(vector: list[float]) -> tuple[float, float, float] | None:
    """A direction of length 1; None for one that is far from it."""
    length = math.sqrt(sum(v * v for v in vector))
    if not 0.9 < length < 1.1:
        return None
    x, y, z = (v / length for v in vector)
    return x, y, z


def pixel_spacing(dataset: Dataset) -> tuple[tuple[float, float] | None, str]:
    """Spacing (row, column) in mm of an image plane, and what it is measured at.

    Returns:
        The spacing, None where the file does not say, and one of `patient` (PixelSpacing of a
        cross-section), `calibrated` (PixelSpacing of a projection, corrected for magnification),
        `detector` (ImagerPixelSpacing or an uncorrected PixelSpacing of a projection: not corrected
        for magnification, PS3.3 10.7.1.3), `film` (NominalScannedPixelSpacing), `region`
        (ultrasound), or an empty string.
    """
    own = _pair(dataset, "PixelSpacing")
    detector = _pair(dataset, "ImagerPixelSpacing")
    if own is not None:
        if detector is None and not word(dataset, "PixelSpacingCalibrationType"):
            return own, "patient"
        same = detector is not None and max(abs(own[i] - detector[i]) for i in (0, 1)) < 1e-6
        return own, "detector" if same else "calibrated"
    if detector is not None:
        return detector, "detector"
    film = _pair(dataset, "NominalScannedPixelSpacing")
    if film is not None:
        return film, "film"
    region = _region_spacing(dataset)
    return region, "region" if region is not None else ""


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = numbers(dataset, keyword)
    if len(values) != 2 or not all(0 < v < 1e6 for v in values):
        return None
    return values[0], values[1]


def _tissue_regions(dataset: Dataset) -> list[tuple[float, float]]:
    """(row, column) mm per pixel of each ultrasound region that shows tissue in 2D."""
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        kind = (item.get("RegionSpatialFormat"), item.get("RegionDataType"))
        units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
        steps = [abs(float(item.get(f"PhysicalDelta{axis}") or 0)) * 10 for axis in "YX"]
        if kind == _TISSUE_2D and units == (_CM, _CM) and all(0 < v < 1e6 for v in steps):
            found.append((steps[0], steps[1]))
    return found


def _region_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Spacing of ultrasound where every 2D tissue region has the same (PS3.3 C.8.5.5)."""
    regions = _tissue_regions(dataset)
    if not regions or any(_differ(region, regions[0]) for region in regions):
        return None
    return regions[0]


def _differ(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return any(abs(a - b) > 1e-4 * max(a, b) for a, b in zip(first, second, strict=True))


def reading_notes(dataset: Dataset) -> list[str]:
    """Slugs of what the header leaves open."""
    regions = _tissue_regions(dataset)
    if any(_differ(region, regions[0]) for region in regions):
        return ["us-regions-differ"]
    return []


def meta_of(dataset: Dataset) -> dict[str, Any]:
    """Facts about the study that name nobody."""
    meta: dict[str, Any] = {"modality": terms.modality_term(word(dataset, "Modality"))}
    for name, keyword in (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
        uid = word(dataset, keyword)
        if uid:
            meta[name] = uid_pseudonym(uid, name)
    side = word(dataset, "ImageLaterality") or word(dataset, "Laterality")
    meta["laterality"] = terms.term(side, terms.LATERALITIES)
    meta["view"] = terms.term(word(dataset, "ViewPosition"), terms.VIEWS)
    meta["body_part"] = terms.term(word(dataset, "BodyPartExamined"), terms.BODY_PARTS)
    meta["scanner"] = terms.scanner_name(
        word(dataset, "Manufacturer"), word(dataset, "ManufacturerModelName")
    )
    meta["sex"] = terms.term(word(dataset, "PatientSex"), terms.SEXES)
    burned = word(dataset, "BurnedInAnnotation").upper()
    meta["burned_in"] = burned if burned in ("YES", "NO") else ""
    age = re.fullmatch(r"(\d{1,3})([DWMY])", word(dataset, "PatientAge"))
    if age:
        units = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
        meta["age"] = int(age[1]) * units[age[2]]
    spacing, measured_at = pixel_spacing(dataset)
    if spacing is not None and measured_at != "patient":
        meta["spacing_at"] = measured_at
    factor = numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    if len(factor) == 1 and factor[0] > 0:
        meta["magnification"] = factor[0]
    calibration = word(dataset, "PixelSpacingCalibrationType").upper()
    meta["calibration"] = calibration if calibration in ("FIDUCIAL", "GEOMETRY") else ""
    return {name: value for name, value in meta.items() if value != ""}

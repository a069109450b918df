"""Writing phantoms as DICOM: CT series and chest projections that say what they are.

Every file names its maker, calls itself derived, synthetic and a quality control subject, and
carries a patient called Phantom. UIDs are made from the seed under the UUID root 2.25 (PS3.5 B.2),
so that the same call writes the same bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from data_adapters.errors import DataError
from data_adapters.phantoms import Phantom

COMMENT = "Synthetic phantom computed by radzoo. Not a patient, not a measurement."
PADDING_VALUE = -2000
_NAMESPACE = uuid.UUID("5d3ffb6e-3a3c-4d6d-9a0c-6d3b5e0f7a21")
_DATE, _TIME = "20000101", "120000"


def phantom_uid(*parts: object) -> UID:
    """A UID under the root 2.25, the same for the same parts.

    Args:
        parts: Anything with a stable text form.

    Returns:
        `2.25.` and the decimal value of a name-based UUID.
    """
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(part) for part in parts)).int}")


def write_dicom_series(
    phantoms: Phantom | Sequence[Phantom],
    folder: str | Path,
    *,
    patient: int = 1,
    seed: int = 0,
    study: int = 1,
    series: int = 1,
    stored: str = "int16",
    polarity: str = "MONOCHROME2",
    prefix: str = "IM",
) -> list[Path]:
    """Write one volume, one projection, or several slices of one patient as one DICOM series.

    Args:
        phantoms: What to write; several must be of one modality and one matrix.
        folder: Made when absent; files in it of the same name are overwritten.
        patient: Number of the phantom patient: id `PHANTOM-0001`, name `Phantom^0001`.
        seed: What UIDs are made from, beside the numbers of patient, study and series.
        study: Number of the study.
        series: Number of the series.
        stored: CT pixels as `int16` (HU themselves) or `uint12` (HU + 1024, 12 bits).
        polarity: Projections as `MONOCHROME2` (bright = dense) or `MONOCHROME1`, stored inverted.
        prefix: What file names begin with.

    Returns:
        The files, `IM0001.dcm` and so on; a volume's from the feet to the head.

    Raises:
        DataError: Nothing to write, mixed phantoms, or an unknown way of storing.
    """
    group = [phantoms] if isinstance(phantoms, Phantom) else list(phantoms)
    if not group:
        raise DataError("no phantom to write")
    if stored not in ("int16", "uint12") or polarity not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(
            f"stored={stored!r}, polarity={polarity!r}; wanted 'int16' or 'uint12', "
            "'MONOCHROME1' or 'MONOCHROME2'"
        )
    if len({(p.modality, p.image.shape[-3:], p.geometry.spacing[-2:]) for p in group}) > 1:
        raise DataError("phantoms of several modalities, sizes or spacings make no single series")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for plane in (plane for phantom in group for plane in _planes(phantom)):
        number = len(paths) + 1
        dataset = _identity(plane, (seed, patient, study, series, number))
        if plane.modality == "CT":
            _fill_ct(dataset, plane, stored)
        else:
            _fill_dx(dataset, plane, polarity)
        path = target / f"{prefix}{number:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


class _Plane:
    """One image of a series."""

    def __init__(self, phantom: Phantom, index: int | None) -> None:
        self.modality = phantom.modality
        self.image = (phantom.image if index is None else phantom.image[index])[..., 0]
        self.padding = phantom.padding
        self.window = phantom.window
        self.thickness = phantom.thickness_mm
        self.phase = phantom.phase
        self.pixel = phantom.geometry.spacing[-2:]
        x, y, z = phantom.geometry.origin
        self.origin = (x, y, z + (index or 0) * phantom.geometry.spacing[0])
        self.region = phantom.region


def _planes(phantom: Phantom) -> list[_Plane]:
    if phantom.image.ndim == 3:
        return [_Plane(phantom, None)]
    return [_Plane(phantom, index) for index in range(len(phantom.image))]


def _decimal(value: float) -> str:
    """A number as a DICOM decimal string of at most 16 characters."""
    return f"{float(value):.10g}"


def _identity(plane: _Plane, numbers: tuple[int, int, int, int, int]) -> FileDataset:
    """File meta, patient, study, series and equipment."""
    seed, patient, study, series, number = numbers
    ct = plane.modality == "CT"
    storage = CTImageStorage if ct else DigitalXRayImageStorageForPresentation
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = phantom_uid(*numbers)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = phantom_uid("implementation")
    meta.ImplementationVersionName = "RADZOO_PHANTOM"
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID, data.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    data.StudyDate = data.SeriesDate = data.ContentDate = data.AcquisitionDate = _DATE
    data.StudyTime = data.SeriesTime = data.ContentTime = data.AcquisitionTime = _TIME
    data.AccessionNumber = data.ReferringPhysicianName = ""
    data.Modality = plane.modality
    data.Manufacturer, data.ManufacturerModelName = "radzoo phantom", "radzoo phantom"
    data.DeviceSerialNumber, data.SoftwareVersions = "0", "1"
    data.StudyDescription = "Synthetic phantom"
    data.SeriesDescription = f"Synthetic phantom {'CT' if ct else 'chest projection'}"
    data.PatientName, data.PatientID = f"Phantom^{patient:04d}", f"PHANTOM-{patient:04d}"
    data.PatientBirthDate = data.PatientSex = ""
    data.QualityControlSubject = "YES"
    data.PatientComments = data.ImageComments = COMMENT
    data.DerivationDescription = "Computed from analytic shapes; nobody was imaged"
    data.StudyInstanceUID = phantom_uid(seed, patient, study)
    data.SeriesInstanceUID = phantom_uid(seed, patient, study, series)
    data.StudyID, data.SeriesNumber, data.InstanceNumber = str(study), series, number
    data.BodyPartExamined = plane.region.upper()
    data.BurnedInAnnotation = "NO"
    data.SamplesPerPixel = 1
    data.Rows, data.Columns = plane.image.shape
    data.WindowCenter, data.WindowWidth = (_decimal(v) for v in plane.window)
    data.WindowCenterWidthExplanation = "PHANTOM"
    if ct:
        data.FrameOfReferenceUID = phantom_uid(seed, patient, "frame")
    return data


def _fill_ct(data: FileDataset, plane: _Plane, stored: str) -> None:
    """CT image module, image plane and pixels."""
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.PositionReferenceIndicator, data.PatientPosition = "", "HFS"
    data.KVP = data.AcquisitionNumber = None
    if plane.phase != "native":
        data.ContrastBolusAgent = "Simulated"
    data.SliceThickness = _decimal(plane.thickness)
    data.PixelSpacing = [_decimal(v) for v in plane.pixel]
    data.ImagePositionPatient = [_decimal(v) for v in plane.origin]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.SliceLocation = _decimal(plane.origin[2])
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleSlope, data.RescaleType = 1, "HU"
    whole = np.rint(plane.image)
    if stored == "int16":
        pixels, padding, intercept, bits = whole.astype("<i2"), PADDING_VALUE, 0, 16
    else:
        lowest = -1023 if plane.padding is not None else -1024
        pixels = (np.clip(whole, lowest, 3071) + 1024).astype("<u2")
        padding, intercept, bits = 0, -1024, 12
    if plane.padding is not None:
        pixels[plane.padding] = padding
    _fill_pixels(data, pixels, bits)
    data.RescaleIntercept = intercept
    if plane.padding is not None:
        data.PixelPaddingValue = padding


def _fill_dx(data: FileDataset, plane: _Plane, polarity: str) -> None:
    """Digital X-ray modules and pixels."""
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.PresentationIntentType = "FOR PRESENTATION"
    data.ImageLaterality, data.ViewPosition = "U", "PA"
    data.PatientOrientation = ["L", "F"]
    data.AnatomicRegionSequence = DicomSequence([_code("51185008", "SCT", "Chest")])
    data.ViewCodeSequence = DicomSequence([_code("272479007", "SCT", "postero-anterior")])
    data.AcquisitionContextSequence = DicomSequence([])
    data.ImagerPixelSpacing = [_decimal(v) for v in plane.pixel]
    data.DetectorType, data.PositionerType = "DIRECT", "NONE"
    data.PixelIntensityRelationship = "LOG"
    data.PixelIntensityRelationshipSign = -1 if polarity == "MONOCHROME2" else 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "US"
    data.LossyImageCompression = "00"
    data.PhotometricInterpretation = polarity
    data.PresentationLUTShape = "IDENTITY" if polarity == "MONOCHROME2" else "INVERSE"
    pixels = plane.image
    if polarity == "MONOCHROME1":
        pixels = 4095 - pixels
        data.WindowCenter = _decimal(4096 - plane.window[0])
    _fill_pixels(data, pixels.astype("<u2"), 12)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _fill_pixels(data: FileDataset, pixels: np.ndarray, bits: int) -> None:
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(pixels).tobytes()

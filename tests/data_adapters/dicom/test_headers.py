"""Header facts are those that pydicom reads, in every encoding, and damage has a kind."""

from __future__ import annotations

import math
import random
import warnings
from pathlib import Path
from typing import Any

import data_store
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from data_adapters.dicom import headers
from data_adapters.dicom.elements import Unusual, read_elements
from data_adapters.dicom.headers import read_instance
from data_adapters.dicom.model import Instance
from data_adapters.dicom.terms import modality_term
from data_adapters.errors import CaseError
from tests.data_adapters.dicom.stacks import write_slice

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

PACKAGED = [
    path
    for root in (
        Path(pydicom.__file__).parent / "data/test_files",
        Path(data_store.__file__).parent,
    )
    for path in sorted(root.rglob("*"))
    if path.is_file() and path.suffix not in {".py", ".pyc"}
]
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def read(path: Path) -> Instance:
    return read_instance(path, name=path.name, size=path.stat().st_size, mtime_ns=1)


def text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if value is None:
        return ""
    parts = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    return "\\".join(getattr(part, "original_string", str(part)) for part in parts).strip(
        " \0\t\r\n"
    )


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    parts = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    try:
        found = tuple(float(part) for part in parts if part is not None and part != "")
    except ValueError:
        return None
    return found if len(found) == count else None


def number(dataset: Dataset, keyword: str) -> float | None:
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def expected(path: Path) -> dict[str, Any]:
    """The same facts from interpreted elements, by keyword."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        media = str(data.file_meta.get("MediaStorageSOPClassUID", ""))
        echo = number(data, "EchoTime")
        echoes = [text(data, "EchoNumbers"), "" if echo is None else f"{echo:.4g}"]
        image_type = text(data, "ImageType")
        frames = number(data, "NumberOfFrames")
        when = text(data, "AcquisitionDate") + text(data, "AcquisitionTime")
        b_value = data.get("DiffusionBValue")
        return {
            "sop_class": text(data, "SOPClassUID") or media,
            "sop_uid": text(data, "SOPInstanceUID"),
            "study_uid": text(data, "StudyInstanceUID"),
            "series_uid": text(data, "SeriesInstanceUID"),
            "frame_of_reference": text(data, "FrameOfReferenceUID"),
            "transfer_syntax": str(data.file_meta.get("TransferSyntaxUID", "")),
            "modality": modality_term(text(data, "Modality")),
            "patient_id": text(data, "PatientID"),
            "image_type": tuple(p.strip() for p in image_type.split("\\")) if image_type else (),
            "rows": int(data.get("Rows") or 0),
            "columns": int(data.get("Columns") or 0),
            "frames": int(frames or 1),
            "samples": int(data.get("SamplesPerPixel", 1)),
            "bits_allocated": int(data.get("BitsAllocated") or 0),
            "photometric": text(data, "PhotometricInterpretation"),
            "position": numbers(data, "ImagePositionPatient", 3),
            "orientation": numbers(data, "ImageOrientationPatient", 6),
            "spacing": numbers(data, "PixelSpacing", 2),
            "slice_thickness": number(data, "SliceThickness"),
            "spacing_between": number(data, "SpacingBetweenSlices"),
            "gantry_tilt": number(data, "GantryDetectorTilt"),
            "slope": number(data, "RescaleSlope"),
            "intercept": number(data, "RescaleIntercept"),
            "instance_number": number(data, "InstanceNumber"),
            "acquisition_number": number(data, "AcquisitionNumber"),
            "echo": " ".join(part for part in echoes if part),
            "temporal": text(data, "TemporalPositionIdentifier") or text(data, "TriggerTime"),
            "acquired": text(data, "AcquisitionDateTime") or when,
            "grouped": "SharedFunctionalGroupsSequence" in data
            or "PerFrameFunctionalGroupsSequence" in data,
            "study_date": text(data, "StudyDate"),
            "site": text(data, "InstitutionName"),
            "burned_in": text(data, "BurnedInAnnotation"),
            "presentation_shape": text(data, "PresentationLUTShape"),
            **({} if b_value is None else {"b_value": b_value}),
        }


def compared(path: Path) -> str:
    """Compare one file; its kind of outcome."""
    try:
        found = read(path)
    except CaseError as error:
        return error.kind
    wanted = expected(path)
    assert {name: getattr(found, name) for name in wanted} == wanted, path.name
    return "read"


def test_every_packaged_file_is_as_pydicom_reads_it_or_refused() -> None:
    outcomes: dict[str, set[str]] = {}
    for path in PACKAGED:
        outcomes.setdefault(compared(path), set()).add(path.name)
    assert len(outcomes.pop("read")) > 170
    assert outcomes.keys() == {"not-dicom", "truncated"}
    assert all(
        Path(name).suffix in {".dump", ".gz", ".icc", ".json", ".txt", ""}
        for name in outcomes["not-dicom"] - {"no_meta.dcm"}
    )
    for path in PACKAGED:
        if path.name in outcomes["truncated"]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert "PixelData" not in pydicom.dcmread(path, force=True), path.name


def test_most_files_take_the_fast_way() -> None:
    fast = 0
    for path in PACKAGED:
        try:
            read_elements(path, frozenset())
            fast += 1
        except Unusual:
            pass
    assert fast > 0.75 * len(PACKAGED)


@pytest.mark.data
def test_real_files_are_as_pydicom_reads_them(radzoo_data: Path) -> None:
    paths = [path for path in sorted((radzoo_data / "dicom").rglob("*")) if path.is_file()]
    outcomes = [compared(path) for path in paths]
    assert outcomes.count("read") == sum(path.suffix != ".nrrd" for path in paths)


RICH: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientID": "Müller-7",
    "InstitutionName": "Universitätsklinikum",
    "SliceThickness": "2.50",
    "SpacingBetweenSlices": "",
    "GantryDetectorTilt": "-12.5",
    "RescaleSlope": "1e-2",
    "AcquisitionNumber": 3,
    "EchoNumbers": [1],
    "EchoTime": "12.3456",
    "TemporalPositionIdentifier": 4,
    "AcquisitionDate": "20200102",
    "AcquisitionTime": "101112.25",
    "StudyDate": "20200101",
    "PixelPaddingValue": -2000,
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "01",
    "PresentationLUTShape": "IDENTITY",
    "RequestAttributesSequence": [Dataset()],
    "ImagePositionPatient": [-12.5, 1e-3, 77],
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_every_encoding_gives_the_same_facts(
    tmp_path: Path, syntax: pydicom.uid.UID, undefined: bool
) -> None:
    data = pydicom.dcmread(write_slice(tmp_path / "x", **RICH))
    item = data.RequestAttributesSequence[0]
    item.ScheduledProcedureStepID, item.PatientID = "7", "of the item"
    inner = Dataset()
    inner.CodeValue = "8"
    item.ScheduledProtocolCodeSequence = [inner]
    data["RequestAttributesSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "y",
        data,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        force_encoding=True,
    )
    found = read(tmp_path / "y")
    wanted = expected(tmp_path / "y")
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert (found.patient_id, found.padding_value, found.lossy) == ("Müller-7", -2000, True)
    assert found.position == (-12.5, 0.001, 77.0)


def test_a_long_header_is_followed_and_pixels_are_not_read(tmp_path: Path) -> None:
    write_slice(tmp_path / "x", ImageComments="c" * 9000, TextValue="t" * 100_000)
    found = read_elements(tmp_path / "x", headers._WANTED)
    assert found.text(0x00100020) == "P1"
    assert len(found.values[0x00204000]) == 9000
    assert 0x7FE00010 not in found.values
    assert read(tmp_path / "x").rows == 6


@pytest.mark.parametrize(
    "value", ["", "1\\2", "abc", "nan", "inf", "1_0", "1\\2\\3\\4", "1\\2\\x", "1,5\\2\\3"]
)
def test_numbers_that_are_none_are_unknown(tmp_path: Path, value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_slice(tmp_path / "x", ImagePositionPatient="1\\2\\3", SliceThickness="1.1")
    data = path.read_bytes()
    for old in (b"1\\2\\3 ", b"1.1 "):
        new = value.encode().ljust(len(value) + len(value) % 2)
        at = data.index(old)
        data = data[: at - 2] + len(new).to_bytes(2, "little") + new + data[at + len(old) :]
    path.write_bytes(data)
    assert (read(path).position, read(path).slice_thickness) == (None, None)


VENDORS = [
    (0x0019, 0x0C, "SIEMENS MR HEADER", "IS", "800", 0x0E, "FD", [0.6, 0.0, -0.8]),
    (0x0043, 0x39, "GEMS_PARM_01", "IS", [1000000800, 8, 0, 0], None, "", None),
    (0x2001, 0x03, "Philips Imaging DD 001", "FL", 800.0, None, "", None),
    (0x0065, 0x09, "Image Private Header", "FD", 800.0, 0x37, "FD", [0.6, 0.0, -0.8]),
]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("syntax", SYNTAXES[:3])
@pytest.mark.parametrize("block", [0x10, 0x12])
def test_b_values_of_vendors(
    tmp_path: Path, vendor: tuple[Any, ...], syntax: pydicom.uid.UID, block: int
) -> None:
    group, number_, owner, vr, value, direction, direction_vr, gradient = vendor
    data = pydicom.dcmread(write_slice(tmp_path / "x", Modality="MR"))
    data.add_new((group, block), "LO", owner)
    data.add_new((group, block << 8 | number_), vr, value)
    if direction is not None:
        data.add_new((group, block << 8 | direction), direction_vr, gradient)
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "y",
        data,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        force_encoding=True,
    )
    found = read(tmp_path / "y")
    assert found.b_value == 800.0
    assert found.gradient == ("" if direction is None else "0.6000 0.0000 -0.8000")
    other = write_slice(tmp_path / "z", Modality="MR", DiffusionBValue=50.0)
    assert read(other).b_value == 50.0


def test_a_private_element_of_another_owner_is_no_b_value(tmp_path: Path) -> None:
    data = pydicom.dcmread(write_slice(tmp_path / "x", Modality="MR"))
    data.add_new((0x0019, 0x10), "LO", "SOMEBODY ELSE")
    data.add_new((0x0019, 0x100C), "IS", "800")
    data.save_as(tmp_path / "y")
    assert read(tmp_path / "y").b_value is None


def test_series_that_objects_refer_to() -> None:
    by_name = {path.name: path for path in PACKAGED}
    found = read(by_name["rtstruct.dcm"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(by_name["rtstruct.dcm"], force=True)
    wanted = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    uid = wanted.RTReferencedSeriesSequence[0].SeriesInstanceUID
    assert found.referenced_series == (str(uid),)


@pytest.mark.data
def test_segmentations_and_reports_tell_their_series(radzoo_data: Path) -> None:
    folder = radzoo_data / "dicom" / "dcmqi" / "segmentations"
    image = read(folder / "ct-3slice" / "01.dcm")
    assert read(folder / "liver.dcm").referenced_series == (image.series_uid,)
    report = read(radzoo_data / "dicom" / "dcmqi" / "sr-example" / "sr.dcm")
    assert len(report.referenced_series) >= 1


def test_damage_has_a_kind_and_takes_no_time(tmp_path: Path) -> None:
    draw = random.Random(3)
    sources = [
        path.read_bytes()
        for path in PACKAGED
        if path.name
        in {
            "CT_small.dcm",
            "MR_small_implicit.dcm",
            "MR_small_bigendian.dcm",
            "image_dfl.dcm",
            "rtstruct.dcm",
            "DICOMDIR",
            "reportsi.dcm",
            "emri_small.dcm",
        }
    ]
    path = tmp_path / "x.dcm"
    kinds = set()
    for number_ in range(250):
        data = bytearray(draw.choice(sources)[:20000])
        for _ in range(draw.randrange(1, 8)):
            at = draw.randrange(min(len(data), 3000))
            data[at] = draw.choice((0, 1, 0x7F, 0xFF, draw.randrange(256)))
        if number_ % 3 == 0:
            del data[draw.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            found = read(path)
        except CaseError as error:
            kinds.add(error.kind)
        else:
            places = [*(found.position or ()), *(found.orientation or ()), *(found.spacing or ())]
            assert all(math.isfinite(value) for value in places)
    assert kinds <= {"zero-byte", "not-dicom", "truncated", "corrupt"}
    assert len(kinds) >= 2

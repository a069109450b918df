"""What looks like a patient's identity is named by its keyword; ordinary headers are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from data_adapters.dicom.headers import read_instance
from data_adapters.dicom_write import write_dicom_series
from data_adapters.phantoms import ct_volume
from tests.data_adapters.dicom.stacks import write_slice

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def texts(path: Path) -> tuple[str, ...]:
    return read_instance(path, name="x", size=path.stat().st_size, mtime_ns=1).texts


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "Doe^Jane"),
        ("PatientBirthDate", "19610314"),
        ("PatientAddress", "12 Elm Street"),
        ("PatientTelephoneNumbers", "030 123456"),
        ("OtherPatientIDs", "HOSP-7788"),
        ("ReferringPhysicianName", "House^Gregory"),
        ("InstitutionAddress", "1 Main Street"),
        ("PatientComments", "born 14.03.1961"),
        ("ImageComments", "see study of 2019-11-30"),
        ("StudyDescription", "CT 20191130"),
        ("SeriesDescription", "MRN 00417734"),
        ("AdditionalPatientHistory", "call +49 170 1234567"),
        ("RequestedProcedureDescription", "results to jane.doe@example.org"),
        ("ReasonForStudy", "phone (030) 901820"),
    ],
)
def test_identifiers_are_named(tmp_path: Path, keyword: str, value: str) -> None:
    assert texts(write_slice(tmp_path / "x", **{keyword: value})) == (keyword,)


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientName": "", "PatientBirthDate": ""},
        {"PatientName": "ANONYMOUS", "PatientBirthDate": "19610101"},
        {"PatientName": "Anonymized^^", "ReferringPhysicianName": "removed"},
        {"PatientName": "P1"},
        {"PatientName": "sub-017", "PatientComments": "no comment"},
        {"StudyDescription": "CT abdomen 5 mm 120 kV", "SeriesDescription": "T2 tse 3.0 0.5x0.5"},
        {"ImageComments": "acquired with 1.2345678 mm", "ProtocolName": "DTI 64 b1000/2000"},
        {"DeviceSerialNumber": "123456789", "SoftwareVersions": "20190203"},
        {"StudyDate": "20190203", "AccessionNumber": "1234567890", "StudyID": "20190203"},
    ],
)
def test_ordinary_headers_are_left_alone(tmp_path: Path, elements: dict[str, Any]) -> None:
    assert texts(write_slice(tmp_path / "x", **elements)) == ()


def test_a_name_or_id_that_comes_up_elsewhere_is_found(tmp_path: Path) -> None:
    item = Dataset()
    item.ScheduledProcedureStepDescription = "follow-up of mrs. WINTERBOTTOM"
    path = write_slice(
        tmp_path / "x",
        PatientName="Winterbottom^Ann",
        PatientID="H-448812",
        StudyDescription="Skull Winterbottom",
        StationName="H-448812",
        ManufacturerModelName="Winter 3",
        RequestAttributesSequence=[item],
    )
    wanted = (
        "StationName",
        "StudyDescription",
        "PatientName",
        "RequestAttributesSequence",
    )
    assert texts(path) == wanted
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "y", data, implicit_vr=True, little_endian=True)
    assert texts(tmp_path / "y") == wanted
    pydicom.dcmwrite(tmp_path / "z", data, implicit_vr=True, little_endian=True)
    whole = (tmp_path / "z").read_bytes()
    meta = 144 + int.from_bytes(whole[140:144], "little")
    (tmp_path / "bare").write_bytes(whole[meta:])
    assert texts(tmp_path / "bare") == wanted


def test_private_elements_are_named_by_tag(tmp_path: Path) -> None:
    data = pydicom.dcmread(write_slice(tmp_path / "x", PatientName="Winterbottom^Ann"))
    block = data.private_block(0x0009, "SOMEBODY", create=True)
    block.add_new(0x01, "LO", "for Winterbottom")
    block.add_new(0x02, "LO", "20190203")
    data.save_as(tmp_path / "y")
    assert texts(tmp_path / "y") == ("(0009,1001)", "PatientName")


def test_other_ids_in_a_sequence(tmp_path: Path) -> None:
    item = Dataset()
    item.PatientID = "7"
    assert texts(write_slice(tmp_path / "x", OtherPatientIDsSequence=[item])) == (
        "OtherPatientIDsSequence",
    )
    assert texts(write_slice(tmp_path / "y", OtherPatientIDsSequence=[])) == ()


def test_phantoms_name_nobody(tmp_path: Path) -> None:
    phantom = ct_volume(0, shape=(2, 16, 16))
    assert [texts(path) for path in write_dicom_series(phantom, tmp_path)] == [(), ()]

"""Header values leave as terms of closed lists, or as pseudonyms."""

from __future__ import annotations

import warnings

import pytest
from pydicom.dataset import Dataset

from data_adapters.dicom import terms
from data_adapters.dicom.facts import meta_of

CODED = {
    "Modality": "MR",
    "ImageLaterality": "l",
    "ViewPosition": "MLO",
    "BodyPartExamined": "breast",
    "PatientSex": "F",
    "Manufacturer": "SIEMENS Healthineers",
    "ManufacturerModelName": "Mammomat",
}


def test_coded_values_are_kept_in_their_standard_spelling() -> None:
    dataset = Dataset()
    for keyword, value in CODED.items():
        setattr(dataset, keyword, value)
    meta = meta_of(dataset)
    scanner = meta.pop("scanner")
    assert meta == {
        "modality": "MR",
        "laterality": "L",
        "view": "MLO",
        "body_part": "BREAST",
        "sex": "F",
    }
    assert scanner.startswith("Siemens m")
    assert "ammomat" not in scanner


@pytest.mark.parametrize("keyword", CODED)
def test_text_in_a_coded_element_does_not_leave_the_file(keyword: str) -> None:
    dataset = Dataset()
    dataset.add_new(keyword, "LO", "ZZPLANTED")
    assert "ZZPLANTED" not in repr(meta_of(dataset))


@pytest.mark.parametrize(
    ("maker", "model", "name"),
    [
        ("GE MEDICAL SYSTEMS", "", "GE"),
        ("Philips Medical Systems, Inc.", "", "Philips"),
        ("George Smith", "", ""),
        ("", "", ""),
    ],
)
def test_makers_are_known_by_whole_words(maker: str, model: str, name: str) -> None:
    assert terms.scanner_name(maker, model).partition("m")[0].strip() == name


def test_scanners_of_one_maker_are_told_apart() -> None:
    first, second = terms.scanner_name("GE", "Discovery"), terms.scanner_name("GE", "Signa")
    assert first != second
    assert first == terms.scanner_name("GE ", " Discovery")


def test_what_pydicom_dislikes_is_not_quoted(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\.")
        dataset.StudyInstanceUID = "ZZPLANTED"
        dataset.Modality = "zzplanted"
        assert dataset.Modality == "zzplanted"
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")

"""SUV factors against the closed form, and every reason to give none."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from data_adapters.dicom.suv import UnknownSuvError, suv_factor, suv_facts
from tests.data_adapters.dicom.samples import item

HALF_LIFE, DOSE, WEIGHT = 6586.2, 3.7e8, 70.0


def _header(**values: object) -> Dataset:
    data = Dataset()
    data.Units, data.DecayCorrection, data.CorrectedImage = "BQML", "START", ["ATTN", "DECY"]
    data.PatientWeight = WEIGHT
    data.SeriesDate = data.AcquisitionDate = "20200102"
    data.SeriesTime, data.AcquisitionTime = "110000", "110130.5"
    data.RadiopharmaceuticalInformationSequence = item(
        RadionuclideTotalDose=DOSE,
        RadionuclideHalfLife=HALF_LIFE,
        RadiopharmaceuticalStartTime="100000.00",
    )
    for keyword, value in values.items():
        if keyword[:2] == "Ra":
            setattr(data.RadiopharmaceuticalInformationSequence[0], keyword, value)
        else:
            setattr(data, keyword, value)
    return data


def _closed_form(seconds: float) -> float:
    return WEIGHT * 1000 / (DOSE * 2 ** (-seconds / HALF_LIFE))


def test_dose_is_decayed_to_the_start_of_the_scan() -> None:
    assert suv_factor(_header()) == pytest.approx(_closed_form(3600))
    assert suv_facts(_header()) == {"suv_factor": pytest.approx(_closed_form(3600))}
    full = _header(RadiopharmaceuticalStartDateTime="20200102093000.0")
    assert suv_factor(full) == pytest.approx(_closed_form(5400))


def test_midnight_between_injection_and_scan() -> None:
    late = _header(SeriesTime="001000", AcquisitionTime="001100")
    late.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "233000"
    assert suv_factor(late) == pytest.approx(_closed_form(40 * 60))


def test_corrected_to_administration_or_already_suv() -> None:
    assert suv_factor(_header(DecayCorrection="ADMIN")) == pytest.approx(WEIGHT * 1000 / DOSE)
    assert suv_factor(_header(Units="GML")) == 1.0


def test_a_series_time_after_the_scan_is_not_its_start() -> None:
    assert suv_facts(_header(SeriesTime="120000")) == {"suv_unknown": "scan-start"}
    assert suv_facts(_header(), ["20200102105900"]) == {"suv_unknown": "scan-start"}
    ge = _header(SeriesTime="120000")
    block = ge.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20200102110000.00")
    assert suv_factor(ge) == pytest.approx(_closed_form(3600))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Units": "CNTS"}, "units"),
        ({"CorrectedImage": ["DECY"]}, "not-corrected"),
        ({"CorrectedImage": "ATTN"}, "not-corrected"),
        ({"DecayCorrection": "NONE"}, "decay-correction"),
        ({"PatientWeight": None}, "weight"),
        ({"PatientWeight": 0}, "weight"),
        ({"RadionuclideTotalDose": 370}, "dose"),
        ({"RadionuclideTotalDose": None}, "dose"),
        ({"RadionuclideHalfLife": 0}, "half-life"),
        ({"RadiopharmaceuticalStartTime": ""}, "times"),
        ({"RadiopharmaceuticalStartTime": "996000"}, "times"),
        ({"RadiopharmaceuticalStartDateTime": "20200102113000"}, "times"),
        ({"RadiopharmaceuticalStartDateTime": "20190102113000"}, "times"),
        ({"SeriesDate": ""}, "scan-start"),
        ({"AcquisitionDate": "", "AcquisitionTime": ""}, "scan-start"),
    ],
)
def test_reasons_to_give_no_factor(values: dict[str, object], reason: str) -> None:
    with pytest.raises(UnknownSuvError, match=f"^{reason}$"):
        suv_factor(_header(**values))


def test_a_header_without_a_drug() -> None:
    data = _header()
    del data.RadiopharmaceuticalInformationSequence
    assert suv_facts(data) == {"suv_unknown": "dose"}

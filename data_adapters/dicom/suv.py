"""The factor from activity to the standardised uptake value of PET, where the header allows.

SUVbw = activity (Bq/ml) x body weight (g) / dose (Bq) decayed to the time that the image is
corrected to: the vendor-neutral computation of the QIBA FDG-PET/CT profile, without its guesses
for series whose times were overwritten by post-processing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from data_adapters.dicom.values import numbers, word

_MOST_HALF_LIVES = 10.0
_LEAST_DOSE_BQ = 1e5


class UnknownSuvError(ValueError):
    """The header does not allow the factor; the text is a slug that says why."""


def suv_facts(dataset: Dataset, acquired: Iterable[str] = ()) -> dict[str, float | str]:
    """`suv_factor` (g/ml per unit of the image), or `suv_unknown` with a slug that says why.

    Args:
        dataset: Header of a PET slice.
        acquired: Acquisition date and time (`YYYYMMDDHHMMSS...`) of all slices, where known.
    """
    try:
        return {"suv_factor": suv_factor(dataset, acquired)}
    except UnknownSuvError as reason:
        return {"suv_unknown": str(reason)}


def suv_factor(dataset: Dataset, acquired: Iterable[str] = ()) -> float:
    """SUVbw in g/ml is the image times this.

    Args:
        dataset: Header of a PET slice.
        acquired: Acquisition date and time of all slices, where known.

    Raises:
        UnknownSuvError: `units`, `not-corrected`, `decay-correction`, `weight`, `dose`,
            `half-life`, `times` or `scan-start`.
    """
    units = word(dataset, "Units").upper()
    if units == "GML":
        return 1.0
    if units != "BQML":
        raise UnknownSuvError("units")
    raw = dataset.get("CorrectedImage") or ()
    corrected = {str(value) for value in ([raw] if isinstance(raw, str) else raw)}
    if not {"ATTN", "DECY"} <= corrected:
        raise UnknownSuvError("not-corrected")
    weight = _positive(dataset, "PatientWeight", "weight")
    drug = (dataset.get("RadiopharmaceuticalInformationSequence") or [Dataset()])[0]
    dose = _positive(drug, "RadionuclideTotalDose", "dose")
    if dose < _LEAST_DOSE_BQ:
        raise UnknownSuvError("dose")
    correction = word(dataset, "DecayCorrection").upper()
    if correction == "ADMIN":
        return weight * 1000 / dose
    if correction != "START":
        raise UnknownSuvError("decay-correction")
    half_life = _positive(drug, "RadionuclideHalfLife", "half-life")
    scan = _scan_start(dataset, acquired)
    passed = (scan - _injection(drug, scan)).total_seconds() / half_life
    if not 0 <= passed <= _MOST_HALF_LIVES:
        raise UnknownSuvError("times")
    return float(weight * 1000 / (dose * 2.0**-passed))


def _positive(dataset: Dataset, keyword: str, reason: str) -> float:
    values = numbers(dataset, keyword)
    if len(values) != 1 or not 0 < values[0] < 1e15:
        raise UnknownSuvError(reason)
    return values[0]


def _scan_start(dataset: Dataset, acquired: Iterable[str]) -> datetime:
    """Start of the scan: the series' time, unless slices were acquired before it."""
    start = _moment(word(dataset, "SeriesDate") + word(dataset, "SeriesTime"))
    own = word(dataset, "AcquisitionDate") + word(dataset, "AcquisitionTime")
    moments = [moment for text in (own, *acquired) if (moment := _moment(text)) is not None]
    if start is not None and moments and start <= min(moments):
        return start
    private = _ge_scan_start(dataset)
    if private is None:
        raise UnknownSuvError("scan-start")
    return private


def _ge_scan_start(dataset: Dataset) -> datetime | None:
    """GE's private scan date and time, which post-processing leaves alone."""
    try:
        value = dataset.private_block(0x0009, "GEMS_PETD_01")[0x0D].value
    except KeyError:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return _moment(text.strip("\0 "))


def _injection(drug: Dataset, scan: datetime) -> datetime:
    """When the drug was given; by its time of day alone on the scan's day or the one before."""
    full = _moment(word(drug, "RadiopharmaceuticalStartDateTime"))
    if full is not None:
        return full
    given = _moment(scan.strftime("%Y%m%d") + word(drug, "RadiopharmaceuticalStartTime"))
    if given is None:
        raise UnknownSuvError("times")
    return given if given <= scan else given - timedelta(days=1)


def _moment(text: str) -> datetime | None:
    """A moment of `YYYYMMDDHHMMSS.FFFFFF`; parts of a second and time zones are left away."""
    found = re.match(r"(\d{8})(\d{2})(\d{2})(\d{2})?", text.strip().replace(" ", ""))
    if found is None:
        return None
    digits = found[1] + found[2] + found[3] + (found[4] or "00")
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None

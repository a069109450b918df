"""Which text elements of a header look as if they named the patient: by keyword, never by value."""

from __future__ import annotations

import re
from functools import lru_cache

from data_adapters.dicom.elements import Elements

_NAME, _ID, _BIRTH = 0x00100010, 0x00100020, 0x00100030
_OTHER_IDS = 0x00101002

# Elements that exist to name a person or to say where one lives (PS3.15, table E.1-1).
_PERSONAL = frozenset(
    {
        0x00080090,  # ReferringPhysicianName
        0x00080092,  # ReferringPhysicianAddress
        0x00080094,  # ReferringPhysicianTelephoneNumbers
        0x00080081,  # InstitutionAddress
        0x00081048,  # PhysiciansOfRecord
        0x00081050,  # PerformingPhysicianName
        0x00081060,  # NameOfPhysiciansReadingStudy
        0x00081070,  # OperatorsName
        0x00100010,  # PatientName
        0x00101000,  # OtherPatientIDs
        0x00101001,  # OtherPatientNames
        0x00101005,  # PatientBirthName
        0x00101040,  # PatientAddress
        0x00101060,  # PatientMotherBirthName
        0x00102154,  # PatientTelephoneNumbers
        0x00102155,  # PatientTelecomInformation
        0x00102297,  # ResponsiblePerson
        0x00321032,  # RequestingPhysician
        0x00401010,  # NamesOfIntendedRecipientsOfResults
        0x00402008,  # OrderEnteredBy
        0x00402010,  # OrderCallbackPhoneNumber
    }
)
# Among them: what may consist of digits.
_NUMBERED = frozenset({0x00080094, 0x00101000, 0x00102154, 0x00102155, 0x00402010})
# Elements into which people type what they like: dates and long numbers are suspicious there.
_TYPED = frozenset(
    {
        0x00081030,  # StudyDescription
        0x0008103E,  # SeriesDescription
        0x00081080,  # AdmittingDiagnosesDescription
        0x00082111,  # DerivationDescription
        0x00102000,  # MedicalAlerts
        0x00102110,  # Allergies
        0x00102180,  # Occupation
        0x001021B0,  # AdditionalPatientHistory
        0x00104000,  # PatientComments
        0x00181030,  # ProtocolName
        0x00184000,  # AcquisitionComments
        0x00204000,  # ImageComments
        0x00321030,  # ReasonForStudy
        0x00321060,  # RequestedProcedureDescription
        0x00324000,  # StudyComments
        0x00384000,  # VisitComments
        0x00400254,  # PerformedProcedureStepDescription
        0x00400280,  # CommentsOnThePerformedProcedureStep
        0x00401002,  # ReasonForTheRequestedProcedure
        0x00401400,  # RequestedProcedureComments
        0x00402400,  # ImagingServiceRequestComments
    }
)
_IDS = frozenset({_ID, 0x00080050, 0x00200010})  # PatientID, AccessionNumber, StudyID

_PATTERN = re.compile(
    rb"(?<!\d)(?:19|20)\d\d[-./ ]?(?:0[1-9]|1[0-2])[-./ ]?(?:0[1-9]|[12]\d|3[01])(?!\d)"
    rb"|(?<!\d)(?:0?[1-9]|[12]\d|3[01])[-./](?:0?[1-9]|1[0-2])[-./](?:19|20)?\d\d(?![\d.])"
    rb"|(?<![\d.])\d{7,}(?![\d.])"
    rb"|\+\d[\d ()/-]{7,}\d"
    rb"|\(0\d{1,4}\)[ /-]?\d{3,}"
    rb"|[\w.+-]+@[\w-]+\.\w"
)
_EMAIL = re.compile(rb"[\w.+-]+@[\w-]+\.\w")
_ANONYMOUS = re.compile(
    rb"(?:anon|de-?id|pseud|removed|deleted|unknown|none|n/?a$|no ?name|not? |phantom|test|subj"
    rb"|patient|case|pat\d|sub-|xx|volunteer|empty|null)|[\W\d_x]*$",
    re.IGNORECASE,
)


def looks_identifying(found: Elements) -> tuple[str, ...]:
    """Keywords of elements that look as if they held something about a person.

    That is: names, addresses and other ids that are neither blank nor plainly anonymised; a birth
    date with a day; comments and descriptions with dates, long numbers, phone numbers or e-mail
    addresses; and any text or sequence in which a part of the patient's name or the patient's id
    comes up. Ids, serial numbers and codes that belong into a header do not count.

    Args:
        found: A header's elements.

    Returns:
        Keywords, or tags such as `(0009,1010)` of private elements, in the file's order.
    """
    values = found.values
    tags = (_ID, *found.texts) if _ID not in found.texts else tuple(found.texts)
    named = list(_telling_texts(tags, tuple(values.get(tag, b"") for tag in tags)))
    birth = values.get(_BIRTH)
    if birth and _is_birth_date(birth):
        named.append(_BIRTH)
    if found.sequences:
        marks = _marks(values.get(_NAME, b""), values.get(_ID, b""))
        for tag, data in found.sequences.items():
            if (tag == _OTHER_IDS and data) or (marks and marks.search(data)):
                named.append(tag)
    return tuple(keyword(tag) for tag in sorted(named))


@lru_cache(maxsize=256)
def _telling_texts(tags: tuple[int, ...], contents: tuple[bytes, ...]) -> tuple[int, ...]:
    """The telling ones among text elements; the images of a series mostly share all of them."""
    values = dict(zip(tags, contents, strict=True))
    return tuple(tag for tag in tags if _tells(tag, values[tag], values))


def _is_birth_date(value: bytes) -> bool:
    """Whether a birth date names a day; 1 January is what de-identifying leaves of a year."""
    date = value.strip(b" \0")
    return len(date) == 8 and date.isdigit() and date[4:] != b"0101"


def _tells(tag: int, value: bytes, values: dict[int, bytes]) -> bool:
    if tag in _PERSONAL:
        same = value.strip(b" \0^") == values.get(_ID, b"").strip(b" \0^")
        plain = value.strip(b" \0^")
        digits = tag in _NUMBERED and any(byte in b"123456789" for byte in plain)
        return not same and (digits or not _is_anonymous(value))
    if tag in _IDS:
        return False
    if tag in _TYPED:
        if _has_pattern(value):
            return True
    elif tag >> 16 & 1 and _EMAIL.search(value):
        return True
    marks = _marks(values.get(_NAME, b""), values.get(_ID, b""))
    return marks is not None and marks.search(value) is not None


@lru_cache(maxsize=64)
def _is_anonymous(value: bytes) -> bool:
    return _ANONYMOUS.match(value.strip(b" \0^")) is not None


@lru_cache(maxsize=256)
def _has_pattern(value: bytes) -> bool:
    return _PATTERN.search(value) is not None


@lru_cache(maxsize=64)
def _marks(name: bytes, patient: bytes) -> re.Pattern[bytes] | None:
    """What gives the patient away elsewhere: longer parts of the name, and a longer id."""
    parts = [] if _is_anonymous(name) else re.split(rb"[\^= ,\\\0]+", name)
    marks = [part for part in parts if len(part) >= 4]
    identity = patient.strip(b" \0")
    if len(identity) >= 5 and any(byte in b"0123456789" for byte in identity):
        marks.append(identity)
    if not marks:
        return None
    words = b"|".join(re.escape(mark) for mark in marks)
    return re.compile(rb"(?<![A-Za-z0-9.])(?:" + words + rb")(?![A-Za-z0-9])", re.IGNORECASE)


@lru_cache(maxsize=1024)
def keyword(tag: int) -> str:
    """Keyword of a standard element, `(gggg,eeee)` of any other."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"

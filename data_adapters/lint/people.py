"""Who is who: one patient under two ids, patients on two sides of a split, unknown patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from data_adapters.adapter import IndexRow
from data_adapters.dicom.model import Instance
from data_adapters.findings import Finding
from data_adapters.lint.codes import finding

Files = Sequence[Sequence[Instance]]


def people(index: Sequence[IndexRow], files: Files) -> Iterator[Finding]:
    """Findings about patients, from the index and the headers.

    Args:
        index: Rows of an adapter.
        files: The DICOM files of each row.
    """
    unknown = sum(row.patient_id is None for row in index)
    if unknown:
        text = f"the patient of {unknown} of {len(index)} cases is unknown; each counts as one"
        yield finding("patient-unknown", text)
    yield from _two_ids(index, files)
    parts: dict[str, set[str]] = defaultdict(set)
    for row in index:
        if row.patient_id is not None and row.part is not None:
            parts[row.patient_id].add(row.part)
    for row in index:
        where = parts.get(row.patient_id or "", set())
        if row.part is not None and len(where) > 1:
            others = ", ".join(sorted(where - {row.part}))
            text = f"the case is in {row.part}, other cases of the same patient in {others}"
            yield finding("patient-in-two-parts", text, case_id=row.case_id)


def _two_ids(index: Sequence[IndexRow], files: Files) -> Iterator[Finding]:
    """Cases whose study, series or image stands under another patient id too."""
    claims = [_claims(row, own) for row, own in zip(index, files, strict=True)]
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for claim in claims:
        for word, uid, patient in claim:
            owners[word, uid].add(patient)
    for row, claim in zip(index, claims, strict=True):
        shared = next((word for word, uid, _ in claim if len(owners[word, uid]) > 1), None)
        if shared is not None:
            text = f"the same {shared} stands under another patient id too"
            yield finding("one-patient-two-ids", text, case_id=row.case_id)


def _claims(row: IndexRow, files: Sequence[Instance]) -> list[tuple[str, str, str]]:
    """(what, its UID, whose it is) for everything of a case that can have one owner only."""
    own = [("study", row.study_id), ("series", row.series_id)]
    claims = [(word, uid, row.patient_id) for word, uid in own if uid and row.patient_id]
    for file in files:
        uids = [("study", file.study_uid), ("series", file.series_uid), ("image", file.sop_uid)]
        claims += [(word, uid, file.patient_id) for word, uid in uids if uid and file.patient_id]
    return claims

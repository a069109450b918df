"""What can be put right: planned by `lint`, done where cases are read by `repaired`.

Nothing is written to the user's files: a repaired adapter reads the same files and mends what it
hands on, and its index says what was left out.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import replace

from data_adapters.adapter import Adapter, Skip
from data_adapters.case import Case
from data_adapters.dicom.model import Instance
from data_adapters.errors import CaseError, DataError
from data_adapters.findings import Finding
from data_adapters.lint.boxes import clipped, degenerate
from data_adapters.lint.examine import Facts, case_headers
from data_adapters.lint.report import LintReport

REGULAR = "resampled to a regular grid"
MENDED = {
    "box-degenerate": "dropped",
    "box-outside": "clipped to the image, or dropped where nothing is left",
    **dict.fromkeys(("gantry-tilt", "irregular-stack", "uneven-spacing"), REGULAR),
}
"""Code -> what is done to the case where it is read."""
LEFT_OUT = "left out"


def planned(
    findings: Sequence[Finding], facts: Sequence[Facts]
) -> tuple[list[Finding], tuple[str, ...]]:
    """The findings with what will be done about each, and the cases that will be left out.

    Args:
        findings: All of a delivery.
        facts: Of every case.
    """
    lost = {one.case_id for one in facts if not one.read}
    known = {one.case_id for one in facts}
    lost |= {f.case_id for f in findings if f.code in ("not-finite", "invalid-case") and f.case_id}
    lost |= {f.case_id for f in findings if f.code == "duplicate-pixels" and f.case_id}
    done = [replace(one, repaired=_repair(one, lost, known)) for one in findings]
    return done, tuple(one.case_id for one in facts if one.case_id in lost)


def _repair(one: Finding, lost: set[str], known: set[str]) -> str:
    if one.repaired or one.case_id is None or one.severity == "info":
        return one.repaired
    if one.case_id in lost or one.case_id not in known:
        return LEFT_OUT
    return MENDED.get(one.code, "")


class RepairedAdapter:
    """An adapter that reads another's cases, mended as a report planned.

    Attributes: as in `Adapter`; `skipped` has the cases left out, `findings` says what was done.
    """

    def __init__(self, adapter: Adapter, report: LintReport) -> None:
        """Prepare; use `repaired`, which checks that the two belong together."""
        left_out = set(report.left_out)
        self._inner = adapter
        self._rows = [i for i, row in enumerate(adapter.index) if row.case_id not in left_out]
        self._codes = {
            case_id: {line.split(":")[0] for line in lines}
            for case_id, lines in report.repairs.items()
        }
        self.kind = adapter.kind
        self.index = tuple(adapter.index[i] for i in self._rows)
        self.class_names = adapter.class_names
        self.task = adapter.task
        self.positive = adapter.positive
        self.modality = adapter.modality
        self.bans = adapter.bans
        self.findings = tuple(one for one in report.findings if one.repaired)
        self.skipped = adapter.skipped + _skips(report, left_out)
        self.notes = (*adapter.notes, *_notes(report, left_out))

    def __len__(self) -> int:
        """Number of cases that are left."""
        return len(self._rows)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`, mended; raises `CaseError` when it cannot be read."""
        place = self._rows[operator.index(i)]
        case = self._inner[place]
        codes = self._codes.get(case.case_id, set())
        if codes & {"box-degenerate", "box-outside"}:
            case = with_whole_boxes(case)
        if any(MENDED.get(code) == REGULAR for code in codes):
            case = on_regular_grid(case)
        return case

    def instances(self, i: int) -> Sequence[Instance]:
        """Headers of the DICOM files of case `i`; empty where the adapter reads none."""
        return case_headers(self._inner, self._rows[operator.index(i)])

    def identity(self) -> str:
        """Hex sha256 of what the pixels depend on: the files and the repairs."""
        plan = repr(sorted((case, sorted(codes)) for case, codes in self._codes.items()))
        kept = ",".join(map(str, self._rows))
        return hashlib.sha256(f"{self._inner.identity()}\n{plan}\n{kept}".encode()).hexdigest()

    def file_key(self, i: int) -> str:
        """Key of the inner case, and what is mended."""
        place = self._rows[i]
        codes = self._codes.get(self._inner.index[place].case_id, set())
        return "|".join([self._inner.file_key(place), *sorted(codes)])

    def source_name(self, i: int) -> str:
        """Name of case `i` as the user knows it."""
        return self._inner.source_name(self._rows[i])


def repaired(adapter: Adapter, report: LintReport) -> Adapter:
    """The cases of an adapter, mended as a report of policy `repair` planned.

    Args:
        adapter: The adapter that was linted, or the same data opened again.
        report: Of `lint(adapter, policy="repair")`.

    Returns:
        An adapter without the cases left out, whose other cases are mended when they are read.

    Raises:
        DataError: The report is of other data, or of another policy.
    """
    if report.policy != "repair":
        raise DataError(f"the report has policy {report.policy!r}: lint with policy='repair'")
    if report.identity != adapter.identity():
        raise DataError("the report is of other data, or they have changed: lint them again")
    return RepairedAdapter(adapter, report)


def with_whole_boxes(case: Case) -> Case:
    """The case with its boxes clipped to the image, and without those of which nothing is left.

    Args:
        case: Any case.
    """
    grid = case.image.shape[:-1]
    whole = (clipped(lesion, grid) for lesion in case.lesions if not degenerate(lesion))
    return replace(case, lesions=tuple(lesion for lesion in whole if lesion is not None))


def on_regular_grid(case: Case) -> Case:
    """The case with its slices where a regular stack has them; values linearly, masks by nearest.

    The grid covers every slice, with their spacing and median step; places outside are padding.

    Args:
        case: Any case; a regular one stays as it is.

    Raises:
        CaseError: `not-resampled`: the grid would be too large, or directions are unknown.
    """
    if case.geometry is None or not case.geometry.positions:
        return case
    from data_adapters.transforms.resample import Resample

    try:
        return Resample(spacing=(0.0, 0.0, 0.0)).apply(case)[0]
    except DataError as error:
        raise CaseError(case.case_id, "not-resampled", str(error)) from None


def _skips(report: LintReport, left_out: set[str]) -> tuple[Skip, ...]:
    """One record for each case left out, by the first reason."""
    reasons: dict[str, Finding] = {}
    for one in report.findings:
        if one.case_id in left_out and one.repaired == LEFT_OUT:
            reasons.setdefault(one.case_id, one)
    return tuple(Skip(case, one.code, one.message) for case, one in reasons.items())


def _notes(report: LintReport, left_out: set[str]) -> list[str]:
    mended = len(set(report.repairs) - left_out)
    words = [(len(left_out), "left out"), (mended, "mended where they are read")]
    return [f"repair: {n} cases were {text}" for n, text in words if n]

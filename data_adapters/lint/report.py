"""What linting found, as data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from data_adapters.findings import Finding
from data_adapters.lint.classes import ClassCount
from data_adapters.lint.statistics import GroupStatistics

Policy = Literal["strict", "repair", "report"]
POLICIES: tuple[Policy, ...] = ("strict", "repair", "report")
_ORDER = ("error", "warning", "info")


@dataclass(frozen=True)
class LintReport:
    """Everything that linting found.

    Attributes:
        kind: Name of the adapter that reads the data.
        task: Its task.
        policy: `strict`, `repair` or `report`.
        n_cases: Cases that the adapter offers.
        n_read: Those of them that could be read.
        findings: Errors first, then warnings, then remarks; by code, then in the order of cases.
        classes: Cases of each class.
        statistics: Size, spacing and intensities, by modality.
        left_out: Cases that a repair leaves out.
        notes: Sentences of the adapter about the whole delivery, and what was not looked at.
        identity: `Adapter.identity` of the data looked at, so that no other data get the repairs.
    """

    kind: str
    task: str
    policy: Policy
    n_cases: int
    n_read: int
    findings: tuple[Finding, ...]
    classes: tuple[ClassCount, ...] = ()
    statistics: tuple[GroupStatistics, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    identity: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Findings of each severity, and how many of all were repaired."""
        counted = Counter(str(finding.severity) for finding in self.findings)
        repaired = sum(bool(finding.repaired) for finding in self.findings)
        return {**{severity: counted[severity] for severity in _ORDER}, "repaired": repaired}

    @property
    def codes(self) -> dict[str, list[Finding]]:
        """Findings by code, in the order of the report."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.code, []).append(finding)
        return found

    @property
    def ok(self) -> bool:
        """Whether the data may be trained on: no error is left (strict: no warning either)."""
        left = {finding.severity for finding in self.findings if not finding.repaired}
        return not left & ({"error", "warning"} if self.policy == "strict" else {"error"})

    @property
    def repairs(self) -> dict[str, list[str]]:
        """Case id -> what was done to it."""
        done: dict[str, list[str]] = {}
        for finding in self.findings:
            if finding.repaired and finding.case_id is not None:
                done.setdefault(finding.case_id, []).append(f"{finding.code}: {finding.repaired}")
        return done

    def to_dict(self, *, names: bool = False) -> dict[str, Any]:
        """The report as plain data, for JSON.

        Keys: `ok` (bool), `policy`, `kind`, `task`, `n_cases`, `n_read`, `counts` (`error`,
        `warning`, `info`, `repaired`: numbers), `codes` (code -> `severity`, `count`, `remedy`),
        `findings` (each `severity`, `code`, `case` or null, `message`, `remedy`, `repaired`, and
        with names `source`), `classes` (each `name`, `cases`, `amount` of voxels or boxes or null,
        `unknown`), `statistics` (see `GroupStatistics`), `left_out` and `repairs` (case ids),
        `notes`.

        Args:
            names: Put in the files' own names, which may identify patients.
        """
        return {
            "ok": self.ok,
            "policy": self.policy,
            "kind": self.kind,
            "task": self.task,
            "n_cases": self.n_cases,
            "n_read": self.n_read,
            "counts": self.counts,
            "codes": {
                code: {
                    "severity": found[0].severity,
                    "count": len(found),
                    "remedy": found[0].remedy,
                }
                for code, found in self.codes.items()
            },
            "findings": [_plain(finding, names) for finding in self.findings],
            "classes": [
                {"name": c.name, "cases": c.cases, "amount": c.amount, "unknown": c.unknown}
                for c in self.classes
            ],
            "statistics": [group.to_dict() for group in self.statistics],
            "left_out": list(self.left_out),
            "repairs": self.repairs,
            "notes": list(self.notes),
        }


def in_order(findings: list[Finding], order: dict[str, int]) -> tuple[Finding, ...]:
    """Findings as a report lists them: by severity, code and place of the case.

    Args:
        findings: In any order.
        order: Case id -> its place.
    """

    def key(finding: Finding) -> tuple[int, str, int]:
        place = -1 if finding.case_id is None else order.get(finding.case_id, len(order))
        return _ORDER.index(finding.severity), finding.code, place

    return tuple(sorted(findings, key=key))


def _plain(finding: Finding, names: bool) -> dict[str, Any]:
    plain = {
        "severity": finding.severity,
        "code": finding.code,
        "case": finding.case_id,
        "message": finding.message,
        "remedy": finding.remedy,
        "repaired": finding.repaired,
    }
    return {**plain, "source": finding.source} if names else plain

"""What is noticed about data while they are read: the currency of readers, `lint` and reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know before training.

    Attributes:
        severity: `error`: a number would be wrong, or the case is unusable; `warning`: look at it;
            `info`: worth knowing.
        code: Short slug to count by, such as `missing-slices` or `burned-in`.
        message: What was found, one sentence without patient data.
        remedy: What to do about it, one sentence; empty where nothing needs doing.
        case_id: Pseudonymous case id; None where it concerns the whole delivery.
        source: Name as the user gave it; shown to the user who asks, put into no report.
        repaired: What was done about it under `--policy repair`; empty where nothing was.
    """

    severity: Severity
    code: str
    message: str
    remedy: str = ""
    case_id: str | None = None
    source: str | None = None
    repaired: str = ""


def as_facts(findings: Iterable[Finding]) -> tuple[tuple[str, str, str, str], ...]:
    """(severity, code, message, remedy) of each finding, as `Case.meta["truth"]` keeps them."""
    return tuple((f.severity, f.code, f.message, f.remedy) for f in findings)

"""What the leakage gate finds, as data and as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from data_adapters.splits import Splits


@dataclass(frozen=True)
class Dropped:
    """A case taken out of its part; `kept` names the case that stays in its stead, if one does."""

    case_id: str
    part: str
    reason: str
    kept: str | None = None


@dataclass(frozen=True)
class SamePixels:
    """Cases whose pixels are identical, with the parts they came in, and whether labels differ."""

    case_ids: tuple[str, ...]
    parts: tuple[str, ...]
    conflict: bool

    @property
    def across(self) -> bool:
        """Whether the copies lie in more than one part."""
        return len(set(self.parts)) > 1


@dataclass(frozen=True)
class NearPair:
    """Two cases of different parts that show the same thing.

    `case_ids[0]`, oriented by `transform` (one of `hashing.TRANSFORMS`), is `case_ids[1]`;
    `correlation` is that of their fine detail; `conflict` says that their labels differ.
    """

    case_ids: tuple[str, str]
    parts: tuple[str, str]
    correlation: float
    transform: str
    conflict: bool


@dataclass(frozen=True)
class SplitPatient:
    """A patient, study or series in several parts: the cases of each, without its id."""

    cases: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class OtherLeak:
    """What val or test share with data that are trained on besides, or were.

    Attributes:
        name: name of the other data, as the caller gave it.
        kind: `patient`, `study`, `series`, `pixels` or `near`.
        cases: part -> cases of this split.
        others: cases of the other data.
    """

    name: str
    kind: str
    cases: dict[str, tuple[str, ...]]
    others: tuple[str, ...]


@dataclass(frozen=True)
class LeakageResult:
    """What the gate found and did.

    Attributes:
        splits: the parts after dropping, with the gate's notes added.
        policy: one of `POLICIES`.
        exact: groups of cases with identical pixels, within and across parts.
        near: near duplicates across parts, best first, without those already dropped.
        near_within: number of near-duplicate pairs inside one part (of different patients).
        patients: patients in several parts.
        studies: studies in several parts whose cases do not name one and the same patient.
        series: series in several parts whose cases name neither one patient nor one study.
        others: what val and test share with further data that are trained on.
        left_out: name of further data -> its cases that must be left out there; policies `drop` and
            `strict`.
        conflicts: the groups of `exact` whose labels differ.
        dropped: cases taken out, in index order.
        notes: sentences for the report.
        marked: leaks were found and left in by the policy: the report must carry a mark.
    """

    splits: Splits
    policy: str
    exact: tuple[SamePixels, ...] = ()
    near: tuple[NearPair, ...] = ()
    near_within: int = 0
    patients: tuple[SplitPatient, ...] = ()
    studies: tuple[SplitPatient, ...] = ()
    series: tuple[SplitPatient, ...] = ()
    others: tuple[OtherLeak, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conflicts: tuple[SamePixels, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = field(default=())
    marked: bool = False

    def case_notes(self) -> dict[str, str]:
        """Case id -> why it was dropped, for splits.csv."""
        return {
            drop.case_id: f"dropped from {drop.part}: {drop.reason}"
            + (f" ({drop.kept})" if drop.kept else "")
            for drop in self.dropped
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the split itself, for JSON; case ids are the only identities in it."""
        return {
            "policy": self.policy,
            "marked": self.marked,
            "unit": self.splits.unit,
            "counts": self.splits.counts(),
            "patients": [asdict(item)["cases"] for item in self.patients],
            "studies": [asdict(item)["cases"] for item in self.studies],
            "series": [asdict(item)["cases"] for item in self.series],
            "others": [asdict(item) for item in self.others],
            "left_out": {name: list(cases) for name, cases in self.left_out.items()},
            "exact": [{**asdict(item), "across": item.across} for item in self.exact],
            "conflicts": [asdict(item) for item in self.conflicts],
            "near": [asdict(item) for item in self.near],
            "near_within": self.near_within,
            "dropped": [asdict(item) for item in self.dropped],
            "notes": list(self.notes),
        }


def leakage_notes(found: LeakageResult) -> tuple[str, ...]:
    """Sentences for the report about everything that was found and done."""
    exact, others = found.exact, found.others
    across = sum(group.across for group in exact)
    conflicts = sum(group.conflict for group in exact)
    sure = {name for item in others if item.kind != "near" for name in item.others}
    alike = {name for item in others if item.kind == "near" for name in item.others} - sure
    counted = (
        (len(found.patients), "patient{s} in more than one part."),
        (len(found.studies), "stud{y} in more than one part under different patients."),
        (len(found.series), "series in more than one part under different patients."),
        (len(sure), "case{s} of further training data seen in val or test."),
        (len(alike), "case{s} of further training data nearly as in val or test: look at them."),
        (across, "picture{s} with identical copies in more than one part."),
        (len(exact) - across, "picture{s} with identical copies inside one part (kept)."),
        (conflicts, "group{s} of identical pictures carr{ies} different labels: check them."),
        (len(found.near), "pair{s} of near duplicates across parts: look at them."),
        (found.near_within, "pair{s} of near duplicates inside one part (kept)."),
        (len(found.dropped), "case{s} dropped from the training side."),
    )
    notes = []
    for n, text in counted:
        one = n == 1
        words = {"s": "" if one else "s", "y": "y" if one else "ies", "ies": "ies" if one else "y"}
        notes += [f"{n} {text.format(**words)}"] if n else []
    if found.marked:
        notes.append("LEAKAGE ALLOWED: training and test share cases; the results are too good.")
    return tuple(notes)

"""The leakage gate: nothing that is tested may have been seen in training.

Three kinds of leak are looked for. A patient on two sides of a split makes every figure too good,
so it stops the run unless another policy is chosen. Exact copies of a picture across parts are
dropped from the training side and recorded. Near duplicates (`hashing.near_duplicates`) are listed,
and dropped under the strict policy only, because two of them may be two honest pictures.

The training side of a pair of parts is the one that is used earlier: train against val and test,
val against test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import DataError, LeakageError, SplitError, nearest
from data_adapters.hashing import TRANSFORMS, NearDuplicate, near_duplicates
from data_adapters.splits import Splits, class_values, class_word

POLICIES = ("stop", "drop", "strict", "allow")
_SHOWN = 5


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
    """A patient in several parts: the cases of each, without the patient's id."""

    cases: dict[str, tuple[str, ...]]


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
            "exact": [{**asdict(item), "across": item.across} for item in self.exact],
            "conflicts": [asdict(item) for item in self.conflicts],
            "near": [asdict(item) for item in self.near],
            "near_within": self.near_within,
            "dropped": [asdict(item) for item in self.dropped],
            "notes": list(self.notes),
        }


def check_leakage(
    index: Sequence[IndexRow],
    splits: Splits,
    sha256s: Sequence[str],
    phashes: NDArray[np.uint64],
    thumbs: NDArray[np.uint8],
    *,
    policy: str = "stop",
    class_names: Sequence[str] = (),
) -> LeakageResult:
    """Look for leaks between the parts and act on them.

    | policy | patient on two sides | exact copies across parts | near duplicates |
    |---|---|---|---|
    | stop | LeakageError | dropped from the training side | listed |
    | drop | dropped from the training side | dropped | listed |
    | strict | dropped | dropped | dropped |
    | allow | left in, marked | left in, marked | listed |

    Copies inside one part are recorded and kept. Rows without a part, and rows without a digest
    (pixels that could not be read), take no part in the comparison of pixels.

    Args:
        index: rows of an adapter.
        splits: their parts.
        sha256s: pixel digests, same rows; "" where there are no pixels.
        phashes: uint64 (N, 8), same rows.
        thumbs: uint8 (N, 32, 32), same rows.
        policy: one of `POLICIES`.
        class_names: names for the messages.

    Raises:
        LeakageError: policy "stop" and a patient on two sides of the split.
        SplitError: dropping would empty a part, or take the last case of a class out of it.
        DataError: the policy is unknown, or the arguments are not of the same cases.
    """
    if policy not in POLICIES:
        raise DataError(f"unknown leakage policy {policy!r}{nearest(policy, POLICIES)}")
    sizes = {len(index), len(splits.parts), len(sha256s), len(phashes), len(thumbs)}
    if len(sizes) > 1:
        raise DataError(
            f"index, splits, digests, hashes and thumbs are of different lengths ({sorted(sizes)}):"
            " give one row each per case"
        )
    gate = _Gate(index, splits.parts, policy)
    patients = gate.patients()
    exact = gate.exact(sha256s)
    near, near_within = gate.near(sha256s, phashes, thumbs)
    losses = gate.check_nothing_emptied(class_names)
    conflicts = tuple(group for group in exact if group.conflict)
    marked = policy == "allow" and bool(patients or any(group.across for group in exact))
    dropped = tuple(gate.dropped[row] for row in sorted(gate.dropped))
    notes = _notes(patients, exact, near, near_within, dropped, marked) + losses
    adjusted = replace(splits, parts=tuple(gate.parts), notes=splits.notes + notes)
    return LeakageResult(
        splits=adjusted,
        policy=policy,
        exact=exact,
        near=near,
        near_within=near_within,
        patients=patients,
        conflicts=conflicts,
        dropped=dropped,
        notes=notes,
        marked=marked,
    )


def check_patients(
    index: Sequence[IndexRow],
    splits: Splits,
    *,
    policy: str = "stop",
    class_names: Sequence[str] = (),
) -> LeakageResult:
    """The part of `check_leakage` that needs no pixels: patients on two sides of the split."""
    n = len(index)
    blank = ([""] * n, np.zeros((n, 8), np.uint64), np.zeros((n, 32, 32), np.uint8))
    return check_leakage(index, splits, *blank, policy=policy, class_names=class_names)


def seen(sha256s: Sequence[str], trained: AbstractSet[str]) -> NDArray[np.bool_]:
    """Which cases were seen in training, by their pixels: bool (N,); no digest counts as unseen."""
    return np.array([bool(digest) and digest in trained for digest in sha256s], dtype=bool)


class _Gate:
    """The parts while cases are being dropped from them."""

    def __init__(self, index: Sequence[IndexRow], parts: Sequence[str], policy: str) -> None:
        self.index = index
        self.before = tuple(parts)
        self.parts = list(parts)
        self.policy = policy
        self.dropped: dict[int, Dropped] = {}

    def patients(self) -> tuple[SplitPatient, ...]:
        """Patients in several parts; stops or drops as the policy says."""
        found = _groups(
            (row for row, part in enumerate(self.parts) if part),
            lambda row: self.index[row].patient_id,
        )
        found = [rows for rows in found if len({self.parts[row] for row in rows}) > 1]
        if found and self.policy == "stop":
            raise LeakageError(self._patient_message(found))
        leaks = tuple(SplitPatient(self._cases_by_part(rows)) for rows in found)
        if self.policy in ("drop", "strict"):
            for rows in found:
                last = max((self.parts[row] for row in rows), key=PARTS.index)
                self._drop_earlier(rows, f"the same patient is in {last}", named=False)
        return leaks

    def exact(self, sha256s: Sequence[str]) -> tuple[SamePixels, ...]:
        """Groups of identical pixels among the rows still in use; across parts they are dropped."""
        rows = (row for row, part in enumerate(self.parts) if part)
        groups = _groups(rows, lambda row: sha256s[row] or None)
        found = tuple(
            SamePixels(
                case_ids=tuple(self.index[row].case_id for row in group),
                parts=tuple(self.parts[row] for row in group),
                conflict=self._conflict(group),
            )
            for group in groups
        )
        if self.policy != "allow":
            for group in groups:
                last = max((self.parts[row] for row in group), key=PARTS.index)
                self._drop_earlier(group, f"the same pixels are in {last}", named=True)
        return found

    def near(
        self, sha256s: Sequence[str], phashes: NDArray[np.uint64], thumbs: NDArray[np.uint8]
    ) -> tuple[tuple[NearPair, ...], int]:
        """Near duplicates across parts, and how many pairs there are inside parts."""
        rows = np.array(
            [row for row, part in enumerate(self.parts) if part and sha256s[row]], dtype=np.intp
        )
        across: list[tuple[int, int, NearDuplicate]] = []
        within = 0
        for pair in near_duplicates(phashes[rows], thumbs[rows]):
            first, second = int(rows[pair.first]), int(rows[pair.second])
            if sha256s[first] == sha256s[second]:
                continue
            if self.parts[first] != self.parts[second]:
                across.append((first, second, pair))
            else:
                patient = self.index[first].patient_id
                within += patient is None or patient != self.index[second].patient_id
        across.sort(key=lambda item: (-item[2].correlation, item[0], item[1]))
        found = tuple(self._near_pair(*item) for item in across)
        if self.policy == "strict":
            for part in ("test", "val"):  # against test first: fewer cases go
                for first, second, _ in across:
                    if part in (self.before[first], self.before[second]):
                        self._drop_earlier((first, second), f"nearly the same is in {part}")
        return found, within

    def check_nothing_emptied(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Raise when train or val lost all cases or the last of a class; notes for lesser losses.

        A label of a vector may lose its last positive or negative case in val, as a note.
        """
        notes: list[str] = []
        for part in PARTS:
            before = [row for row, name in enumerate(self.before) if name == part]
            after = [row for row in before if self.parts[row]]
            old, new = class_values(self.index, before), class_values(self.index, after)
            kinds = ("case of class", "positive case of label", "negative case of label")
            lost = [
                [f"{kind} {class_word(class_names, label)}" for label in sorted(had - has)]
                for kind, had, has in zip(kinds, old, new, strict=True)
            ]
            fatal = lost[0] + (lost[1] + lost[2] if part == "train" else [])
            if fatal or (before and not after):
                raise SplitError(
                    f"dropping {len(before) - len(after)} leaking cases leaves {part} without any "
                    f"{', '.join(fatal) or 'case'}. Ways out: let the parts be made by patient "
                    "instead of giving them, add cases, or choose a milder --leakage policy "
                    "(allow drops nothing and marks the report)"
                )
            notes += [f"Dropping left {part} without any {what}." for what in lost[1] + lost[2]]
        return tuple(notes)

    def _drop_earlier(self, rows: Iterable[int], reason: str, *, named: bool = True) -> None:
        """Take out all rows but those of the last part among them that is still in use."""
        used = [row for row in rows if self.parts[row]]
        if not used:
            return
        last = max((self.parts[row] for row in used), key=PARTS.index)
        kept = next(self.index[row].case_id for row in used if self.parts[row] == last)
        for row in used:
            if self.parts[row] != last:
                self.dropped[row] = Dropped(
                    self.index[row].case_id, self.parts[row], reason, kept if named else None
                )
                self.parts[row] = ""

    def _near_pair(self, first: int, second: int, pair: NearDuplicate) -> NearPair:
        return NearPair(
            case_ids=(self.index[first].case_id, self.index[second].case_id),
            parts=(self.parts[first], self.parts[second]),
            correlation=pair.correlation,
            transform=TRANSFORMS[pair.transform],
            conflict=self._conflict((first, second)),
        )

    def _conflict(self, rows: Iterable[int]) -> bool:
        """Whether known labels of these rows contradict each other."""
        classes, positive, negative = class_values(self.index, rows)
        return len(classes) > 1 or bool(positive & negative)

    def _cases_by_part(self, rows: Iterable[int]) -> dict[str, tuple[str, ...]]:
        return {
            part: tuple(self.index[row].case_id for row in rows if self.parts[row] == part)
            for part in PARTS
            if any(self.parts[row] == part for row in rows)
        }

    def _patient_message(self, found: Sequence[Sequence[int]]) -> str:
        involved = sorted({self.parts[row] for rows in found for row in rows}, key=PARTS.index)
        cases = [self.index[row].case_id for rows in found for row in rows]
        shown = ", ".join(cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")
        count = f"{len(found)} patient{'s are' if found[1:] else ' is'}"
        return (
            f"{count} in more than one part ({', '.join(involved)}), so results would be too good; "
            f"cases concerned: {shown}. Ways out: correct the given parts; leave them out, so that "
            "they are made by patient; --leakage drop takes these cases out of the training side; "
            "--leakage allow goes on and marks the report"
        )


def _groups(rows: Iterable[int], key: Callable[[int], str | None]) -> list[list[int]]:
    """Rows that share a key, two or more, in order of first appearance."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        value = key(row)
        if value is not None:
            found[value].append(row)
    return [group for group in found.values() if len(group) > 1]


def _notes(
    patients: Sequence[SplitPatient],
    exact: Sequence[SamePixels],
    near: Sequence[NearPair],
    near_within: int,
    dropped: Sequence[Dropped],
    marked: bool,
) -> tuple[str, ...]:
    across = sum(group.across for group in exact)
    conflicts = sum(group.conflict for group in exact)
    counted = (
        (len(patients), "patient{s} in more than one part."),
        (across, "picture{s} with identical copies in more than one part."),
        (len(exact) - across, "picture{s} with identical copies inside one part (kept)."),
        (conflicts, "group{s} of identical pictures carr{y} different labels: check them."),
        (len(near), "pair{s} of near duplicates across parts: look at them."),
        (near_within, "pair{s} of near duplicates inside one part (kept)."),
        (len(dropped), "case{s} dropped from the training side."),
    )
    notes = [
        f"{n} {text.format(s='' if n == 1 else 's', y='ies' if n == 1 else 'y')}"
        for n, text in counted
        if n
    ]
    if marked:
        notes.append("LEAKAGE ALLOWED: training and test share cases; the results are too good.")
    return tuple(notes)

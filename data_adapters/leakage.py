"""The leakage gate: nothing that is tested may have been seen in training.

Three kinds of leak are looked for. A patient on two sides of a split makes every figure too good,
so it stops the run unless another policy is chosen; so does a study or series, which is one
person's whatever the patient ids say. Exact copies of a picture across parts are
dropped from the training side and recorded. Near duplicates (`hashing.near_duplicates`) are listed,
and dropped under the strict policy only, because two of them may be two honest pictures.

The training side of a pair of parts is the one that is used earlier: train against val and test,
val against test. Further data that are trained on (unlabelled, or for pretraining) are on the
training side of val and test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import DataError, LeakageError, SplitError, nearest
from data_adapters.hashing import TRANSFORMS, NearDuplicate, near_duplicates
from data_adapters.leakage_others import OtherData, overlaps
from data_adapters.leakage_result import (
    Dropped,
    LeakageResult,
    NearPair,
    OtherLeak,
    SamePixels,
    SplitPatient,
    leakage_notes,
)
from data_adapters.splits import Splits, class_values, class_word
from data_adapters.units import group_units

__all__ = [
    "POLICIES",
    "Dropped",
    "LeakageResult",
    "NearPair",
    "OtherData",
    "OtherLeak",
    "SamePixels",
    "SplitPatient",
    "check_leakage",
    "check_patients",
    "seen",
]

POLICIES = ("stop", "drop", "strict", "allow")
_SHOWN = 5
_IDENTITIES = {
    "patients": ("patient", "patients"),
    "studies": ("study", "studies"),
    "series": ("series", "series"),
}
"""Kind of identity, the strongest first -> the word for one and for several."""


def check_leakage(
    index: Sequence[IndexRow],
    splits: Splits,
    sha256s: Sequence[str],
    phashes: NDArray[np.uint64],
    thumbs: NDArray[np.uint8],
    *,
    policy: str = "stop",
    class_names: Sequence[str] = (),
    others: Sequence[OtherData] = (),
    beside: Sequence[str] | None = None,
) -> LeakageResult:
    """Look for leaks between the parts and act on them.

    | policy | patient, study or series on two sides | exact copies across parts | near duplicates |
    |---|---|---|---|
    | stop | LeakageError | dropped from the training side | listed |
    | drop | dropped from the training side | dropped | listed |
    | strict | dropped | dropped | dropped |
    | allow | left in, marked | left in, marked | listed |

    Further data that share a patient, study, series or pixels with val or test: `stop` raises,
    `drop` lists their cases in `left_out` for the caller to leave out (`strict` those nearly the
    same too), `allow` marks.

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
        others: further data that are trained on, or were: unlabelled or for pretraining.
        beside: digests that are compared with `others` alone, same rows; None: `sha256s`.

    Raises:
        LeakageError: policy "stop" and a patient, study or series on two sides of the split, or
            val or test among the further data.
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
    identities = gate.identities()
    exact = gate.exact(sha256s)
    near, near_within = gate.near(sha256s, phashes, thumbs)
    losses = gate.check_nothing_emptied(class_names)
    digests = sha256s if beside is None else beside
    shared = overlaps(index, gate.parts, digests, phashes, thumbs, others)
    sure = [leak for leak in shared if leak.kind != "near"]
    if sure and policy == "stop":
        raise LeakageError(_others_message(sure))
    harm = any(identities.values()) or any(group.across for group in exact) or bool(sure)
    result = LeakageResult(
        splits=splits,
        policy=policy,
        exact=exact,
        near=near,
        near_within=near_within,
        patients=identities["patients"],
        studies=identities["studies"],
        series=identities["series"],
        others=shared,
        left_out=_left_out(shared, policy),
        conflicts=tuple(group for group in exact if group.conflict),
        dropped=tuple(gate.dropped[row] for row in sorted(gate.dropped)),
        marked=policy == "allow" and harm,
    )
    notes = leakage_notes(result) + losses
    adjusted = replace(splits, parts=tuple(gate.parts), notes=splits.notes + notes)
    return replace(result, splits=adjusted, notes=notes)


def check_patients(
    index: Sequence[IndexRow],
    splits: Splits,
    *,
    policy: str = "stop",
    class_names: Sequence[str] = (),
    others: Sequence[OtherData] = (),
    beside: Sequence[str] | None = None,
) -> LeakageResult:
    """The part of `check_leakage` that needs no pixels: who and what is on two sides.

    Args:
        index: as of `check_leakage`.
        splits: as of `check_leakage`.
        policy: as of `check_leakage`.
        class_names: as of `check_leakage`.
        others: as of `check_leakage`, without hashes.
        beside: as of `check_leakage`; None compares ids alone.

    Raises:
        LeakageError: as `check_leakage`.
        SplitError: as `check_leakage`.
        DataError: as `check_leakage`.
    """
    n = len(index)
    blank = ([""] * n, np.zeros((n, 8), np.uint64), np.zeros((n, 32, 32), np.uint8))
    return check_leakage(
        index,
        splits,
        *blank,
        policy=policy,
        class_names=class_names,
        others=others,
        beside=beside,
    )


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

    def identities(self) -> dict[str, tuple[SplitPatient, ...]]:
        """Patients, studies and series in several parts; stops or drops as the policy says."""
        used = [row for row, part in enumerate(self.parts) if part]
        units = group_units(self.index, used).members.values()
        torn = [rows for rows in units if len({self.parts[row] for row in rows}) > 1]
        found = {kind: self._torn(torn, at) for at, kind in enumerate(_IDENTITIES)}
        if torn and self.policy == "stop":
            raise LeakageError(self._identity_message(found))
        leaks = {
            kind: tuple(SplitPatient(self._cases_by_part(rows)) for rows in groups)
            for kind, groups in found.items()
        }
        if self.policy in ("drop", "strict"):
            for rows in torn:
                last = max((self.parts[row] for row in rows), key=PARTS.index)
                one = len({self.index[row].patient_id for row in rows}) == 1
                what = "patient" if one and self.index[rows[0]].patient_id else "study or series"
                self._drop_earlier(rows, f"the same {what} is in {last}", named=False)
        return leaks

    def _torn(self, units: Sequence[Sequence[int]], at: int) -> list[list[int]]:
        """Groups of one identity in several parts, those that a stronger identity explains not."""
        groups = []
        for rows in units:
            for group in _groups(rows, lambda row: _ids(self.index[row])[at]):
                ids = [_ids(self.index[row])[:at] for row in group]
                same = any(len(set(column)) == 1 and column[0] for column in zip(*ids, strict=True))
                if len({self.parts[row] for row in group}) > 1 and not same:
                    groups.append(group)
        return groups

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

    def _identity_message(self, found: Mapping[str, Sequence[Sequence[int]]]) -> str:
        rows = [row for groups in found.values() for group in groups for row in group]
        rows = list(dict.fromkeys(rows))
        involved = sorted({self.parts[row] for row in rows}, key=PARTS.index)
        cases = [self.index[row].case_id for row in rows]
        shown = ", ".join(cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")
        several = sum(len(groups) for groups in found.values()) > 1
        counted = " and ".join(
            f"{len(groups)} {_IDENTITIES[kind][len(groups) > 1]}"
            for kind, groups in found.items()
            if groups
        )
        return (
            f"{counted} {'are' if several else 'is'} in more than one part "
            f"({', '.join(involved)}), so results would be too good; cases concerned: "
            f"{shown}. Ways out: correct the given parts; leave them out, so that "
            "they are made by patient; --leakage drop takes these cases out of the training side; "
            "--leakage allow goes on and marks the report"
        )


def _ids(entry: IndexRow) -> tuple[str | None, str | None, str | None]:
    return entry.patient_id, entry.study_id, entry.series_id


def _others_message(leaks: Sequence[OtherLeak]) -> str:
    counts: dict[str, set[str]] = defaultdict(set)
    for leak in leaks:
        counts[leak.name].update(leak.others)
    listed = ", ".join(f"{len(cases)} of {name!r}" for name, cases in counts.items())
    parts = sorted({part for leak in leaks for part in leak.cases}, key=PARTS.index)
    return (
        f"cases of further training data ({listed}) are of the same patients, studies or pixels as "
        f"{' and '.join(parts)}, so results would be too good. Ways out: leave these cases out "
        "there (--leakage drop lists them); test on other patients; --leakage allow goes on and "
        "marks the report"
    )


def _left_out(leaks: Sequence[OtherLeak], policy: str) -> dict[str, tuple[str, ...]]:
    """Cases of further data that must not be trained on, as the policy says."""
    if policy not in ("drop", "strict"):
        return {}
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for leak in leaks:
        if leak.kind != "near" or policy == "strict":
            found[leak.name].update(dict.fromkeys(leak.others))
    return {name: tuple(cases) for name, cases in found.items()}


def _groups(rows: Iterable[int], key: Callable[[int], str | None]) -> list[list[int]]:
    """Rows that share a key, two or more, in order of first appearance."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        value = key(row)
        if value is not None:
            found[value].append(row)
    return [group for group in found.values() if len(group) > 1]

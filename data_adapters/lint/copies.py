"""Cases that hold the same picture: exact copies, copies with other labels, near duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from data_adapters.adapter import IndexRow
from data_adapters.findings import Finding
from data_adapters.hashing import TRANSFORMS, NearDuplicate, near_duplicates
from data_adapters.lint.codes import finding
from data_adapters.lint.examine import Facts
from data_adapters.split_checks import class_values

MOST_COMPARED = 30_000
"""Cases up to which near duplicates are looked for: the work grows with the square."""


def copies(facts: Sequence[Facts], index: Sequence[IndexRow]) -> Iterator[Finding]:
    """Findings about cases with identical pixels.

    The first of a group is the one to keep and has no `duplicate-pixels`; where what is known of
    the copies differs, each of them has a `label-conflict` instead. Constant images are no copies.

    Args:
        facts: Of every case.
        index: Rows of the adapter.
    """
    groups: dict[str, list[Facts]] = defaultdict(list)
    for one in facts:
        if one.sha256:
            groups[one.sha256].append(one)
    for group in groups.values():
        if len(group) < 2:
            continue
        if _contradict(group, index):
            for one in group:
                other = next((o for o in group if _contradict((one, o), index)), None)
                if other is not None:
                    text = f"the same pixels as case {other.case_id}, with another label or mask"
                    yield finding("label-conflict", text, case_id=one.case_id)
            continue
        kept = kept_copy(group, index)
        for one in group:
            if one is not kept:
                text = f"the same pixels as case {kept.case_id}{_people(index, one, kept)}"
                yield finding("duplicate-pixels", text, case_id=one.case_id)


def _contradict(group: Sequence[Facts], index: Sequence[IndexRow]) -> bool:
    """Whether what is known of copies contradicts itself; what is not known does not."""
    classes, positive, negative = class_values(index, [one.row for one in group])
    masks = {one.truth for one in group if one.truth}
    return len(classes) > 1 or bool(positive & negative) or len(masks) > 1


def kept_copy(group: Sequence[Facts], index: Sequence[IndexRow]) -> Facts:
    """The copy to keep: the first of which most is known.

    Args:
        group: Cases with the same pixels.
        index: Rows of the adapter.
    """

    def known(one: Facts) -> int:
        return sum(map(len, class_values(index, [one.row]))) + bool(one.truth)

    return max(group, key=known)


def _people(index: Sequence[IndexRow], one: Facts, other: Facts) -> str:
    first, second = index[one.row], index[other.row]
    words = []
    if None not in (first.patient_id, second.patient_id) and first.patient_id != second.patient_id:
        words.append("under another patient id")
    if None not in (first.part, second.part) and first.part != second.part:
        words.append(f"which is in {second.part} and this in {first.part}")
    return ", " + ", ".join(words) if words else ""


def _same_person(first: IndexRow, second: IndexRow) -> bool:
    """Whether two cases are known to be of one patient: by the patient's id or by the study's."""
    return any(
        one is not None and one == other
        for one, other in (
            (first.patient_id, second.patient_id),
            (first.study_id, second.study_id),
        )
    )


def near_copies(facts: Sequence[Facts], index: Sequence[IndexRow]) -> Iterator[Finding]:
    """One finding for each case that has near duplicates of other (or unknown) patients.

    Args:
        facts: Of every case; at most `MOST_COMPARED` of them.
        index: Rows of the adapter.
    """
    usable = [one for one in facts if one.phash is not None and one.thumb is not None]
    if len(usable) < 2:
        return
    hashes = np.stack([one.phash for one in usable if one.phash is not None])
    thumbs = np.stack([one.thumb for one in usable if one.thumb is not None])
    best: dict[int, NearDuplicate] = {}
    number: dict[int, int] = defaultdict(int)
    for pair in near_duplicates(hashes, thumbs):
        first, second = usable[pair.first], usable[pair.second]
        if first.sha256 == second.sha256 or _same_person(index[first.row], index[second.row]):
            continue
        later = pair.second
        number[later] += 1
        if later not in best or pair.correlation > best[later].correlation:
            best[later] = pair
    for later, pair in sorted(best.items()):
        more = number[later] - 1
        text = (
            f"nearly the same as case {usable[pair.first].case_id} "
            f"({TRANSFORMS[pair.transform]}, correlation {pair.correlation:.2f})"
            + (f" and as {more} more" if more else "")
        )
        yield finding("near-duplicate", text, case_id=usable[later].case_id)

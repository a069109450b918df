"""What a split needs, and what its parts show: checks with messages, and counts of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import SplitError


def class_values(
    index: Sequence[IndexRow], rows: Iterable[int]
) -> tuple[set[int], set[int], set[int]]:
    """What these rows show: single classes, labels known positive, labels known negative."""
    classes: set[int] = set()
    positive: set[int] = set()
    negative: set[int] = set()
    for row in rows:
        entry = index[row]
        if entry.label is not None:
            classes.add(entry.label)
        for label, value in enumerate(entry.labels or ()):
            if not math.isnan(value):
                (positive if value > 0.5 else negative).add(label)
    return classes, positive, negative


def class_word(class_names: Sequence[str], label: int) -> str:
    """A class for a message: its quoted name, or its number."""
    return repr(class_names[label]) if label < len(class_names) else str(label)


def labels_of_units(
    index: Sequence[IndexRow], members: Mapping[str, Sequence[int]]
) -> dict[str, set[int]]:
    """What is to be spread: classes, and of each label of a vector the value fewer units show."""
    values = {unit: class_values(index, rows) for unit, rows in members.items()}
    positive = Counter(label for shown in values.values() for label in shown[1])
    negative = Counter(label for shown in values.values() for label in shown[2])
    flipped = {label for label in positive if negative[label] < positive[label]}
    return {
        unit: classes | (yes - flipped) | (no & flipped)
        for unit, (classes, yes, no) in values.items()
    }


def check_fractions(fractions: Sequence[float]) -> dict[str, float]:
    """Part -> share, parts of no share left out."""
    shares = dict(zip(PARTS, map(float, fractions), strict=False))
    usable = (
        len(fractions) == len(PARTS)
        and all(math.isfinite(share) and share >= 0 for share in shares.values())
        and abs(sum(shares.values()) - 1) < 1e-6
        and shares["train"] > 0
        and shares["val"] > 0
    )
    if not usable:
        raise SplitError(
            f"fractions {tuple(fractions)} are no split: give three for train, val and test that "
            "sum to 1, with train and val above 0, such as (0.7, 0.15, 0.15)"
        )
    return {part: share for part, share in shares.items() if share > 0}


def check_unique(index: Sequence[IndexRow]) -> None:
    times = Counter(entry.case_id for entry in index)
    twice = [case_id for case_id, count in times.items() if count > 1]
    if twice:
        raise SplitError(
            f"{len(twice)} case id{'s stand' if twice[1:] else ' stands'} more than once (such as "
            f"{twice[0]}): every case needs its own; remove the repeated line or file"
        )


def check_classes(
    index: Sequence[IndexRow], rows: Sequence[int], class_names: Sequence[str], place: str
) -> None:
    """Raise when these rows cannot train a classifier."""
    if not rows:
        raise SplitError(f"no labelled case{place}: a classifier needs cases of known label")
    classes, positive, negative = class_values(index, rows)
    if not classes:
        if not positive & negative:
            raise SplitError(
                f"no label has both positive and negative cases{place}: nothing to tell apart"
            )
        return
    if len(classes) == 1 and len(class_names) < 3:
        only = class_word(class_names, min(classes))
        raise SplitError(f"only one class ({only}){place}: a classifier needs two or more")
    missing = [label for label in range(len(class_names)) if label not in classes]
    if missing:
        names = ", ".join(class_word(class_names, label) for label in missing)
        raise SplitError(f"no case of class {names}{place}: add cases of it or take it out")


def check_parts(
    index: Sequence[IndexRow],
    parts: Sequence[str],
    wanted: Sequence[str],
    class_names: Sequence[str],
) -> list[str]:
    """Raise for what train lacks; notes for what val and test lack."""
    rows = {part: [row for row, name in enumerate(parts) if name == part] for part in wanted}
    classes, positive, negative = class_values(index, [r for group in rows.values() for r in group])
    check_classes(index, rows["train"], class_names, " in the training part")
    notes: list[str] = []
    for part in wanted:
        here = class_values(index, rows[part])
        absent = sorted(classes - here[0])
        if absent and part == "train":
            names = ", ".join(class_word(class_names, label) for label in absent)
            raise SplitError(
                f"no case of class {names} in the training part, but elsewhere: what is never "
                "shown cannot be learnt; add training cases of it or take it out"
            )
        lacking = [("case of class", label) for label in absent]
        lacking += [("positive case of label", label) for label in sorted(positive - here[1])]
        lacking += [("negative case of label", label) for label in sorted(negative - here[2])]
        notes += [f"No {what} {class_word(class_names, k)} in {part}." for what, k in lacking]
    return notes

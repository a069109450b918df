"""Who is trained on, who chooses, who is tested: splits by patient, stratified and repeatable.

A split belongs to patients, not to files: all pictures of one person go to one part. Where the
patient is unknown each picture is its own unit, and the result says so. Parts that come with the
data are kept as they are; only a missing validation part is carved, out of the training part.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import SplitError, nearest
from data_adapters.split_table import SplitRow, read_splits, split_rows, write_splits
from data_adapters.stratify import stratify

__all__ = [
    "FRACTIONS",
    "SplitRow",
    "Splits",
    "class_values",
    "make_splits",
    "read_splits",
    "resolve_splits",
    "split_rows",
    "write_splits",
]

FRACTIONS = (0.7, 0.15, 0.15)

_SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing"),
}
_PART_OF = {spelling: part for part, words in _SPELLINGS.items() for spelling in words}


@dataclass(frozen=True)
class Splits:
    """The part of every index row.

    Attributes:
        parts: "train", "val", "test" or "" (not used) per row of the index.
        unit: "patient" when every used row names its patient, else "image".
        official: the parts came with the data (a validation part may still have been carved).
        notes: sentences for the report.
    """

    parts: tuple[str, ...]
    unit: str
    official: bool
    notes: tuple[str, ...] = ()

    def rows(self, part: str) -> list[int]:
        """Index rows of a part, in order."""
        return [row for row, name in enumerate(self.parts) if name == part]

    def counts(self) -> dict[str, int]:
        """Number of cases per part."""
        return {part: self.parts.count(part) for part in PARTS}


def make_splits(
    index: Sequence[IndexRow],
    *,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    class_names: Sequence[str] = (),
) -> Splits:
    """Divide the labelled rows into train, val and test, by patient and stratified by label.

    Every class lies in every part when three patients show it; a class of two patients lies in
    train and val, of one in train. A patient who shows several classes counts for each of them. Of
    a label vector the rarer known value of each label is spread. See `stratify` for the method. The
    result depends neither on the order of the rows nor on the process. Rows without any known label
    get no part.

    Args:
        index: rows of an adapter.
        seed: any integer.
        fractions: of the patients for train, val and test; they sum to 1, train and val above 0.
        class_names: names for the messages; with them a single-label class without any case is an
            error.

    Raises:
        SplitError: too few patients, one class only, a class that train cannot get, an id that
            stands twice, or fractions that do not add up.
    """
    shares = _check_fractions(fractions)
    _check_unique(index)
    used = [row for row, entry in enumerate(index) if _labelled(entry)]
    _check_classes(index, used, class_names, "")
    unit, unit_notes = _unit(index, used)
    dealt = _deal(index, used, seed, shares)
    parts = tuple(dealt.get(row, "") for row in range(len(index)))
    notes = _left_out(len(index) - len(used), "have no known label") + unit_notes
    notes += _check_parts(index, parts, list(shares), class_names)
    return Splits(parts, unit, official=False, notes=tuple(notes))


def resolve_splits(
    index: Sequence[IndexRow],
    *,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    class_names: Sequence[str] = (),
) -> Splits:
    """Use the parts that come with the data, or make them.

    With parts given nothing is moved, rows that name none are left out, and no test part is carved;
    a missing val is carved out of train, by patient, as large as `fractions` makes it against
    train. Usual spellings are accepted ("valid", "validation", "dev" for val). Without any part
    this is `make_splits`.

    Raises:
        SplitError: a part of unknown name, no training part, or as `make_splits`.
    """
    given = _part_names(index)
    if not any(given):
        return make_splits(index, seed=seed, fractions=fractions, class_names=class_names)
    shares = _check_fractions(fractions)
    _check_unique(index)
    parts = [part if _labelled(entry) else "" for part, entry in zip(given, index, strict=True)]
    if "train" not in parts:
        present = ", ".join(part for part in PARTS if part in parts) or "no labelled case"
        raise SplitError(
            f"the data come with parts but without a labelled training part (found: {present}); "
            "call one part train, or leave the parts out to have them made"
        )
    notes = _left_out(given.count(""), "name no part")
    notes += _left_out(parts.count("") - given.count(""), "have no known label")
    if "val" not in parts:
        notes.append(_carve(index, parts, seed, shares))
    if "test" not in parts:
        notes.append("The data come with parts but without a test part; none is carved out.")
    unit, unit_notes = _unit(index, [row for row, part in enumerate(parts) if part])
    present_parts = [part for part in PARTS if part in parts]
    notes += unit_notes + _check_parts(index, parts, present_parts, class_names)
    return Splits(tuple(parts), unit, official=True, notes=tuple(notes))


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


def _carve(
    index: Sequence[IndexRow], parts: list[str], seed: int, shares: Mapping[str, float]
) -> str:
    """Move some training patients to val, in place; returns the sentence that says so."""
    used = [row for row, part in enumerate(parts) if part == "train"]
    together = shares["train"] + shares["val"]
    dealt = _deal(
        index, used, seed, {"train": shares["train"] / together, "val": shares["val"] / together}
    )
    for row, part in dealt.items():
        parts[row] = part
    return (
        f"The data come without a validation part: {parts.count('val')} of the {len(used)} "
        "training cases became one."
    )


def _deal(
    index: Sequence[IndexRow], used: Sequence[int], seed: int, shares: Mapping[str, float]
) -> dict[int, str]:
    """Row -> part; all rows of a patient together."""
    members: dict[str, list[int]] = defaultdict(list)
    for row in used:
        entry = index[row]
        known = entry.patient_id is not None
        members[f"patient {entry.patient_id}" if known else f"case {entry.case_id}"].append(row)
    if len(members) < len(shares):
        found = "only one patient" if len(members) == 1 else f"only {len(members)} patients"
        raise SplitError(
            f"{found} with labels, and {len(shares)} parts ({', '.join(shares)}) need at least "
            f"{len(shares)}: add patients, or check that the patient column names the patient"
        )
    dealt = stratify(_labels_of_units(index, members), shares=shares, seed=seed)
    return {row: dealt[unit] for unit, rows in members.items() for row in rows}


def _labels_of_units(
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


def _labelled(entry: IndexRow) -> bool:
    return entry.label is not None or any(not math.isnan(value) for value in entry.labels or ())


def _unit(index: Sequence[IndexRow], used: Sequence[int]) -> tuple[str, list[str]]:
    """What the split is by, and what to say about it."""
    unknown = sum(index[row].patient_id is None for row in used)
    if not unknown:
        return "patient", []
    if unknown == len(used):
        return "image", [
            "The patient is unknown: everything is by image, so pictures of one person may lie in "
            "several parts."
        ]
    return "image", [
        f"The patient of {unknown} of {len(used)} cases is unknown: each of these counts as a "
        "patient of its own, so the split is by image; cases of a known patient stay together."
    ]


def _left_out(count: int, why: str) -> list[str]:
    return [f"Left out: {count} case{'s' if count != 1 else ''} that {why}."] if count else []


def _check_fractions(fractions: Sequence[float]) -> dict[str, float]:
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


def _check_unique(index: Sequence[IndexRow]) -> None:
    times = Counter(entry.case_id for entry in index)
    twice = [case_id for case_id, count in times.items() if count > 1]
    if twice:
        raise SplitError(
            f"{len(twice)} case id{'s stand' if twice[1:] else ' stands'} more than once (such as "
            f"{twice[0]}): every case needs its own; remove the repeated line or file"
        )


def _part_names(index: Sequence[IndexRow]) -> list[str]:
    """The usual name of each row's part, "" for none."""
    words = [(entry.part or "").strip().lower() for entry in index]
    unknown = sorted(set(words) - set(_PART_OF) - {""})
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + (", ..." if unknown[5:] else "")
        raise SplitError(
            f"unknown part{'s' if unknown[1:] else ''} {shown}{nearest(unknown[0], PARTS)}; "
            "parts are called train, val and test"
        )
    return [_PART_OF.get(word, "") for word in words]


def _check_classes(
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


def _check_parts(
    index: Sequence[IndexRow],
    parts: Sequence[str],
    wanted: Sequence[str],
    class_names: Sequence[str],
) -> list[str]:
    """Raise for what train lacks; notes for what val and test lack."""
    rows = {part: [row for row, name in enumerate(parts) if name == part] for part in wanted}
    classes, positive, negative = class_values(index, [r for group in rows.values() for r in group])
    _check_classes(index, rows["train"], class_names, " in the training part")
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

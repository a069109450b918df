"""Who is trained on, who chooses, who is tested: splits by patient, stratified and repeatable.

A split belongs to patients, not to files: all pictures of one person go to one part, and so do all
pictures of one study (see `units`). Where nothing says who is who each picture is its own unit, and
the result says so. Parts that come with the data are kept as they are; only a missing validation
part is carved, out of the training part. By site, whole sites go to one part; by date, what is
tested is later than what is trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from data_adapters.adapter import PARTS, IndexRow, Task
from data_adapters.errors import SplitError, nearest
from data_adapters.split_by import count_labels, dated, deal_by_date, deal_by_site, sited
from data_adapters.split_checks import (
    check_classes,
    check_fractions,
    check_parts,
    check_unique,
    class_values,
    class_word,
    labels_of_units,
)
from data_adapters.split_table import SplitRow, read_splits, split_rows, write_splits
from data_adapters.stratify import stratify
from data_adapters.units import group_units

__all__ = [
    "BY",
    "FRACTIONS",
    "SplitRow",
    "Splits",
    "class_values",
    "class_word",
    "make_splits",
    "read_splits",
    "resolve_splits",
    "split_rows",
    "write_splits",
]

FRACTIONS = (0.7, 0.15, 0.15)
BY = ("patient", "site", "date")
CLASSIFYING = ("single", "multilabel")

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
        by: "patient", "site" or "date".
        folds: number of each row's fold, -1 for none, where the parts are a round of folds.
    """

    parts: tuple[str, ...]
    unit: str
    official: bool
    notes: tuple[str, ...] = ()
    by: str = "patient"
    folds: tuple[int, ...] = ()

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
    by: str = "patient",
    task: Task = "single",
) -> Splits:
    """Divide the rows into train, val and test, by patient and stratified by label.

    Every class lies in every part when three patients show it; a class of two patients lies in
    train and val, of one in train. A patient who shows several classes counts for each of them. Of
    a label vector the rarer known value of each label is spread. See `stratify` for the method. The
    result depends on the order of the rows, not on their pseudonyms nor on the process, so another
    installation divides the same data in the same way. Rows without any known label get no part,
    unless the truth is no label: for segmentation and detection all rows are dealt, stratified by
    what the index knows of the classes they show.

    By site, whole sites go to one part, cases and labels as near to the fractions as that allows;
    patients seen at two sites tie these together. By date, the latest patients are tested and the
    earliest trained on (see `split_by.deal_by_date`); dates that were shifted patient by patient
    to hide them cannot be told from true ones. Rows without site or date get no part then.

    Args:
        index: rows of an adapter.
        seed: any integer.
        fractions: of the patients (by site: of the cases) for train, val and test; they sum to 1,
            train and val above 0.
        class_names: names for the messages; with them a single-label class without any case is an
            error.
        by: one of `BY`.
        task: task of the adapter.

    Raises:
        SplitError: too few patients, sites or days, one class only, a class that train cannot get,
            an id that stands twice, fractions that do not add up, no site or date at all, or an
            unknown `by`.
    """
    check_by(by)
    shares = check_fractions(fractions)
    check_unique(index)
    used, notes = usable_rows(index, task, by)
    if task in CLASSIFYING:
        check_classes(index, used, class_names, "")
    unit, unit_notes = split_unit(index, used)
    dealt, how = _deal(index, used, seed, shares, by)
    parts = tuple(dealt.get(row, "") for row in range(len(index)))
    notes += unit_notes + how
    if task in CLASSIFYING:
        notes += check_parts(index, parts, list(shares), class_names)
    return Splits(parts, unit, official=False, notes=tuple(notes), by=by)


def resolve_splits(
    index: Sequence[IndexRow],
    *,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    class_names: Sequence[str] = (),
    by: str = "patient",
    task: Task = "single",
) -> Splits:
    """Use the parts that come with the data, or make them.

    With parts given nothing is moved, rows that name none are left out, and no test part is carved;
    a missing val is carved out of train, by patient, as large as `fractions` makes it against
    train. Usual spellings are accepted ("valid", "validation", "dev" for val). Without any part,
    and where a split by site or date is asked for, this is `make_splits`.

    Raises:
        SplitError: a part of unknown name, no training part, or as `make_splits`.
    """
    check_by(by)
    given = part_names(index)
    if not any(given) or by != "patient":
        splits = make_splits(
            index, seed=seed, fractions=fractions, class_names=class_names, by=by, task=task
        )
        if any(given):
            note = f"The parts that come with the data give way to the split by {by}."
            splits = replace(splits, notes=(note, *splits.notes))
        return splits
    shares = check_fractions(fractions)
    check_unique(index)
    usable = set(usable_rows(index, task, by)[0])
    parts = [part if row in usable else "" for row, part in enumerate(given)]
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
    unit, unit_notes = split_unit(index, [row for row, part in enumerate(parts) if part])
    present_parts = [part for part in PARTS if part in parts]
    notes += unit_notes
    if task in CLASSIFYING:
        notes += check_parts(index, parts, present_parts, class_names)
    return Splits(tuple(parts), unit, official=True, notes=tuple(notes))


def check_by(by: str) -> None:
    """Refuse an unknown way of splitting."""
    if by not in BY:
        raise SplitError(f"cannot split by {by!r}{nearest(by, BY)}")


def usable_rows(index: Sequence[IndexRow], task: Task, by: str) -> tuple[list[int], list[str]]:
    """Rows that a split deals, and what to say about the others.

    Raises:
        SplitError: No row has the site or date that the split goes by.
    """
    rows = list(range(len(index)))
    notes = []
    if task in CLASSIFYING:
        rows = [row for row in rows if _labelled(index[row])]
        notes = _left_out(len(index) - len(rows), "have no known label")
    if by == "patient" or not rows:
        return rows, notes
    kept = (sited if by == "site" else dated)(index, rows)
    return kept, notes + _left_out(len(rows) - len(kept), f"have no {by}")


def _carve(
    index: Sequence[IndexRow], parts: list[str], seed: int, shares: Mapping[str, float]
) -> str:
    """Move some training patients to val, in place; returns the sentence that says so."""
    used = [row for row, part in enumerate(parts) if part == "train"]
    together = shares["train"] + shares["val"]
    dealt, _ = _deal(
        index, used, seed, {"train": shares["train"] / together, "val": shares["val"] / together}
    )
    for row, part in dealt.items():
        parts[row] = part
    return (
        f"The data come without a validation part: {parts.count('val')} of the {len(used)} "
        "training cases became one."
    )


def _deal(
    index: Sequence[IndexRow],
    used: Sequence[int],
    seed: int,
    shares: Mapping[str, float],
    by: str = "patient",
) -> tuple[dict[int, str], list[str]]:
    """Row -> part, all rows of a unit together, and sentences for the report."""
    units = group_units(index, used, sites=by == "site")
    members, notes = units.members, list(units.notes)
    if by == "site":
        dealt = deal_by_site(*case_counts(index, members), shares=shares, seed=seed)
        notes.append(f"Split by site: each of {len(members)} sites lies in one part.")
    else:
        if len(members) < len(shares):
            found = "only one patient" if len(members) == 1 else f"only {len(members)} patients"
            raise SplitError(
                f"{found} with labels, and {len(shares)} parts ({', '.join(shares)}) need at least "
                f"{len(shares)}: add patients, or check that the patient column names the patient "
                "(cases of one study or series count as one patient)"
            )
        if by == "date":
            dealt, more = deal_by_date(index, members, shares=shares, seed=seed)
            notes += more
        else:
            dealt = stratify(labels_of_units(index, members), shares=shares, seed=seed)
    return {row: dealt[unit] for unit, rows in members.items() for row in rows}, notes


def case_counts(
    index: Sequence[IndexRow], members: Mapping[str, Sequence[int]]
) -> tuple[dict[str, int], dict[str, dict[int, int]]]:
    """Cases of each unit, and how many of its cases show each label that is to be spread."""
    spread = labels_of_units(index, {f"{row}": [row] for rows in members.values() for row in rows})
    return (
        {unit: len(rows) for unit, rows in members.items()},
        {unit: count_labels([spread[f"{row}"] for row in rows]) for unit, rows in members.items()},
    )


def _labelled(entry: IndexRow) -> bool:
    return entry.label is not None or any(not math.isnan(value) for value in entry.labels or ())


def split_unit(index: Sequence[IndexRow], used: Sequence[int]) -> tuple[str, list[str]]:
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


def part_names(index: Sequence[IndexRow]) -> list[str]:
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

"""Cross-validation: folds that keep patients together, and parts out of folds or a frozen table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_adapters.adapter import PARTS, IndexRow, Task
from data_adapters.errors import SplitError
from data_adapters.split_by import deal_by_site
from data_adapters.split_checks import check_classes, check_parts, check_unique, labels_of_units
from data_adapters.split_table import SplitRow
from data_adapters.splits import (
    CLASSIFYING,
    FRACTIONS,
    Splits,
    case_counts,
    check_by,
    part_names,
    resolve_splits,
    split_unit,
    usable_rows,
)
from data_adapters.stratify import even_out, stratify
from data_adapters.units import group_units

HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class Folds:
    """The fold of every index row.

    Attributes:
        numbers: fold per row of the index from 0, -1 for rows of the official test part and rows
            not used.
        count: number of folds.
        unit: "patient" when every used row names its patient, else "image".
        by: "patient" or "site".
        test: rows of the test part that came with the data; they are in no fold.
        notes: sentences for the report.
    """

    numbers: tuple[int, ...]
    count: int
    unit: str
    by: str
    test: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def rows(self, fold: int) -> list[int]:
        """Index rows of a fold, in order."""
        return [row for row, number in enumerate(self.numbers) if number == fold]

    def splits(self, fold: int, *, held_out: str = "val") -> Splits:
        """The parts of one round.

        Args:
            fold: The fold held out, from 0.
            held_out: `val`: the fold chooses, all others train. `test`: the fold is tested, the
                next one (after the last the first) chooses, all others train.

        Returns:
            Splits with an official test part, if there is one, as test.

        Raises:
            SplitError: There is no such fold, no such way to hold it out, or fewer than three folds
                to be tested, or a test part came with the data and would be mixed with the fold.
        """
        if held_out not in HELD_OUT:
            raise SplitError(f"a fold is held out as val or test, not as {held_out!r}")
        if not 0 <= fold < self.count:
            raise SplitError(f"no fold {fold}: there are {self.count}, counted from 0")
        roles = {fold: held_out}
        if held_out == "test":
            if self.test:
                raise SplitError(
                    "the data come with a test part, which stays the test part: hold folds out as "
                    "val"
                )
            if self.count < 3:
                raise SplitError("to test on a fold and choose on another takes 3 folds or more")
            roles[(fold + 1) % self.count] = "val"
        parts = ["" if n < 0 else roles.get(n, "train") for n in self.numbers]
        for row in self.test:
            parts[row] = "test"
        note = f"Fold {fold} of {self.count} is held out as {held_out}."
        return Splits(
            tuple(parts),
            self.unit,
            official=bool(self.test),
            notes=(note, *self.notes),
            by=self.by,
            folds=self.numbers,
        )


def make_folds(
    index: Sequence[IndexRow],
    *,
    seed: int,
    count: int | None = 5,
    class_names: Sequence[str] = (),
    by: str = "patient",
    task: Task = "single",
) -> Folds:
    """Divide the rows into folds of like size and make-up that keep patients together.

    Units (see `units`) are dealt by `stratify`, larger ones first, and those that show the same
    labels then change places where that evens out the cases of folds and labels. A test part that
    comes with the data is kept apart; its train and val parts are pooled. By site whole sites make
    a fold, each its own with `count=None`: leaving one site out.

    Args:
        index: rows of an adapter.
        seed: any integer.
        count: number of folds, 2 or more; None, with `by="site"`, is one per site.
        class_names: names for the messages.
        by: "patient" or "site".
        task: task of the adapter.

    Raises:
        SplitError: fewer units than folds, `by="date"` (a fold would be tested on its past), fewer
            than two folds, one class only, a class that some round's training part would lack, an
            id that stands twice or an unknown part name.
    """
    check_by(by)
    if by == "date":
        raise SplitError(
            "folds by date would be tested on their past; use a split by date, or folds by patient"
        )
    if count is None and by != "site":
        raise SplitError("give the number of folds; only by site it follows from the data")
    if count is not None and count < 2:
        raise SplitError(f"{count} folds: cross-validation takes 2 or more")
    check_unique(index)
    rows, notes = usable_rows(index, task, by)
    named = part_names(index)
    test = tuple(row for row in rows if named[row] == "test")
    used = [row for row in rows if named[row] != "test"]
    if task in CLASSIFYING:
        check_classes(index, used, class_names, " outside the test part" if test else "")
    unit, unit_notes = split_unit(index, used)
    units = group_units(index, used, sites=by == "site")
    total = len(units.members) if count is None else count
    if total < 2 or len(units.members) < total:
        what = "site" if by == "site" else "patient"
        raise SplitError(
            f"{total} folds need {max(2, total)} {what}s at least, and there "
            f"{'is one' if len(units.members) == 1 else f'are {len(units.members)}'}"
        )
    shares = {f"{number}": 1 / total for number in range(total)}
    if by == "site":
        dealt = deal_by_site(*case_counts(index, units.members), shares=shares, seed=seed)
    else:
        labels = labels_of_units(index, units.members)
        sizes, shown = case_counts(index, units.members)
        dealt = even_out(
            stratify(labels, shares=shares, seed=seed, sizes=sizes), labels, sizes, shown
        )
    numbers = [-1] * len(index)
    for name, members in units.members.items():
        for row in members:
            numbers[row] = int(dealt[name])
    notes = [*notes, *unit_notes, *units.notes]
    if test:
        notes.append(f"{len(test)} cases of the test part that came with the data are in no fold.")
    folds = Folds(tuple(numbers), total, unit, by, test, tuple(notes))
    if task in CLASSIFYING:
        _check_rounds(index, folds, class_names)
    return folds


def choose_splits(
    index: Sequence[IndexRow],
    *,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    class_names: Sequence[str] = (),
    by: str = "patient",
    folds: int | str | None = None,
    fold: int = 0,
    task: Task = "single",
) -> Splits:
    """The parts of a run: one split, or one round of a cross-validation.

    In a round the fold is tested and the next one chooses; where a test part came with the data,
    that is tested and the fold chooses; so it does where there are two folds only.

    Args:
        index: rows of an adapter.
        seed: any integer.
        fractions: as in `make_splits`; of no account with folds.
        class_names: names for the messages.
        by: one of `splits.BY`.
        folds: number of folds, "sites" for one per site, or None for one split.
        fold: the round, from 0.
        task: task of the adapter.

    Raises:
        SplitError: as `resolve_splits` and `make_folds`, or there is no such fold.
    """
    if folds is None:
        return resolve_splits(
            index, seed=seed, fractions=fractions, class_names=class_names, by=by, task=task
        )
    sites = folds == "sites"
    made = make_folds(
        index,
        seed=seed,
        count=None if sites else int(folds),
        class_names=class_names,
        by="site" if sites else by,
        task=task,
    )
    tested = not made.test and made.count > 2
    return made.splits(fold, held_out="test" if tested else "val")


def frozen_splits(index: Sequence[IndexRow], rows: Sequence[SplitRow]) -> Splits:
    """The parts that a `splits.csv` gives to these cases, exactly.

    Args:
        index: rows of an adapter.
        rows: lines of the table (`read_splits`).

    Raises:
        SplitError: the table names other cases than the index, or gives a case another patient.
    """
    known = {row.case_id: row for row in rows}
    here = {entry.case_id for entry in index}
    absent = [entry.case_id for entry in index if entry.case_id not in known]
    foreign = [row.case_id for row in rows if row.case_id not in here and row.part]
    if absent or foreign:
        raise SplitError(
            f"the frozen split is of other data: {len(absent)} cases of the data are not in it and "
            f"{len(foreign)} of its cases are not in the data (such as {(absent + foreign)[0]}). "
            "Case ids depend on the paths and on this installation's salt (RADZOO_SALT)"
        )
    for entry in index:
        frozen = known[entry.case_id].patient
        if frozen and entry.patient_id and frozen != entry.patient_id:
            raise SplitError(
                f"the frozen split gives case {entry.case_id} another patient than the data do; "
                "split anew"
            )
    parts = tuple(known[entry.case_id].part for entry in index)
    unit, notes = split_unit(index, [row for row, part in enumerate(parts) if part])
    if "train" not in parts or "val" not in parts:
        raise SplitError("the frozen split has no training or no validation part")
    return Splits(parts, unit, official=True, notes=("The parts are those of a table.", *notes))


def _check_rounds(index: Sequence[IndexRow], folds: Folds, class_names: Sequence[str]) -> None:
    for fold in range(folds.count):
        parts = folds.splits(fold).parts
        present = [part for part in PARTS if part in parts]
        check_parts(index, parts, present, class_names)

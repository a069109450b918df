"""Splits: by patient, stratified, repeatable, and honest about what they cannot do."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import SplitError
from data_adapters.splits import (
    make_splits,
    resolve_splits,
)
from data_adapters.stratify import apportion, stratify

NAN = math.nan
FAST = settings(max_examples=40, deadline=None, derandomize=True)
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def rows_of(
    labels: Sequence[int | None],
    patients: Sequence[str | None] | None = None,
    parts: Sequence[str | None] | None = None,
) -> list[IndexRow]:
    return [
        IndexRow(
            case_id=f"c{number:04d}",
            patient_id=patients[number] if patients else None,
            label=label,
            part=parts[number] if parts else None,
        )
        for number, label in enumerate(labels)
    ]


@st.composite
def grouped(draw: st.DrawFn) -> list[IndexRow]:
    """At least three patients per class, each of one class, with one to four pictures."""
    labels: list[int | None] = []
    patients: list[str | None] = []
    for label in range(draw(st.integers(2, 5))):
        for patient in range(draw(st.integers(3, 25))):
            count = draw(st.integers(1, 4))
            labels += [label] * count
            patients += [f"p{label}-{patient}"] * count
    return rows_of(labels, patients)


# --- make_splits ---------------------------------------------------------------------------------


@FAST
@given(grouped(), st.integers(0, 2**32))
def test_patients_stay_together_and_classes_are_spread(index: list[IndexRow], seed: int) -> None:
    splits = make_splits(index, seed=seed)
    assert splits.unit == "patient"
    assert not splits.official
    where: dict[str | None, set[str]] = defaultdict(set)
    for row, part in zip(index, splits.parts, strict=True):
        where[row.patient_id].add(part)
    assert all(len(parts) == 1 for parts in where.values())
    for label in {row.label for row in index}:
        found = Counter(
            next(iter(where[patient]))
            for patient in {row.patient_id for row in index if row.label == label}
        )
        assert found == Counter(apportion(sum(found.values()), SHARES))
        assert set(found) == set(PARTS)


@FAST
@given(grouped(), st.integers(0, 9))
def test_pseudonyms_of_another_installation_make_the_same_split(
    index: list[IndexRow], seed: int
) -> None:
    def other(name: str | None) -> str | None:
        return name and hashlib.sha256(name.encode()).hexdigest()[:8]

    renamed = [
        replace(row, case_id=f"{other(row.case_id)}", patient_id=other(row.patient_id))
        for row in index
    ]
    assert make_splits(renamed, seed=seed).parts == make_splits(index, seed=seed).parts


def test_seed_decides() -> None:
    index = rows_of([0, 1] * 50)
    splits = [make_splits(index, seed=seed).parts for seed in (1, 1, 2)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_another_process_makes_the_same_split() -> None:
    code = (
        "from data_adapters.adapter import IndexRow\n"
        "from data_adapters.splits import make_splits\n"
        "index = [IndexRow(case_id=f'c{n:04d}', label=n % 3) for n in range(60)]\n"
        "print(','.join(make_splits(index, seed=5).parts))"
    )
    index = rows_of([n % 3 for n in range(60)])
    here = ",".join(make_splits(index, seed=5).parts)
    root = Path(__file__).resolve().parents[2]
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env={"PYTHONHASHSEED": hash_seed},
        )
        assert there.stdout.strip() == here


def test_a_split_on_record_is_made_again() -> None:
    index = [
        IndexRow(
            f"c{n}",
            patient_id=f"p{n // 3}" if n % 5 else None,
            labels=(float(n % 4 == 0), float(n % 7 < 3)),
        )
        for n in range(120)
    ]
    parts = "".join(part[1] for part in make_splits(index, seed=7).parts)
    assert hashlib.sha256(parts.encode()).hexdigest()[:16] == "43d4aa6d9ef88f94"


def test_fractions_are_met_and_a_test_part_can_be_left_out() -> None:
    index = rows_of([0] * 80 + [1] * 20)
    assert make_splits(index, seed=0).counts() == {"train": 70, "val": 15, "test": 15}
    splits = make_splits(index, seed=0, fractions=(0.8, 0.2, 0))
    assert splits.counts() == {"train": 80, "val": 20, "test": 0}
    ones = Counter(part for row, part in zip(index, splits.parts, strict=True) if row.label == 1)
    assert ones == {"train": 16, "val": 4}


def test_a_class_of_one_or_two_patients_goes_to_train_first() -> None:
    index = rows_of([0] * 20 + [1] * 2 + [2])
    splits = make_splits(index, seed=3, class_names=("none", "cyst", "tumour"))
    assert sorted(splits.parts[20:22]) == ["train", "val"]
    assert splits.parts[22] == "train"
    assert "No case of class 'cyst' in test." in splits.notes
    assert "No case of class 'tumour' in val." in splits.notes


def test_patients_of_several_classes_count_for_each() -> None:
    """Every patient shows the common class; the rare one must still reach each part."""
    labels: list[int | None] = []
    patients: list[str | None] = []
    for patient in range(30):
        labels += [0, 0, 1] if patient < 4 else [0, 0]
        patients += [f"p{patient}"] * (3 if patient < 4 else 2)
    for seed in range(10):
        splits = make_splits(rows_of(labels, patients), seed=seed)
        rare = {part for label, part in zip(labels, splits.parts, strict=True) if label == 1}
        assert rare == set(PARTS)


def test_an_unlucky_order_is_dealt_again() -> None:
    """Labels that hang together: one pass of the method can leave train without one of them."""
    labels = {"a": {0, 2}, "b": {1, 2}, "c": {0}, "d": {1}, "e": {3}, "f": {3}, "g": {3}}
    for seed in range(40):
        dealt = stratify(labels, shares=SHARES, seed=seed)
        for label in range(4):
            assert "train" in {dealt[unit] for unit in labels if label in labels[unit]}


def test_multilabel_spreads_the_rarer_value_and_ignores_unknowns() -> None:
    vectors = [(1.0 if n < 6 else 0.0, 0.0 if n % 10 == 9 else 1.0, NAN) for n in range(100)]
    index = [IndexRow(case_id=f"c{n:03d}", labels=vector) for n, vector in enumerate(vectors)]
    index.append(IndexRow(case_id="cx", labels=(NAN, NAN, NAN)))
    splits = make_splits(index, seed=1)
    assert splits.parts[-1] == ""
    assert any("no known label" in note for note in splits.notes)
    for label, value in ((0, 1.0), (1, 0.0)):
        spread = Counter(splits.parts[n] for n in range(100) if vectors[n][label] == value)
        assert spread == Counter(apportion(sum(spread.values()), SHARES))
    assert splits.counts() == {"train": 70, "val": 15, "test": 15}


def test_rows_without_label_get_no_part() -> None:
    index = rows_of([0, 1, None] * 10)
    splits = make_splits(index, seed=0)
    assert [part == "" for part in splits.parts] == [row.label is None for row in index]
    assert "Left out: 10 cases that have no known label." in splits.notes


def test_unit_and_its_note() -> None:
    none = make_splits(rows_of([0, 1] * 10), seed=0)
    assert none.unit == "image"
    assert "by image" in " ".join(none.notes)
    patients: list[str | None] = [f"p{n // 2}" if n < 14 else None for n in range(20)]
    mixed = make_splits(rows_of([0, 0, 1, 1] * 5, patients), seed=0)
    assert mixed.unit == "image"
    assert "6 of 20" in " ".join(mixed.notes)
    assert all(mixed.parts[n] == mixed.parts[n + 1] for n in range(0, 14, 2))
    unused: list[str | None] = [*(f"p{n}" for n in range(10)), None]
    assert make_splits(rows_of([*([0, 1] * 5), None], unused), seed=0).unit == "patient"


def test_a_patient_named_like_a_case_is_not_confused_with_it() -> None:
    index = rows_of([0, 1] * 10, ["c0001", *[None] * 19])
    splits = [make_splits(index, seed=seed).parts for seed in range(20)]
    assert any(parts[0] != parts[1] for parts in splits)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (rows_of([0, 1] * 5, ["p1"] * 10), "only one patient"),
        (rows_of([0, 1] * 5, ["p1", "p2"] * 5), "only 2 patients"),
        (rows_of([1] * 10), r"only one class \('ill'\)"),
        (rows_of([None] * 10), "no labelled case"),
        ([], "no labelled case"),
        ([IndexRow(case_id="c1", label=n % 2) for n in range(9)], "c1.*more than once|more than"),
    ],
)
def test_what_cannot_be_split(index: list[IndexRow], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_splits(index, seed=0, class_names=("well", "ill"))


def test_a_named_class_without_cases_is_an_error() -> None:
    with pytest.raises(SplitError, match=r"no case of class 'cyst', 'tumour': add"):
        make_splits(rows_of([0, 1] * 5), seed=0, class_names=("a", "b", "cyst", "tumour"))


def test_labels_that_never_differ_are_an_error() -> None:
    index = [IndexRow(case_id=f"c{n}", labels=(1.0, NAN)) for n in range(9)]
    with pytest.raises(SplitError, match="no label has both"):
        make_splits(index, seed=0)


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (1, 0, 0), (NAN, 0.5, 0.5)]
)
def test_fractions_that_are_no_split(fractions: tuple[float, ...]) -> None:
    with pytest.raises(SplitError, match="are no split"):
        make_splits(rows_of([0, 1] * 9), seed=0, fractions=fractions)


def test_error_messages_name_no_patient() -> None:
    index = rows_of([0, 1] * 5, ["p-secret"] * 10)
    with pytest.raises(SplitError) as caught:
        make_splits(index, seed=0)
    assert "secret" not in str(caught.value)


@FAST
@given(st.integers(0, 500), st.sampled_from([(0.7, 0.15, 0.15), (0.1, 0.1, 0.8), (0.5, 0.5, 0.0)]))
def test_apportion_sums_up_and_is_close(count: int, fractions: tuple[float, ...]) -> None:
    shares = dict(zip(PARTS, fractions, strict=True))
    quota = apportion(count, shares)
    used = [share for share in fractions if share]
    assert sum(quota.values()) == count
    assert min(quota.values()) >= (1 if count >= len(used) else 0)
    if count >= 20:
        assert all(abs(quota[part] - count * shares[part]) < 1 for part in quota)


# --- parts that come with the data ---------------------------------------------------------------


def test_official_parts_are_kept() -> None:
    parts = ["train"] * 12 + ["valid"] * 4 + ["Testing"] * 4
    splits = resolve_splits(rows_of([0, 1] * 10, parts=parts), seed=0)
    assert splits.official
    assert splits.parts == ("train",) * 12 + ("val",) * 4 + ("test",) * 4


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev", " Validation "])
def test_usual_spellings_of_val(word: str) -> None:
    splits = resolve_splits(rows_of([0, 1] * 4, parts=["train"] * 4 + [word] * 4), seed=0)
    assert splits.parts == ("train",) * 4 + ("val",) * 4
    assert any("without a test part" in note for note in splits.notes)


@pytest.mark.parametrize("others", [[], ["test"] * 20])
def test_a_missing_val_is_carved_from_train_by_patient(others: list[str]) -> None:
    patients: list[str | None] = [f"p{n // 2}" for n in range(80 + len(others))]
    labels = [(n // 2) % 2 for n in range(80 + len(others))]
    index = rows_of(labels, patients, ["train"] * 80 + others)
    splits = resolve_splits(index, seed=4, fractions=(0.6, 0.2, 0.2))
    assert splits.official
    assert splits.parts[80:] == tuple(others)
    assert splits.counts() == {"train": 60, "val": 20, "test": len(others)}
    assert all(splits.parts[n] == splits.parts[n + 1] for n in range(0, 80, 2))
    assert any("20 of the 80 training cases" in note for note in splits.notes)


def test_no_test_part_is_carved_out_of_given_parts() -> None:
    index = rows_of([0, 1] * 10, parts=["train"] * 12 + ["val"] * 8)
    assert resolve_splits(index, seed=0).counts() == {"train": 12, "val": 8, "test": 0}


def test_without_any_part_they_are_made() -> None:
    index = rows_of([0, 1] * 20, parts=["", None] * 20)
    assert resolve_splits(index, seed=7) == make_splits(index, seed=7)


def test_rows_that_name_no_part_are_left_out() -> None:
    parts = [*["train"] * 6, *["val"] * 6, None, ""]
    splits = resolve_splits(rows_of([0, 1] * 7, parts=parts), seed=0)
    assert splits.parts[-2:] == ("", "")
    assert "Left out: 2 cases that name no part." in splits.notes


def test_unknown_part_names_are_named() -> None:
    parts = ["train", "val", "tset", "holdout"]
    with pytest.raises(SplitError, match=r"unknown parts 'holdout', 'tset'"):
        resolve_splits(rows_of([0, 1, 0, 1], parts=parts), seed=0)
    with pytest.raises(SplitError, match=r"'tset'; did you mean 'test'\?"):
        resolve_splits(rows_of([0, 1], parts=["train", "tset"]), seed=0)


@pytest.mark.parametrize("parts", [["val", "test"], ["test", "test"]])
def test_no_training_part_is_an_error(parts: list[str]) -> None:
    with pytest.raises(SplitError, match="without a labelled training part"):
        resolve_splits(rows_of([0, 1], parts=parts), seed=0)


def test_class_missing_from_a_given_part() -> None:
    parts = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    splits = resolve_splits(rows_of([0, 1, 0, 1, 0, 1, 1, 1], parts=parts), seed=0)
    assert splits.notes.count("No case of class 0 in test.") == 1
    with pytest.raises(SplitError, match="no case of class 2 in the training part"):
        resolve_splits(rows_of([0, 1, 0, 1, 0, 1, 2, 1], parts=parts), seed=0)
    with pytest.raises(SplitError, match="only one class"):
        resolve_splits(rows_of([0, 0, 0, 0, 0, 1, 1, 1], parts=parts), seed=0)

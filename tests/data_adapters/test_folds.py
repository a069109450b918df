"""Folds: no patient crosses, and balance beside scikit-learn's StratifiedGroupKFold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from data_adapters.adapter import IndexRow
from data_adapters.errors import SplitError
from data_adapters.folds import choose_splits, frozen_splits, make_folds
from data_adapters.splits import (
    make_splits,
    read_splits,
    resolve_splits,
    split_rows,
    write_splits,
)

FAST = settings(max_examples=40, deadline=None, derandomize=True)


def group_rows(seed: int, *, mixed: bool = False, patients: int = 60) -> list[IndexRow]:
    """Patients of 1 to 14 cases; all of one class, or each case of its own."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        own = int(rng.random() < 0.3)
        for case in range(int(rng.integers(1, 15))):
            label = int(rng.random() < 0.3) if mixed else own
            rows.append(IndexRow(f"c{patient}-{case}", patient_id=f"p{patient}", label=label))
    return rows


def imbalance(index: Sequence[IndexRow], numbers: Sequence[int], count: int) -> tuple[float, float]:
    """Largest relative deviation of a fold from its share of the cases, and of a class's cases."""
    labels = np.array([row.label for row in index])
    folds = np.array(numbers)
    cases = max(abs((folds == n).mean() * count - 1) for n in range(count))
    classes = max(
        abs((folds[labels == c] == n).mean() * count - 1)
        for c in set(labels.tolist())
        for n in range(count)
    )
    return float(cases), float(classes)


@FAST
@given(st.integers(0, 10_000), st.integers(2, 7), st.booleans())
def test_every_patient_lies_in_one_fold(seed: int, count: int, mixed: bool) -> None:
    index = group_rows(seed, mixed=mixed)
    folds = make_folds(index, seed=seed, count=count)
    where = defaultdict(set)
    for row, number in zip(index, folds.numbers, strict=True):
        where[row.patient_id].add(number)
    assert all(len(found) == 1 for found in where.values())
    sizes = Counter(next(iter(found)) for found in where.values())
    assert set(sizes) == set(range(count))
    if not mixed:  # patients of several classes need not divide evenly
        assert max(sizes.values()) - min(sizes.values()) <= 2


@pytest.mark.parametrize("mixed", [False, True])
def test_balance_is_at_least_that_of_scikit_learn(mixed: bool) -> None:
    ours, theirs = [], []
    for seed in range(12):
        index = group_rows(seed, mixed=mixed)
        labels = np.array([row.label for row in index])
        groups = np.array([row.patient_id for row in index])
        ours.append(imbalance(index, make_folds(index, seed=seed, count=5).numbers, 5))
        other = np.empty(len(index), int)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for number, (_, held) in enumerate(splitter.split(labels, labels, groups)):
            other[held] = number
        theirs.append(imbalance(index, other.tolist(), 5))
    mine, reference = np.median(ours, axis=0), np.median(theirs, axis=0)
    assert (mine <= reference * 1.25 + 0.01).all()
    assert (mine < [0.05, 0.1]).all()


def test_labels_of_vectors_are_spread_over_the_folds() -> None:
    """Sechidis et al. 2011: label distribution, the mean deviation of the ratio of positives."""
    rng = np.random.default_rng(0)
    rates = np.array([0.02, 0.05, 0.1, 0.3, 0.6, 0.9])
    vectors = (rng.random((600, 6)) < rates).astype(float)
    index = [IndexRow(f"c{n}", labels=tuple(v)) for n, v in enumerate(vectors.tolist())]

    def deviation(numbers: np.ndarray) -> float:
        odds = [vectors[numbers == n].mean(axis=0) for n in range(5)]
        return float(np.abs(np.array(odds) - vectors.mean(axis=0)).mean())

    ours = deviation(np.array(make_folds(index, seed=0, task="multilabel").numbers))
    chance = np.median([deviation(rng.permutation(600) % 5) for _ in range(50)])
    assert ours < 0.25 * chance
    rare = vectors[:, 0].sum()
    numbers = np.array(make_folds(index, seed=0, task="multilabel").numbers)
    found = [vectors[numbers == n, 0].sum() for n in range(5)]
    assert max(found) - min(found) <= 1
    assert sum(found) == rare


def test_pseudonyms_do_not_matter_and_the_seed_does() -> None:
    index = group_rows(1)
    numbers = make_folds(index, seed=1).numbers
    renamed = [
        replace(row, case_id=row.case_id[::-1], patient_id=row.patient_id and row.patient_id[::-1])
        for row in index
    ]
    assert make_folds(renamed, seed=1).numbers == numbers
    assert numbers != make_folds(index, seed=2).numbers


def test_a_round_is_a_split() -> None:
    index = group_rows(2)
    folds = make_folds(index, seed=0, count=4)
    for fold in range(4):
        splits = folds.splits(fold)
        assert splits.rows("val") == folds.rows(fold)
        assert splits.counts()["test"] == 0
        tested = folds.splits(fold, held_out="test")
        assert tested.rows("test") == folds.rows(fold)
        assert tested.rows("val") == folds.rows((fold + 1) % 4)
        assert len(tested.rows("train")) + len(tested.rows("val")) + len(
            tested.rows("test")
        ) == len(index)
        assert f"Fold {fold} of 4 is held out as test." in tested.notes
    held = [row for fold in range(4) for row in folds.rows(fold)]
    assert sorted(held) == list(range(len(index)))


def test_an_official_test_part_is_kept_apart() -> None:
    index = [
        replace(row, part="test" if int(row.patient_id[1:]) % 4 == 0 else "train")  # type: ignore[index]
        for row in group_rows(3)
    ]
    folds = make_folds(index, seed=0, count=3)
    test = tuple(n for n, row in enumerate(index) if row.part == "test")
    assert folds.test == test
    assert all(folds.numbers[n] == -1 for n in test)
    splits = folds.splits(1)
    assert tuple(splits.rows("test")) == test
    assert splits.official
    with pytest.raises(SplitError, match="come with a test part"):
        folds.splits(1, held_out="test")


def test_one_site_is_left_out_at_a_time() -> None:
    index = [replace(row, site=f"h{n % 4}") for n, row in enumerate(group_rows(4, mixed=True))]
    index = [replace(row, patient_id=None) for row in index]
    folds = make_folds(index, seed=0, count=None, by="site")
    assert folds.count == 4
    for fold in range(4):
        assert len({index[row].site for row in folds.rows(fold)}) == 1
    pooled = make_folds(index, seed=0, count=2, by="site")
    assert all(len({index[r].site for r in pooled.rows(fold)}) == 2 for fold in range(2))


def test_segmentation_needs_no_labels() -> None:
    index = [replace(row, label=None) for row in group_rows(5)]
    folds = make_folds(index, seed=0, task="segmentation")
    assert -1 not in folds.numbers
    assert imbalance([replace(row, label=0) for row in index], folds.numbers, 5)[0] < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "takes 2 or more"),
        ({"count": None}, "give the number of folds"),
        ({"count": 61}, "61 folds need 61 patients at least, and there are 60"),
        ({"by": "date"}, "tested on their past"),
        ({"by": "site"}, "no case names one"),
        ({"by": "hospital"}, "cannot split by 'hospital'"),
    ],
)
def test_what_no_folds_can_be_made_of(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_folds(group_rows(6), seed=0, **options)


def test_a_class_that_a_round_would_lack_is_an_error() -> None:
    index = [IndexRow(f"c{n}", label=n % 2 if n else 2) for n in range(10)]
    with pytest.raises(SplitError, match="no case of class 2 in the training part"):
        make_folds(index, seed=0, count=5)


def test_rounds_that_are_none() -> None:
    folds = make_folds(group_rows(7), seed=0, count=2)
    with pytest.raises(SplitError, match="no fold 2"):
        folds.splits(2)
    with pytest.raises(SplitError, match="not as 'train'"):
        folds.splits(0, held_out="train")
    with pytest.raises(SplitError, match="takes 3 folds"):
        folds.splits(0, held_out="test")


def test_a_run_chooses_a_split_or_a_round() -> None:
    index = [replace(row, site=f"h{row.patient_id}"[:3]) for row in group_rows(1)]
    assert choose_splits(index, seed=3) == resolve_splits(index, seed=3)
    folds = make_folds(index, seed=3, count=4)
    assert choose_splits(index, seed=3, folds=4, fold=2) == folds.splits(2, held_out="test")
    two = choose_splits(index, seed=3, folds=2, fold=1)
    assert two.counts()["test"] == 0
    sites = choose_splits(index, seed=3, folds="sites")
    assert sites.by == "site"
    assert len({index[row].site for row in sites.rows("test")}) == 1
    given = [replace(row, part="test" if n < 40 else None) for n, row in enumerate(index)]
    given = [replace(r, part="test") if r.patient_id == given[39].patient_id else r for r in given]
    official = choose_splits(given, seed=3, folds=3)
    assert {given[row].part for row in official.rows("test")} == {"test"}
    assert official.rows("val")


# --- frozen ---------------------------------------------------------------------------------------


def test_a_frozen_table_gives_the_same_parts_and_folds_back(tmp_path: Path) -> None:
    index = [replace(r, study_id=f"s{n}", series_id=f"e{n}") for n, r in enumerate(group_rows(8))]
    folds = make_folds(index, seed=0)
    splits = folds.splits(2, held_out="test")
    rows = split_rows(index, splits)
    write_splits(tmp_path / "splits.csv", rows)
    back = read_splits(tmp_path / "splits.csv")
    assert back == rows
    assert [int(row.fold) for row in back] == list(folds.numbers)
    assert (back[3].study, back[3].series) == ("s3", "e3")
    shuffled = index[::-1]
    frozen = frozen_splits(shuffled, back)
    assert frozen.parts == splits.parts[::-1]
    assert frozen.official


def test_a_table_without_the_later_columns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("case_id,patient,label,part,pixel_sha256,note\nc1,p1,0,train,,\n")
    assert (read_splits(path)[0].study, read_splits(path)[0].fold) == ("", "")
    path.write_text("case_id,patient,label,part,fold,pixel_sha256,note\nc1,p1,0,train,x,,\n")
    with pytest.raises(SplitError, match="row 2: fold 'x' is no whole number"):
        read_splits(path)


def test_a_frozen_table_of_other_data_is_refused() -> None:
    index = group_rows(9)
    rows = split_rows(index, make_splits(index, seed=0))
    with pytest.raises(SplitError, match="1 cases of the data are not in it and 0"):
        frozen_splits([*index, IndexRow("new")], rows)
    with pytest.raises(SplitError, match="0 cases of the data are not in it and 1"):
        frozen_splits(index[1:], rows)
    with pytest.raises(SplitError, match="another patient"):
        frozen_splits([replace(index[0], patient_id="p-other"), *index[1:]], rows)
    with pytest.raises(SplitError, match="no training or no validation"):
        frozen_splits(index, [replace(row, part="test") for row in rows])

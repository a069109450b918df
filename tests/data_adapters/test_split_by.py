"""Splits by site and by date, and those of tasks without labels."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import SplitError
from data_adapters.split_by import deal_by_site
from data_adapters.splits import make_splits, resolve_splits
from data_adapters.stratify import apportion

FAST = settings(max_examples=60, deadline=None, derandomize=True)
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def cohort(seed: int, patients: int = 60, sites: int = 6, **changes: Any) -> list[IndexRow]:
    """Patients of one to four dated studies; few are seen at a second site."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        home = int(rng.integers(sites))
        for study in range(int(rng.integers(1, 5))):
            day = np.datetime64("2015-01-01") + int(rng.integers(0, 2000))
            rows.append(
                IndexRow(
                    f"c{patient:03d}-{study}",
                    patient_id=f"p{patient}",
                    study_id=f"s{patient}-{study}",
                    label=int(rng.random() < 0.4),
                    site=f"site {home}",
                    date=str(day),
                )
            )
    return [replace(row, **changes) for row in rows] if changes else rows


def together(index: Sequence[IndexRow], parts: Sequence[str], *names: str) -> bool:
    """Whether no value of these fields lies in two parts."""
    for name in names:
        where = defaultdict(set)
        for row, part in zip(index, parts, strict=True):
            if getattr(row, name) is not None and part:
                where[getattr(row, name)].add(part)
        if any(len(found) > 1 for found in where.values()):
            return False
    return True


# --- by patient: nothing crosses, whatever the ids look like --------------------------------------


@FAST
@given(st.integers(0, 10_000), st.data())
def test_no_patient_study_or_series_crosses(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    ids = [None, *range(40)]
    index = [
        IndexRow(
            f"c{n}",
            patient_id=None if (p := ids[rng.integers(41)]) is None else f"p{p}",
            study_id=None if rng.random() < 0.2 else f"s{rng.integers(60)}",
            series_id=None if rng.random() < 0.2 else f"e{rng.integers(90)}",
            label=int(n % 2),
            site=f"h{rng.integers(3)}" if rng.random() < 0.9 else None,
            date=f"{2000 + rng.integers(20)}-01-01",
        )
        for n in range(int(rng.integers(4, 60)))
    ]
    for by in ("patient", "site", "date"):
        try:
            splits = make_splits(index, seed=seed, by=by)
        except SplitError:
            continue
        assert together(index, splits.parts, "patient_id", "study_id", "series_id")
        if by != "patient":
            assert set(splits.parts) - {""} == set(PARTS)
        if by == "site":
            assert together(index, splits.parts, "site")


# --- by date --------------------------------------------------------------------------------------


@FAST
@given(st.integers(0, 10_000))
def test_by_date_training_ends_before_the_test_begins(seed: int) -> None:
    index = cohort(seed)
    splits = make_splits(index, seed=seed, by="date")
    assert splits.by == "date"
    assert together(index, splits.parts, "patient_id")
    latest: dict[str, str] = {}
    for row in index:
        latest[row.patient_id or ""] = max(latest.get(row.patient_id or "", ""), row.date or "")
    ends = {part: [latest[index[r].patient_id or ""] for r in splits.rows(part)] for part in PARTS}
    assert max(ends["train"]) < min(ends["val"])
    assert max(ends["val"]) < min(ends["test"])
    assert max(index[r].date or "" for r in splits.rows("train")) < min(ends["val"])
    wanted = apportion(60, SHARES)
    for part in PARTS:
        found = len({index[r].patient_id for r in splits.rows(part)})
        assert abs(found - wanted[part]) <= 2
    straddling = {
        row.patient_id
        for row, part in zip(index, splits.parts, strict=True)
        for before in PARTS[: PARTS.index(part)]
        if (row.date or "") <= max(ends[before])
    }
    noted = [note for note in splits.notes if "both sides of a cut" in note]
    assert [note.split()[0] for note in noted] == ([f"{len(straddling)}"] if straddling else [])


def test_by_date_does_not_depend_on_the_order_and_says_no_date() -> None:
    index = cohort(1)
    shuffled = list(index)
    random.Random(0).shuffle(shuffled)
    splits = make_splits(index, seed=3, by="date")
    other = make_splits(shuffled, seed=3, by="date")
    where = dict(zip((row.case_id for row in shuffled), other.parts, strict=True))
    assert [where[row.case_id] for row in index] == list(splits.parts)
    assert not any(row.date and row.date in note for row in index for note in splits.notes)


def test_cuts_lie_between_days() -> None:
    days = ["2020-01-01"] * 8 + ["2020-01-02"] * 1 + ["2020-01-03"] * 11
    index = [IndexRow(f"c{n:02d}", label=n % 2, date=day) for n, day in enumerate(days)]
    splits = make_splits(index, seed=0, by="date", fractions=(0.6, 0.2, 0.2))
    assert splits.counts() == {"train": 8, "val": 1, "test": 11}
    two = make_splits(index, seed=0, by="date", fractions=(0.8, 0.2, 0.0))
    assert two.counts() == {"train": 9, "val": 11, "test": 0}
    with pytest.raises(SplitError, match="3 days at least, and there are 2"):
        make_splits(index[7:9] * 1 + index[:5], seed=0, by="date")


def test_dates_that_are_none() -> None:
    index = cohort(2)
    with pytest.raises(SplitError, match=r"no case has one.*data.columns.date=COLUMN"):
        make_splits([replace(row, date=None) for row in index], seed=0, by="date")
    with pytest.raises(SplitError, match="no day of the form YYYY-MM-DD") as caught:
        make_splits([replace(index[0], date="1.5.2020"), *index[1:]], seed=0, by="date")
    assert "1.5.2020" not in str(caught.value)
    some = [replace(row, date=None if n % 5 == 0 else row.date) for n, row in enumerate(index)]
    splits = make_splits(some, seed=0, by="date")
    assert all(
        (part == "") == (row.date is None) for row, part in zip(some, splits.parts, strict=True)
    )
    assert any("have no date" in note for note in splits.notes)


# --- by site --------------------------------------------------------------------------------------


@settings(FAST, max_examples=15)
@given(st.integers(0, 10_000), st.integers(3, 14))
def test_by_site_whole_sites_near_the_fractions(seed: int, sites: int) -> None:
    index = cohort(seed, patients=20 * sites, sites=sites)
    splits = make_splits(index, seed=seed, by="site")
    assert together(index, splits.parts, "site", "patient_id")
    assert set(splits.parts) == set(PARTS)
    shares = [splits.counts()[part] / len(index) for part in PARTS]
    largest = max(sum(row.site == f"site {s}" for row in index) for s in range(sites)) / len(index)
    for got, wanted in zip(shares, SHARES.values(), strict=True):
        assert abs(got - wanted) <= largest + 0.05


def test_few_sites_are_dealt_the_best_way() -> None:
    sizes = {f"s{n}": size for n, size in enumerate((50, 20, 14, 8, 5, 3))}
    labels = {site: {0: size // 2} for site, size in sizes.items()}
    dealt = deal_by_site(sizes, labels, shares=SHARES, seed=0)
    got = {part: sum(sizes[s] for s in sizes if dealt[s] == part) for part in PARTS}
    assert got == {"train": 70, "val": 15, "test": 15} or got == {
        "train": 70,
        "val": 16,
        "test": 14,
    }


def test_drawn_ways_come_near_the_best_one() -> None:
    rng = np.random.default_rng(0)
    sizes = {f"s{n}": int(rng.integers(5, 60)) for n in range(30)}
    labels = {site: {0: int(rng.binomial(size, 0.3))} for site, size in sizes.items()}
    dealt = deal_by_site(sizes, labels, shares=SHARES, seed=1)
    for counts in (sizes, {site: found[0] for site, found in labels.items()}):
        total = sum(counts.values())
        for part, share in SHARES.items():
            got = sum(counts[s] for s in sizes if dealt[s] == part) / total
            assert abs(got - share) < 0.02


def test_patients_of_two_sites_tie_them() -> None:
    index = cohort(5, patients=80, sites=5)
    index.append(replace(index[0], case_id="cx", study_id="sx", site="site 3"))
    index[0] = replace(index[0], site="site 1")
    splits = make_splits(index, seed=0, by="site")
    where = {row.site: part for row, part in zip(index, splits.parts, strict=True)}
    assert where["site 1"] == where["site 3"]


def test_sites_that_are_none_or_too_few() -> None:
    index = cohort(2)
    with pytest.raises(SplitError, match=r"no case names one.*site='COLUMN'"):
        make_splits([replace(row, site=None) for row in index], seed=0, by="site")
    two = [row for row in index if row.site in ("site 0", "site 1")]
    with pytest.raises(SplitError, match="3 sites at least, and there are 2"):
        make_splits(two, seed=0, by="site")
    assert make_splits(two, seed=0, by="site", fractions=(0.5, 0.5, 0)).counts()["val"] > 0
    with pytest.raises(SplitError, match=r"'sites'; did you mean 'site'\?"):
        make_splits(index, seed=0, by="sites")


def test_given_parts_give_way_to_a_split_by_site() -> None:
    index = cohort(3, part="train")
    splits = resolve_splits(index, seed=0, by="site")
    assert not splits.official
    assert "give way to the split by site" in splits.notes[0]
    assert splits.parts == make_splits(index, seed=0, by="site").parts


# --- segmentation and detection ------------------------------------------------------------------


@pytest.mark.parametrize("task", ["segmentation", "detection", "unlabelled"])
def test_rows_without_labels_are_dealt_for_other_tasks(task: Any) -> None:
    index = cohort(4, label=None)
    splits = make_splits(index, seed=0, task=task, class_names=("background", "liver"))
    assert "" not in splits.parts
    assert together(index, splits.parts, "patient_id")
    counts = {part: len({index[r].patient_id for r in splits.rows(part)}) for part in PARTS}
    assert counts == apportion(60, SHARES)
    official = resolve_splits(cohort(4, label=None, part="train"), seed=0, task=task)
    assert official.counts()["val"] > 0


def test_classes_that_the_index_knows_are_spread() -> None:
    index = [IndexRow(f"c{n}", labels=(1.0, float(n < 9))) for n in range(60)]
    splits = make_splits(index, seed=0, task="segmentation")
    shown = [sum(index[r].labels[1] for r in splits.rows(part)) for part in PARTS]  # type: ignore[index]
    assert shown == list(apportion(9, SHARES).values())

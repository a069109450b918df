"""The leakage gate: what it finds, what it drops, what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.adapter import IndexRow
from data_adapters.errors import DataError, LeakageError, SplitError
from data_adapters.hashing import fingerprint, orient
from data_adapters.leakage import POLICIES, LeakageResult, check_leakage, seen
from data_adapters.splits import Splits, resolve_splits, split_rows

NAN = math.nan
FAST = settings(max_examples=50, deadline=None, derandomize=True)


def picture(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0, 255, (12, 12))
    larger = cv2.resize(values, (64, 64), interpolation=cv2.INTER_CUBIC)
    return np.clip(larger, 0, 255).astype(np.uint8)[..., np.newaxis]


def disguised(image: np.ndarray, transform: int = 5) -> np.ndarray:
    """A larger, paler, mirrored and turned copy."""
    larger = np.asarray(cv2.resize(image[..., 0], (90, 90), interpolation=cv2.INTER_CUBIC))
    return np.asarray(orient(larger * 0.8 + 10, transform))[..., np.newaxis].astype(np.uint8)


class Data:
    """Labelled pictures with parts, to be changed by a test and then checked."""

    def __init__(self, parts: str, labels: Sequence[int] | None = None) -> None:
        names = {"t": "train", "v": "val", "e": "test", ".": ""}
        self.parts = [names[letter] for letter in parts]
        given = labels if labels is not None else [n % 2 for n in range(len(parts))]
        self.index = [
            IndexRow(case_id=f"c{n:03d}", patient_id=f"p{n:03d}", label=label)
            for n, label in enumerate(given)
        ]
        self.images: list[np.ndarray] = [picture(n) for n in range(len(parts))]

    def same_patient(self, *rows: int) -> Data:
        for row in rows:
            self.index[row] = replace(self.index[row], patient_id="p-secret")
        return self

    def check(self, policy: str = "stop", **options: Any) -> LeakageResult:
        prints = [fingerprint(image) for image in self.images]
        return check_leakage(
            self.index,
            Splits(tuple(self.parts), "patient", official=True),
            [p.sha256 for p in prints],
            np.stack([p.phash for p in prints]),
            np.stack([p.thumb for p in prints]),
            policy=policy,
            **options,
        )


def letters(result: LeakageResult) -> str:
    return "".join({"train": "t", "val": "v", "test": "e", "": "."}[p] for p in result.splits.parts)


@pytest.mark.parametrize("policy", POLICIES)
def test_clean_data_pass_unchanged(policy: str) -> None:
    result = Data("ttttvvvvee").check(policy)
    assert letters(result) == "ttttvvvvee"
    assert (result.exact, result.near, result.patients, result.dropped) == ((), (), (), ())
    assert (result.notes, result.marked, result.policy) == ((), False, policy)


# --- patients ------------------------------------------------------------------------------------


def test_a_patient_on_two_sides_stops() -> None:
    data = Data("ttttttvvvveeee").same_patient(0, 1, 6, 10)
    with pytest.raises(LeakageError) as caught:
        data.check("stop")
    message = str(caught.value)
    assert message.startswith("1 patient is in more than one part (train, val, test)")
    assert "c000, c001, c006, c010" in message
    assert "--leakage drop" in message
    assert "secret" not in message


def test_the_stop_message_shows_at_most_five_cases() -> None:
    data = Data("tttttttttvvvvvvvvv").same_patient(*range(1, 8), 12)
    with pytest.raises(LeakageError) as caught:
        data.check()
    assert str(caught.value).count("c00") == 5


@pytest.mark.parametrize("policy", ["drop", "strict"])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((0, 6), "." + "tttttvvvveeee"),
        ((0, 10), "." + "tttttvvvveeee"),
        ((6, 7, 10), "tttttt..vveeee"),
        ((0, 1, 6, 10), "..tttt.vvveeee"),
    ],
)
def test_a_patient_is_dropped_from_the_training_side(
    policy: str, rows: tuple[int, ...], expected: str
) -> None:
    result = Data("ttttttvvvveeee").same_patient(*rows).check(policy)
    assert letters(result) == expected
    assert len(result.patients) == 1
    assert [drop.case_id for drop in result.dropped] == [
        f"c{n:03d}" for n, letter in enumerate(expected) if letter == "."
    ]
    assert not result.marked


def test_allow_keeps_the_patient_and_marks() -> None:
    result = Data("ttttttvvvv").same_patient(0, 6).check("allow")
    assert letters(result) == "ttttttvvvv"
    assert result.marked
    assert result.patients[0].cases == {"train": ("c000",), "val": ("c006",)}
    assert any("ALLOWED" in note for note in result.notes)
    assert result.splits.notes == result.notes


def test_unknown_patients_and_unused_rows_are_no_leak() -> None:
    data = Data("tttt.vvvv").same_patient(0, 4)
    for row in (1, 6):
        data.index[row] = replace(data.index[row], patient_id=None)
    assert data.check("stop").patients == ()


# --- identical pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["stop", "drop", "strict"])
def test_exact_copies_across_parts_leave_the_training_side(policy: str) -> None:
    data = Data("ttttttvvvveeee")
    data.images[6] = data.images[0]
    data.images[7] = data.images[11] = data.images[1]
    data.images[3] = data.images[2]
    result = data.check(policy)
    assert letters(result) == "..ttttv.vveeee"
    assert {group.case_ids for group in result.exact} == {
        ("c000", "c006"),
        ("c001", "c007", "c011"),
        ("c002", "c003"),
    }
    assert [group.across for group in result.exact] == [True, True, False]
    assert [(drop.case_id, drop.part, drop.kept) for drop in result.dropped] == [
        ("c000", "train", "c006"),
        ("c001", "train", "c011"),
        ("c007", "val", "c011"),
    ]
    assert result.near == ()
    assert "2 pictures with identical copies in more than one part." in result.notes
    assert "1 picture with identical copies inside one part (kept)." in result.notes


def test_the_reason_reaches_splits_csv() -> None:
    data = Data("ttttvvvv")
    data.images[5] = data.images[0]
    result = data.check()
    rows = split_rows(data.index, result.splits, notes=result.case_notes())
    assert rows[0].part == ""
    assert rows[0].note == "dropped from train: the same pixels are in val (c005)"
    assert rows[1].note == ""


def test_allow_keeps_exact_copies_and_marks_only_across_parts() -> None:
    data = Data("ttttvvvv")
    data.images[1] = data.images[0]
    assert not data.check("allow").marked
    data.images[5] = data.images[0]
    result = data.check("allow")
    assert letters(result) == "ttttvvvv"
    assert result.marked
    assert result.near == ()


def test_conflicting_labels_of_one_picture_are_recorded() -> None:
    data = Data("ttttttvvvv")
    data.images[1] = data.images[0]
    data.images[4] = data.images[2]
    result = data.check()
    assert [group.case_ids for group in result.conflicts] == [("c000", "c001")]
    assert any("different labels" in note for note in result.notes)


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [((1.0, NAN), (1.0, 0.0), False), ((1.0, NAN), (0.0, NAN), True)],
)
def test_unknown_labels_conflict_with_nothing(
    first: tuple[float, ...], second: tuple[float, ...], conflict: bool
) -> None:
    data = Data("ttttvvvv")
    vectors = [first, second, *[(float(n % 2), float(n % 2)) for n in range(6)]]
    data.index = [
        IndexRow(case_id=row.case_id, labels=vector)
        for row, vector in zip(data.index, vectors, strict=True)
    ]
    data.images[1] = data.images[0]
    assert bool(data.check().conflicts) is conflict


def test_cases_without_pixels_are_not_compared() -> None:
    data = Data("ttttvvvv")
    prints = [fingerprint(image) for image in data.images]
    digests = ["" if n in (0, 5) else p.sha256 for n, p in enumerate(prints)]
    thumbs = np.stack([p.thumb for p in prints])
    phash = np.stack([p.phash for p in prints])
    thumbs[5], phash[5] = thumbs[0], phash[0]
    splits = Splits(tuple(data.parts), "patient", official=True)
    result = check_leakage(data.index, splits, digests, phash, thumbs, policy="strict")
    assert result.exact == ()
    assert result.near == ()
    assert result.splits.parts == splits.parts


# --- near duplicates -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_near_duplicates_are_listed_and_strict_drops_them(policy: str) -> None:
    data = Data("ttttttvvvveeee")
    data.images[6] = disguised(data.images[0])
    data.images[3] = disguised(data.images[2])
    result = data.check(policy)
    assert letters(result) == ("." if policy == "strict" else "t") + "tttttvvvveeee"
    assert len(result.near) == 1
    pair = result.near[0]
    assert (pair.case_ids, pair.parts) == (("c000", "c006"), ("train", "val"))
    assert pair.transform == "mirrored, turned by 90°"
    assert pair.correlation > 0.98
    assert pair.conflict is False
    assert result.near_within == 1
    assert not result.marked


def test_strict_drops_no_more_than_needed() -> None:
    """train ~ val ~ test: once val has gone, train has no partner left unless test is one."""
    data = Data("ttttvvvveeee")
    data.images[4] = disguised(data.images[0], 0)
    data.images[8] = disguised(data.images[4], 1)
    prints = [fingerprint(image) for image in data.images]
    everything = data.check("strict")
    assert len(everything.near) == 3
    assert letters(everything) == ".ttt.vvveeee"
    assert [drop.reason for drop in everything.dropped] == ["nearly the same is in test"] * 2
    assert len({p.sha256 for p in prints}) == 12


def test_near_duplicates_of_one_patient_are_expected_within_a_part() -> None:
    data = Data("ttttvvvv").same_patient(0, 1)
    data.images[1] = disguised(data.images[0])
    assert data.check().near_within == 0


# --- limits --------------------------------------------------------------------------------------


def test_dropping_may_not_empty_a_class() -> None:
    data = Data("ttttvvvv", [0, 0, 0, 1, 0, 1, 0, 1])
    data.images[5] = data.images[3]
    with pytest.raises(SplitError, match=r"leaves train without any case of class 'ill'"):
        data.check(class_names=("well", "ill"))
    assert letters(data.check("allow")) == "ttttvvvv"


def test_dropping_may_not_empty_val() -> None:
    data = Data("ttttvvee", [0, 1, 0, 1, 0, 1, 0, 1])
    data.images[4], data.images[5] = data.images[6], data.images[7]
    with pytest.raises(SplitError, match="leaves val without any case of class 0, case of class 1"):
        data.check()


def test_labels_of_a_vector_may_vanish_from_val_but_not_from_train() -> None:
    def data(parts: str, copies: tuple[int, int]) -> Data:
        made = Data(parts)
        rare = {min(copies), max(copies)}
        made.index = [
            IndexRow(case_id=f"c{n:03d}", labels=(float(n % 2), float(n in rare)))
            for n in range(len(parts))
        ]
        made.images[copies[0]] = made.images[copies[1]]
        return made

    with pytest.raises(SplitError, match="leaves train without any positive case of label 1"):
        data("ttttvvvv", (0, 4)).check()
    result = data("ttttvvvveeee", (4, 8)).check()
    assert letters(result) == "tttt.vvveeee"
    assert "Dropping left val without any positive case of label 1." in result.notes


def test_unknown_policy_and_unequal_lengths() -> None:
    data = Data("ttvv")
    with pytest.raises(DataError, match=r"'strickt'; did you mean 'strict'\?"):
        data.check("strickt")
    data.parts.append("val")
    with pytest.raises(DataError, match="different lengths"):
        data.check()


@pytest.mark.parametrize("policy", ["drop", "strict", "allow"])
def test_result_is_json_without_patients(policy: str) -> None:
    data = Data("ttttttvvvveeee").same_patient(0, 6)
    data.images[7] = data.images[1]
    data.images[8] = disguised(data.images[2])
    text = json.dumps(data.check(policy).to_dict(), allow_nan=False)
    assert "secret" not in text
    back = json.loads(text)
    assert back["policy"] == policy
    assert back["counts"]["test"] == 4
    assert back["patients"] == [{"train": ["c000"], "val": ["c006"]}]
    assert {"exact", "conflicts", "near", "near_within", "dropped", "notes", "marked"} <= set(back)


def test_seen_marks_trained_pixels_only() -> None:
    mask = seen(["a", "", "b", "c"], {"a", "c", ""})
    assert mask.dtype == bool
    assert mask.tolist() == [True, False, False, True]
    assert seen([], {"a"}).shape == (0,)


# --- the promise as a property -------------------------------------------------------------------

PRINTS = [fingerprint(picture(seed)) for seed in range(11)]


@FAST
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "val", "test", ""]),
            st.integers(0, 7),
            st.none() | st.integers(0, 9),
        ),
        max_size=24,
    ),
    st.sampled_from(["drop", "strict"]),
)
def test_after_dropping_nothing_is_shared(
    cases: list[tuple[str, int, int | None]], policy: str
) -> None:
    cases = [*cases, ("train", 8, None), ("val", 9, None), ("test", 10, None)]
    index = [
        IndexRow(case_id=f"c{n}", patient_id=None if who is None else f"p{who}", label=0)
        for n, (_, _, who) in enumerate(cases)
    ]
    splits = Splits(tuple(part for part, _, _ in cases), "image", official=True)
    prints = [PRINTS[content] for _, content, _ in cases]
    phash, thumbs = np.stack([p.phash for p in prints]), np.stack([p.thumb for p in prints])
    digests = [p.sha256 for p in prints]
    result = check_leakage(index, splits, digests, phash, thumbs, policy=policy)
    kept = [(part, digests[n], index[n].patient_id) for n, part in enumerate(result.splits.parts)]
    for key in (1, 2):
        owner: dict[Any, set[str]] = {}
        for case in kept:
            if case[0] and case[key] is not None:
                owner.setdefault(case[key], set()).add(case[0])
        assert all(len(parts) == 1 for parts in owner.values())
    changed = {n for n, part in enumerate(splits.parts) if part != result.splits.parts[n]}
    assert {drop.case_id for drop in result.dropped} == {f"c{n}" for n in changed}
    assert not any(splits.parts[n] == "test" for n in changed)


def test_pneumoniamnist_shares_eight_pictures(radzoo_data: Path) -> None:
    with np.load(radzoo_data / "medmnist" / "pneumoniamnist.npz") as npz:
        images = [*npz["train_images"][:, ..., None], *npz["val_images"][..., None]]
        labels = [*npz["train_labels"][:, 0], *npz["val_labels"][:, 0]]
        count = len(npz["train_images"])
    index = [
        IndexRow(case_id=f"c{n}", label=int(label), part="train" if n < count else "val")
        for n, label in enumerate(labels)
    ]
    prints = [fingerprint(image) for image in images]
    result = check_leakage(
        index,
        resolve_splits(index, seed=0),
        [p.sha256 for p in prints],
        np.stack([p.phash for p in prints]),
        np.stack([p.thumb for p in prints]),
    )
    assert sum(group.across for group in result.exact) == 8
    assert result.splits.counts()["val"] == 524
    assert {drop.part for drop in result.dropped} == {"train"}
    assert (result.near, result.near_within) == ((), 0)
    assert result.splits.unit == "image"

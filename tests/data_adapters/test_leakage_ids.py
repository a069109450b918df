"""The leakage gate on studies and series, and against further training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import DataError, LeakageError
from data_adapters.hashing import fingerprint
from data_adapters.leakage import LeakageResult, OtherData, check_leakage, check_patients
from data_adapters.splits import Splits
from tests.data_adapters.test_leakage import Data, disguised, letters, picture

FAST = settings(max_examples=80, deadline=None, derandomize=True)


def ids(parts: str, **columns: dict[int, str]) -> tuple[list[IndexRow], Splits]:
    """Rows of own patients, some given a shared study or series, and their parts."""
    index = [IndexRow(f"c{n:03d}", patient_id=f"p{n}", label=n % 2) for n in range(len(parts))]
    for column, values in columns.items():
        for row, value in values.items():
            index[row] = replace(index[row], **{column: value})  # type: ignore[arg-type]
    names = {"t": "train", "v": "val", "e": "test", ".": ""}
    return index, Splits(tuple(names[letter] for letter in parts), "patient", official=True)


# --- studies and series ---------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "word"), [("study_id", "1 study"), ("series_id", "1 series")])
def test_a_study_under_two_patients_stops(column: str, word: str) -> None:
    index, splits = ids("ttttvvvvee", **{column: {1: "x-secret", 5: "x-secret"}})
    with pytest.raises(
        LeakageError, match=f"{word} is in more than one part \\(train, val\\)"
    ) as e:
        check_patients(index, splits)
    assert "c001, c005" in str(e.value)
    assert "secret" not in str(e.value)
    result = check_patients(index, splits, policy="drop")
    assert letters(result) == "t.ttvvvvee"
    assert result.dropped[0].reason == "the same study or series is in val"
    assert (len(result.studies), len(result.series)) == ((1, 0) if "study" in word else (0, 1))
    marked = check_patients(index, splits, policy="allow")
    assert marked.marked
    assert any("in more than one part under different patients" in n for n in marked.notes)


def test_a_study_of_one_torn_patient_is_counted_once() -> None:
    index, splits = ids("ttttvvvvee", patient_id={1: "p", 5: "p"}, study_id={1: "s", 5: "s"})
    result = check_patients(index, splits, policy="drop")
    assert (len(result.patients), result.studies, result.series) == (1, (), ())
    assert result.dropped[0].reason == "the same patient is in val"


def test_a_chain_through_a_study_goes_as_a_whole() -> None:
    """c000 and c001 are one patient, c001 and c006 one study: c000 may be c006's patient too."""
    index, splits = ids("ttttvvvvee", patient_id={0: "p", 1: "p"}, study_id={1: "s", 6: "s"})
    assert letters(check_patients(index, splits, policy="drop")) == "..ttvvvvee"


def test_a_study_that_everybody_has_is_no_leak() -> None:
    index, splits = ids("ttttvvvvee", study_id=dict.fromkeys(range(10), "same"))
    assert check_patients(index, splits).studies == ()


@FAST
@given(
    st.lists(st.tuples(st.sampled_from(PARTS), *[st.none() | st.integers(0, 9)] * 3), max_size=20)
)
def test_after_dropping_no_id_is_shared(cases: list[tuple[str, Any, Any, Any]]) -> None:
    anchors: list[tuple[str, Any, Any, Any]] = [(part, n, n, n) for n, part in enumerate(PARTS, 90)]
    index = [
        IndexRow(f"c{n}", *(None if v is None else f"p{v}" for v in row[1:2]), label=0)
        for n, row in enumerate([*cases, *anchors])
    ]
    index = [
        replace(
            entry,
            study_id=None if row[2] is None else f"s{row[2]}",
            series_id=None if row[3] is None else f"e{row[3]}",
        )
        for entry, row in zip(index, [*cases, *anchors], strict=True)
    ]
    splits = Splits(tuple(row[0] for row in [*cases, *anchors]), "image", official=True)
    result = check_patients(index, splits, policy="drop")
    for name in ("patient_id", "study_id", "series_id"):
        where: dict[str, set[str]] = {}
        for entry, part in zip(index, result.splits.parts, strict=True):
            if getattr(entry, name) and part:
                where.setdefault(getattr(entry, name), set()).add(part)
        assert all(len(found) == 1 for found in where.values())
    leaking = any(b != a for a, b in zip(splits.parts, result.splits.parts, strict=True))
    if leaking:
        with pytest.raises(LeakageError):
            check_patients(index, splits)
    else:
        assert check_patients(index, splits).splits.parts == splits.parts


# --- further training data ------------------------------------------------------------------------


def other(images: Sequence[np.ndarray], index: Sequence[IndexRow], **options: Any) -> OtherData:
    prints = [fingerprint(image) for image in images]
    return OtherData(
        "pretraining",
        index,
        [p.sha256 for p in prints],
        np.stack([p.phash for p in prints]),
        np.stack([p.thumb for p in prints]),
        **options,
    )


def unlabelled(**changes: Any) -> tuple[Data, OtherData]:
    """Ten cases, and six unlabelled ones that share nothing with them but what is changed."""
    data = Data("ttttvvvvee")
    index = [IndexRow(f"u{n}", patient_id=f"q{n}") for n in range(6)]
    images = [picture(100 + n) for n in range(6)]
    for row, (what, value) in changes.pop("rows", {}).items():
        if what == "image":
            images[row] = value
        else:
            index[row] = replace(index[row], **{what: value})
    return data, other(images, index, **changes)


def run(data: Data, further: OtherData, policy: str) -> LeakageResult:
    return data.check(policy, others=[further])


def test_clean_further_data_pass() -> None:
    data, further = unlabelled()
    result = run(data, further, "stop")
    assert (result.others, result.left_out, result.notes) == ((), {}, ())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (("patient_id", "p005"), "patient"),
        (("study_id", "s-secret"), "study"),
        (("series_id", "e-secret"), "series"),
        (("image", picture(5)), "pixels"),
    ],
)
def test_val_and_test_in_further_data(change: tuple[str, Any], kind: str) -> None:
    data, further = unlabelled(rows={2: change})
    data.index[5] = replace(data.index[5], study_id="s-secret", series_id="e-secret")
    with pytest.raises(LeakageError, match=r"1 of 'pretraining'.*as val, so") as caught:
        run(data, further, "stop")
    assert "secret" not in str(caught.value)
    result = run(data, further, "drop")
    assert [(leak.kind, leak.cases, leak.others) for leak in result.others] == [
        (kind, {"val": ("c005",)}, ("u2",))
    ]
    assert result.left_out == {"pretraining": ("u2",)}
    assert letters(result) == "ttttvvvvee"
    assert "1 case of further training data seen in val or test." in result.notes
    assert run(data, further, "allow").marked


def test_near_copies_are_listed_and_strict_leaves_them_out() -> None:
    data, further = unlabelled(rows={3: ("image", disguised(picture(8)))})
    for policy, left_out in (("stop", {}), ("drop", {}), ("strict", {"pretraining": ("u3",)})):
        result = run(data, further, policy)
        assert [(leak.kind, leak.cases) for leak in result.others] == [
            ("near", {"test": ("c008",)})
        ]
        assert result.left_out == left_out
        assert not result.marked
    assert "secret" not in str(result.to_dict())
    assert result.to_dict()["others"][0]["others"] == ("u3",)


def test_what_is_trained_on_anyway_is_no_leak() -> None:
    data, further = unlabelled(rows={2: ("image", picture(1)), 3: ("patient_id", "p000")})
    assert run(data, further, "stop").others == ()


def test_ids_of_another_list_mean_nothing() -> None:
    data, further = unlabelled(rows={2: ("patient_id", "p005")}, own_ids=True)
    assert run(data, further, "stop").others == ()


def test_ids_alone_can_be_compared() -> None:
    data, _ = unlabelled()
    further = OtherData("more", [IndexRow("u0", patient_id="p009")])
    with pytest.raises(LeakageError, match=r"1 of 'more'.*as test"):
        run(data, further, "stop")


def test_further_data_of_unequal_lengths_are_refused() -> None:
    data, further = unlabelled()
    with pytest.raises(DataError, match="of 'pretraining' are not of the same cases"):
        run(data, replace(further, sha256s=["a"]), "stop")
    with pytest.raises(DataError, match="not of the same cases"):
        run(data, replace(further, phashes=None), "stop")


# --- volumes --------------------------------------------------------------------------------------


def body(seed: int) -> np.ndarray:
    """A smooth random volume (D, H, W, 1) of HU."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 300, (6, 9, 8))
    return np.kron(coarse, np.ones((4, 5, 6))).astype(np.float32)[..., None]


FLIPS = [axes for n in range(8) if (axes := tuple(a for a in range(3) if n >> a & 1))]


@pytest.mark.parametrize("axes", FLIPS)
def test_flipped_volumes_are_near_duplicates(axes: tuple[int, ...]) -> None:
    data = Data("ttttvvvvee")
    data.images = [body(n) for n in range(10)]
    assert data.check("strict").near == ()
    copy = np.flip(body(1), axes)
    data.images[6] = copy * np.float32(1.01) + np.float32(3)
    result = data.check("strict")
    assert [pair.case_ids for pair in result.near] == [("c001", "c006")]
    assert letters(result) == "t.ttvvvvee"


def test_a_quarter_turned_volume_is_a_near_duplicate_and_an_equal_one_exact() -> None:
    data = Data("ttttvvvvee")
    data.images = [body(n) for n in range(10)]
    data.images[6] = np.rot90(body(1), axes=(1, 2))
    data.images[8] = body(2).astype(np.float64)
    result = data.check("strict")
    assert [pair.case_ids for pair in result.near] == [("c001", "c006")]
    assert [group.case_ids for group in result.exact] == [("c002", "c008")]


def test_check_leakage_takes_ids_and_pixels_together() -> None:
    index, splits = ids("tve", study_id={0: "s", 1: "s"})
    prints = [fingerprint(picture(n)) for n in range(3)]
    with pytest.raises(LeakageError, match="1 study is"):
        check_leakage(
            index,
            splits,
            [p.sha256 for p in prints],
            np.stack([p.phash for p in prints]),
            np.stack([p.thumb for p in prints]),
        )

"""Where patches are cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters.errors import DataError
from data_adapters.patches import PatchReader, PatchSampler
from data_adapters.patches.voxels import class_voxels
from data_adapters.store import Store
from tests.data_adapters.fakes import FakeAdapter
from tests.data_adapters.patches.stores import marked, store_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five volumes, the rare class in one of them."""
    return store_of([marked(n, (40, 12, 10), rare=n == 3) for n in range(5)], tmp_path)


def sampler(store: Store, **changes: Any) -> PatchSampler:
    options: dict[str, Any] = {
        "patch_size": (6, 7, 8), "batch_size": 3, "steps": 100, "seed": 5
    }  # fmt: skip
    reader = PatchReader(store, store.usable())
    return PatchSampler(reader, **(options | changes))


@pytest.mark.parametrize(
    ("batch", "share", "wanted"), [(3, 1 / 3, 1), (2, 0.1, 1), (4, 0.5, 2), (5, 0.5, 2.5)]
)
def test_the_share_of_foreground_and_one_in_every_batch(
    store: Store, batch: int, share: float, wanted: float
) -> None:
    made = sampler(store, batch_size=batch, foreground=share)
    found = [
        sum(made.place(epoch, number * batch + k).target is not None for k in range(batch))
        for epoch in range(2)
        for number in range(100)
    ]
    assert np.mean(found) == pytest.approx(wanted)
    assert {min(found), max(found)} <= {int(wanted), int(np.ceil(wanted))}


def test_batches_of_one_keep_the_share(store: Store) -> None:
    made = sampler(store, batch_size=1, foreground=0.25)
    found = [made.place(0, n).target is not None for n in range(100)]
    assert np.mean(found) == 0.25
    assert not any(sampler(store, foreground=0).place(0, n).target for n in range(100))
    assert all(sampler(store, foreground=1).place(0, n).target for n in range(100))


def test_classes_take_turns_and_lie_within_their_patch(store: Store) -> None:
    made = sampler(store, foreground=1.0)
    assert made.classes == (1, 2)
    assert made.counts.tolist() == [[0, 90, int(n == 3)] for n in range(5)]
    places = [made.place(0, n) for n in range(300)]
    assert Counter(place.target for place in places) == {1: 150, 2: 150}
    assert {place.row for place in places if place.target == 2} == {3}
    assert {place.row for place in places if place.target == 1} == set(range(5))
    for place in places:
        box = store.patch(place.row, place.start, (6, 7, 8), array="mask")
        assert (box == place.target).any()
        assert all(0 <= a <= end for a, end in zip(place.start, (34, 5, 2), strict=True))


def test_without_jitter_the_voxel_is_the_centre(store: Store) -> None:
    made = sampler(store, foreground=1.0, jitter=0.0, patch_size=(5, 5, 5))
    for n in range(1, 100, 2):
        place = made.place(0, n)
        assert place.target == 2
        assert tuple(a + 2 for a in place.start) == (20, 6, 5)
    moved = {sampler(store, foreground=1.0).place(0, n).start for n in range(1, 100, 2)}
    assert len(moved) > 10


def test_the_rest_visits_every_case_and_every_place(store: Store) -> None:
    made = sampler(store, foreground=0.0, batch_size=5, patch_size=(38, 12, 9))
    for number in range(20):
        rows = [made.place(0, number * 5 + k).row for k in range(5)]
        assert sorted(rows) == [0, 1, 2, 3, 4]
    starts = {made.place(0, n).start for n in range(200)}
    assert starts == {(z, 0, x) for z in (0, 1, 2) for x in (0, 1)}


def test_places_are_a_function_of_seed_epoch_and_index(store: Store) -> None:
    one, two = sampler(store), sampler(store, threads=1, seed=5)
    backwards = {n: two.place(1, n) for n in reversed(range(30))}
    assert [one.place(1, n) for n in range(30)] == [backwards[n] for n in range(30)]
    assert [one.place(0, n) for n in range(30)] != [backwards[n] for n in range(30)]
    other = sampler(store, seed=6)
    assert [other.place(1, n) for n in range(30)] != [backwards[n] for n in range(30)]


def test_slices_of_volumes(store: Store) -> None:
    made = sampler(store, patch_size=(5, 5), foreground=0.5, batch_size=2)
    slices = set()
    for n in range(200):
        place = made.place(0, n)
        slices.add(place.start[0])
        cut = store.patch(place.row, place.start, (1, 5, 5), array="mask")
        assert place.target is None or (cut == place.target).any()
    assert slices == set(range(40))


def test_masks_without_foreground(tmp_path: Path) -> None:
    cases = [marked(0, (6, 6, 6))]
    cases[0].mask[...] = 0  # type: ignore[index]
    made = sampler(store_of(cases, tmp_path), patch_size=(3, 3, 3))
    assert made.classes == ()
    assert {made.place(0, n).target for n in range(30)} == {None}


def test_the_background_takes_its_turn_where_it_is_asked_to(tmp_path: Path) -> None:
    case = marked(0, (40, 12, 10), rare=True)
    assert case.mask is not None
    mask = case.mask.astype(np.int8)
    mask[:20] = -1
    made = sampler(
        store_of([replace(case, mask=mask)], tmp_path),
        foreground=1.0,
        background=True,
        jitter=0.0,
        inside=False,
    )
    counts = {k: int((mask == k).sum()) for k in range(3)}
    assert made.counts.tolist() == [list(counts.values())]
    found = [made.place(0, n) for n in range(300)]
    classes = [k for k in range(3) if counts[k]]
    drawn = Counter(place.target for place in found)
    assert drawn == dict.fromkeys(classes, 300 // len(classes))
    for place in found:
        centre = tuple(a + (n - 1) // 2 for a, n in zip(place.start, made.patch_size, strict=True))
        low = tuple(slice(max(0, c), c + 2) for c in centre)
        assert place.target in mask[low]


def test_places_of_a_class_are_bounded_and_spread(tmp_path: Path) -> None:
    tall = store_of([marked(0, (80, 8, 8))], tmp_path / "tall")
    reader = PatchReader(tall, [0])
    everything = class_voxels(reader, 0, limit=1000)
    mask = tall[0].mask
    assert mask is not None
    np.testing.assert_array_equal(everything.places[1], np.flatnonzero(mask == 1))
    some = class_voxels(reader, 0, limit=20)
    assert some.counts == {1: 80, 2: 1}
    assert 15 <= len(some.places[1]) <= 25
    assert set(some.places[1]) < set(everything.places[1])
    assert len(set(np.unravel_index(some.places[1], mask.shape)[0])) > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": (4,)}, r"give \(D, H, W\), or \(H, W\)"),
        ({"patch_size": (4, 0, 4)}, "patch_size="),
        ({"patch_size": (4.5, 4, 4)}, "patch_size="),
        ({"batch_size": 0}, "batch_size=0"),
        ({"steps": 0}, "steps=0"),
        ({"seed": -1}, "seed=-1"),
        ({"foreground": 1.1}, "foreground=1.1"),
        ({"jitter": 0.7}, "jitter=0.7"),
        ({"jitter": float("nan")}, "jitter=nan"),
    ],
)
def test_bad_options_are_refused(store: Store, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        sampler(store, **changes)


def test_bad_cases_are_refused(tmp_path: Path, store: Store) -> None:
    plain = marked(0, (6, 6, 6))
    assert plain.mask is not None
    for value in (7, -2, 65537):
        wrong = plain.mask.astype(np.int32)
        wrong[0, 0, 0] = value
        odd = store_of([replace(plain, mask=wrong)], tmp_path / f"a{value}")
        with pytest.raises(DataError, match=rf"the mask holds {value}, which is no class.*2=rare"):
            PatchReader(odd, [0])
    with pytest.raises(DataError, match="at least one"):
        PatchReader(store, [])
    with pytest.raises(DataError, match="unknown border 'reflec'; did you mean 'reflect'"):
        PatchReader(store, [0], border="reflec")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="MiB in memory"):
        PatchReader(store, [0], cache="memory", memory_mb=0.001)
    with pytest.raises(DataError, match="pad_value=nan"):
        PatchReader(store, [0], pad_value=float("nan"))
    mixed = store_of([marked(0, (6, 6, 6)), marked(1, (6, 6))], tmp_path / "b")
    with pytest.raises(DataError, match="2 axes with 1 channels, 3 axes with 1 channels"):
        PatchReader(mixed, [0, 1])
    from data_adapters.store import build_store

    unmarked = build_store(FakeAdapter([np.zeros((4, 4, 1), np.uint8)]), home=tmp_path / "c")
    with pytest.raises(DataError, match="has no mask"):
        PatchReader(unmarked, [0])

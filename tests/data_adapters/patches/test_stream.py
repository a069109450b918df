"""Batches of patches."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters.errors import CaseError, DataError
from data_adapters.patches import PatchPolicy, PatchStream, patch_policy
from data_adapters.store import Store
from tests.data_adapters.patches.stores import marked, store_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of([marked(n, (9 + n, 12, 10), spacing=(1, 1, 1)) for n in range(3)], tmp_path)


def stream(store: Store, **changes: Any) -> PatchStream:
    options: dict[str, Any] = {
        "patch_size": (6, 7, 8), "batch_size": 3, "steps": 4, "seed": 5
    }  # fmt: skip
    return PatchStream(store, store.usable(), **(options | changes))


def test_an_epoch_is_the_same_in_any_order_and_number_of_threads(store: Store) -> None:
    one = stream(store, policy=patch_policy("strong"), threads=1)
    two = stream(store, policy=patch_policy("strong"), threads=3, cache="none")
    batches = [(x.numpy(), y.numpy()) for x, y in two.epoch(1)]
    assert len(batches) == len(two) == 4
    for number in (3, 0, 2, 1):
        images, masks = one.batch(1, number)
        np.testing.assert_array_equal(images, batches[number][0])
        np.testing.assert_array_equal(masks, batches[number][1])
    assert not np.array_equal(one.batch(0, 0)[0], batches[0][0])
    for place in range(3):
        np.testing.assert_array_equal(one.sample(1, 3 + place)[0], batches[1][0][place])
    assert batches[0][0].shape == (3, 6, 7, 8, 1)
    assert batches[0][0].dtype == np.float32
    assert batches[0][1].dtype == np.int32


def test_threads_read_what_one_reads(store: Store) -> None:
    made = stream(store, policy=patch_policy("medium"))
    expected = [made.sample(0, n) for n in range(24)]
    again, failed = stream(store, policy=patch_policy("medium")), []

    def read(first: int) -> None:
        for n in range(first, 24, 4):
            image, mask = again.sample(0, n)
            if not (np.array_equal(image, expected[n][0]) and np.array_equal(mask, expected[n][1])):
                failed.append(n)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.parametrize("size", [(6, 7, 8), (12, 10, 14)])
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_without_a_policy_patches_are_the_stores_own(
    store: Store, cache: Any, size: tuple[int, ...]
) -> None:
    made = stream(store, cache=cache, patch_size=size)
    assert made.reader.in_memory == (cache == "memory")
    for n in range(12):
        place = made.sampler.place(0, n)
        image, mask = made.sample(0, n)
        wanted = store.patch(place.row, place.start, size)
        np.testing.assert_array_equal(image, wanted)
        np.testing.assert_array_equal(mask, store.patch(place.row, place.start, size, array="mask"))


@pytest.mark.parametrize(("void", "beyond"), [(None, 0), (True, -1)])
def test_small_volumes_are_padded(store: Store, void: bool | None, beyond: int) -> None:
    made = stream(store, patch_size=(6, 16, 8), pad_value=-7.0, void_outside=void)
    image, mask = made.sample(0, 0)
    padded = image[..., 0] == -7
    assert padded.sum() == 6 * 4 * 8
    assert (mask[padded] == beyond).all()
    assert (mask[~padded] >= 0).all()


def test_beyond_repeated_tissue_the_truth_is_unknown(store: Store) -> None:
    made = stream(store, patch_size=(6, 16, 8), border="reflect")
    image, mask = made.sample(0, 0)
    assert (mask == -1).sum() == 6 * 4 * 8
    (z, y, x), row = made.sampler.place(0, 0).start, made.sampler.place(0, 0).row
    whole = store[row].image[z : z + 6, :, x : x + 8]
    wanted = np.pad(whole, ((0, 0), (-y, 4 + y), (0, 0), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(image, wanted)


def test_slices_of_volumes_and_their_neighbours(store: Store) -> None:
    made = stream(store, patch_size=(7, 8), context=1)
    assert made.channels == 3
    images, masks = made.batch(0, 0)
    assert images.shape == (3, 7, 8, 3)
    assert masks.shape == (3, 7, 8)
    place = made.sampler.place(0, 1)
    z, y, x = place.start
    volume = store[place.row].image[..., 0]
    for channel, offset in enumerate((-1, 0, 1)):
        beside = min(max(z + offset, 0), len(volume) - 1)
        wanted = volume[beside, y : y + 7, x : x + 8]
        np.testing.assert_array_equal(images[1, ..., channel], wanted)
    changed = stream(
        store, patch_size=(7, 8), context=1,
        policy=PatchPolicy(brightness=2.0, p_brightness=1), unit=1e4,
    )  # fmt: skip
    shift = changed.sample(0, 1)[0] - images[1]
    assert np.ptp(shift) < 0.05 < np.abs(shift).max()
    with pytest.raises(DataError, match="context=1 is for"):
        stream(store, context=1)


def test_swaps_are_checked_against_the_classes(store: Store) -> None:
    with pytest.raises(DataError, match=r"swaps=\[2, 3\] name no class"):
        stream(store, policy=patch_policy("light", swaps=[(2, 3)]))


def test_cases_with_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    cases = [marked(n, (6, 6, 6)) for n in range(2)]
    cases[0].image[0, 0, 0] = np.nan
    store = store_of(cases, tmp_path)
    assert store.usable() == [1]
    with pytest.raises(CaseError, match="c000"):
        PatchStream(store, [0, 1], patch_size=(4, 4, 4), batch_size=1, steps=1, seed=0)


def test_pictures(tmp_path: Path) -> None:
    store = store_of([marked(n, (20, 30 + n)) for n in range(2)], tmp_path)
    made = stream(store, patch_size=(16, 24), policy=patch_policy("strong"))
    images, masks = made.batch(0, 0)
    assert images.shape == (3, 16, 24, 1)
    assert np.isfinite(images).all()
    assert set(np.unique(masks)) <= {0, 1, 2}

"""Batches of patches."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters.errors import DataError
from data_adapters.patches import PatchStream, patch_policy
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


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_without_a_policy_patches_are_the_stores_own(store: Store, cache: Any) -> None:
    made = stream(store, cache=cache)
    assert made.reader.in_memory == (cache == "memory")
    for n in range(12):
        place = made.sampler.place(0, n)
        image, mask = made.sample(0, n)
        wanted = store.patch(place.row, place.start, (6, 7, 8))
        np.testing.assert_array_equal(image, wanted)
        np.testing.assert_array_equal(
            mask, store.patch(place.row, place.start, (6, 7, 8), array="mask")
        )


@pytest.mark.parametrize(("void", "beyond"), [(None, 0), (True, -1)])
def test_small_volumes_are_padded(store: Store, void: bool | None, beyond: int) -> None:
    made = stream(store, patch_size=(6, 16, 8), pad_value=-7.0, void_outside=void)
    image, mask = made.sample(0, 0)
    padded = image[..., 0] == -7
    assert padded.sum() == 6 * 4 * 8
    assert (mask[padded] == beyond).all()
    assert (mask[~padded] >= 0).all()


def test_beyond_repeated_tissue_the_truth_is_unknown(store: Store) -> None:
    image, mask = stream(store, patch_size=(6, 16, 8), border="reflect").sample(0, 0)
    assert (mask == -1).sum() == 6 * 4 * 8
    assert len(np.unique(image[0, :, 0, 0])) == 12


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
    with pytest.raises(DataError, match="context=1 is for"):
        stream(store, context=1)


def test_pictures(tmp_path: Path) -> None:
    store = store_of([marked(n, (20, 30 + n)) for n in range(2)], tmp_path)
    made = stream(store, patch_size=(16, 24), policy=patch_policy("strong"))
    images, masks = made.batch(0, 0)
    assert images.shape == (3, 16, 24, 1)
    assert np.isfinite(images).all()
    assert set(np.unique(masks)) <= {0, 1, 2}

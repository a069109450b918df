"""Random boxes out of a store."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from data_adapters import store as store_module
from data_adapters.errors import DataError
from data_adapters.store import build_store
from data_adapters.store_patches import random_patches
from tests.data_adapters.fakes import FakeAdapter, Volumes, volume


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_store_is_pickled_and_read_from_threads(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "OPEN_FILES", 2)
    cases = [volume(n, (33, 34, 35, 1)) for n in range(6)]
    store = pickle.loads(pickle.dumps(build_store(Volumes(cases), home=home)))
    failed = []

    def read(seed: int) -> None:
        for patch in random_patches(
            store, (8, 9, 10), rng=np.random.default_rng(seed), count=50, arrays=("image", "mask")
        ):
            box = tuple(slice(a, a + n) for a, n in zip(patch.start, (8, 9, 10), strict=True))
            for name, got in patch.arrays.items():
                if not np.array_equal(got, getattr(cases[patch.row], name)[box]):
                    failed.append((patch.row, name))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_random_patches_reach_every_place_and_surround_small_images(home: Path) -> None:
    image = np.arange(5 * 4, dtype=np.uint8).reshape(5, 4, 1)
    store = build_store(FakeAdapter([image]), home=home)
    starts = {
        patch.start
        for patch in random_patches(store, (4, 6), rng=np.random.default_rng(0), count=200)
    }
    assert starts == {(y, x) for y in (0, 1) for x in (-2, -1, 0)}
    with pytest.raises(DataError, match="from an image of grid"):
        next(random_patches(store, (4, 4, 4), rng=np.random.default_rng(0)))
    with pytest.raises(DataError, match="no cases"):
        next(random_patches(store, (4, 4), rng=np.random.default_rng(0), rows=[]))

"""Listing and pruning caches: nothing in use goes, nothing that belongs to another store goes."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_adapters import npz
from data_adapters.adapter import open as open_data
from data_adapters.cache import Decoded, decode
from data_adapters.cache_list import CacheEntry, list_caches, prune
from data_adapters.errors import DataError
from data_adapters.store import Store, build_store
from tests.data_adapters.fakes import FakeAdapter, Volumes, pictures, volume

CHAIN = [{"step": "resize", "height": 8, "width": 8}]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def decoded(home: Path, count: int = 3, seed: int = 0) -> Decoded:
    return decode(FakeAdapter(pictures(count, seed=seed)), CHAIN, home=home)


def stored(home: Path, *seeds: int) -> Store:
    return build_store(Volumes([volume(seed, (9, 8, 7, 1)) for seed in seeds]), home=home)


def kinds(entries: tuple[CacheEntry, ...] | list[CacheEntry]) -> list[str]:
    return sorted(entry.kind for entry in entries)


def sizes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def age(home: Path, days: float) -> None:
    """Make everything look as if it was last touched so long ago."""
    then = time.time() - days * 86400
    for path in home.rglob("*"):
        os.utime(path, (then, then))


def test_an_empty_home_holds_nothing(home: Path) -> None:
    assert list_caches(home) == []
    assert prune(home).removed == ()
    assert not home.exists()


def test_a_list_says_what_and_how_large(home: Path) -> None:
    key = decoded(home).key
    with_two = stored(home, 1, 2)
    with_two.close()
    gc.collect()
    found = {entry.kind: entry for entry in list_caches(home)}
    assert set(found) == {"decoded", "store"}
    assert found["decoded"].key == key
    assert (found["store"].key, found["store"].cases) == (with_two.key, 2)
    assert found["decoded"].cases == 3
    for entry in found.values():
        assert entry.complete
        assert not entry.in_use
        assert entry.data is not None
        assert entry.data[0] == "d"
        assert abs(entry.created - time.time()) < 60
        assert entry.created <= entry.last_used
    real = sum(p.stat().st_size for p in (home / "store").rglob("*") if p.suffix == ".case")
    assert real < found["store"].size < real + 20_000
    text = json.dumps([entry.to_dict() for entry in found.values()])
    assert str(home) not in text


def test_pruning_everything_leaves_nothing_but_locks(home: Path) -> None:
    decoded(home)
    stored(home, 1, 2).close()
    gc.collect()
    before = sizes(home)
    dry = prune(home, dry_run=True)
    assert sizes(home) == before
    done = prune(home)
    assert kinds(done.removed) == kinds(dry.removed) == ["decoded", "store"]
    assert done.freed == dry.freed == before
    assert (done.in_use, done.dry_run, dry.dry_run) == ((), False, True)
    assert sizes(home) == 0
    assert list_caches(home) == []


def test_what_is_in_use_here_stays(home: Path) -> None:
    keep, store = decoded(home), stored(home, 1)
    result = prune(home)
    assert result.removed == ()
    assert kinds(result.in_use) == ["decoded", "store"]
    assert keep.images.sum() > 0
    assert all(entry.in_use for entry in list_caches(home))
    del keep
    store.close()
    gc.collect()
    assert kinds(prune(home).removed) == ["decoded", "store"]


def test_what_another_process_uses_stays_until_it_dies(home: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.data_adapters.test_cache_list import decoded, stored\n"
        "home = Path(sys.argv[1])\nheld = decoded(home), stored(home, 1)\n"
        "print('ready', flush=True)\nsys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    assert kinds(prune(home).in_use) == ["decoded", "store"]
    other.kill()
    other.wait()
    other.stdout.close()
    assert kinds(prune(home).removed) == ["decoded", "store"]


def test_conditions(home: Path) -> None:
    old, large, new = (decoded(home, count, seed).key for count, seed in ((2, 0), (60, 1), (2, 2)))
    gc.collect()
    age(home / "decoded" / old, 40)
    os.utime(home / "decoded" / f"{old}.use", (0, time.time() - 40 * 86400))
    os.utime(home / "decoded" / f"{old}.lock", (0, time.time() - 40 * 86400))

    def would_go(**conditions: object) -> set[str]:
        return {entry.key for entry in prune(home, dry_run=True, **conditions).removed}  # type: ignore[arg-type]

    assert would_go() == {old, large, new}
    assert would_go(older_than_days=30) == {old}
    assert would_go(older_than_days=50) == set()
    assert would_go(larger_than=20_000) == {large}
    assert would_go(keep=[old, large[:6]]) == {new}
    assert would_go(kinds=["store"]) == set()
    for conditions in ({"older_than_days": -1}, {"larger_than": -1}):
        with pytest.raises(DataError, match="0 or more"):
            would_go(**conditions)
    with pytest.raises(DataError, match=r"'decode'; did you mean 'decoded'\?"):
        would_go(kinds=["decode"])


def test_using_a_cache_makes_it_young(home: Path) -> None:
    decoded(home)
    stored(home, 1).close()
    gc.collect()
    age(home, 40)
    assert len(prune(home, older_than_days=30, dry_run=True).removed) == 2
    decoded(home)
    stored(home, 1).close()
    gc.collect()
    assert prune(home, older_than_days=30, dry_run=True).removed == ()


def test_cases_of_another_store_stay(home: Path) -> None:
    stored(home, 1, 2).close()
    second = stored(home, 1, 3)
    result = prune(home)
    assert [entry.key for entry in result.in_use] == [second.key]
    assert len(result.removed) == 1
    assert second.verify() == []
    assert len(list(home.glob("store/cases/*/*.case"))) == 2
    assert result.freed < result.removed[0].size


def test_leftovers_go_when_asked(home: Path) -> None:
    stored(home, 1, 2).close()
    manifest = next(home.glob("store/*.json"))
    manifest.unlink()
    (home / "decoded").mkdir()
    (home / "decoded" / ".removing-abc").mkdir()
    found = list_caches(home)
    assert [(entry.key, entry.complete) for entry in found] == [("leftover", False)] * 2
    assert prune(home, unused=False).removed == ()
    assert len(prune(home, older_than_days=10).removed) == 2
    assert list_caches(home) == []


def test_an_unfinished_store_is_listed_as_such(home: Path) -> None:
    with pytest.raises(DataError, match="stopped"):
        build_store(FakeAdapter(pictures(20)), home=home, stop=lambda: True)
    (entry,) = list_caches(home)
    assert (entry.kind, entry.complete, entry.cases) == ("store", False, 20)
    assert prune(home).removed == (entry,)
    assert sizes(home) == 0


def test_no_store_goes_while_one_is_made(home: Path) -> None:
    stored(home, 1).close()
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append(prune(home))

    build_store(FakeAdapter(pictures(3)), home=home, progress=progress)
    assert len(seen) == 3
    assert all(result.removed == () and len(result.in_use) >= 2 for result in seen)


def test_salt_weights_and_strangers_stay(home: Path) -> None:
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "net.safetensors").write_bytes(b"w" * 10)
    (home / "salt").write_text("s")
    (home / "mine.txt").write_text("m")
    assert [(entry.kind, entry.key) for entry in list_caches(home)] == [
        ("weights", "net.safetensors")
    ]
    assert prune(home).removed == ()
    assert kinds(prune(home, kinds=["weights"]).removed) == ["weights"]
    assert sorted(path.name for path in home.iterdir()) == ["mine.txt", "salt", "weights"]


def test_an_unpacked_npz_in_use_stays(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(home))
    images = np.random.default_rng(0).integers(0, 255, (4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=[[0], [1], [0], [1]])
    monkeypatch.setattr(npz.load, "__kwdefaults__", {"memory_bytes": 10})
    data = open_data(str(tmp_path / "set.npz"))
    np.testing.assert_array_equal(data[1].image[..., 0], images[1])
    assert kinds(prune(home).in_use) == ["npz"]
    del data
    gc.collect()
    assert kinds(prune(home).removed) == ["npz"]
    assert sizes(home) == 0


def test_an_open_database_stays(home: Path) -> None:
    (home / "dicom-index").mkdir(parents=True)
    path = home / "dicom-index" / "abc.sqlite"
    link = sqlite3.connect(path)
    link.execute("PRAGMA journal_mode=WAL")
    link.execute("CREATE TABLE t (x)")
    link.commit()
    assert kinds(prune(home).in_use) == ["dicom-index"]
    link.close()
    assert kinds(prune(home).removed) == ["dicom-index"]
    assert not path.exists()

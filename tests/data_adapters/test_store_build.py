"""Making a store: kills, damage, several processes and threads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_adapters.errors import CaseError, DataError
from data_adapters.store import build_store
from data_adapters.store_build import case_path
from tests.data_adapters.fakes import FakeAdapter, pictures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def files(home: Path) -> list[Path]:
    return sorted(home.glob("store/cases/*/*.case"))


KILLED = """
import sys
from pathlib import Path
from data_adapters.store import build_store
from tests.data_adapters.fakes import FakeAdapter, pictures
adapter = FakeAdapter(pictures(8))
adapter.stop_at = 5
build_store(adapter, home=Path(sys.argv[1]), workers=1)
"""


def test_a_killed_run_goes_on(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(home)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(files(home)) == 5
    assert [p.name.endswith(".part.json") for p in home.glob("store/*.json")] == [True]
    adapter = FakeAdapter(pictures(8))
    store = build_store(adapter, home=home, workers=1)
    assert adapter.read == [5, 6, 7]
    assert (store.built, store.reused) == (3, 5)
    assert [p.name for p in home.glob("store/*.json")] == [f"{store.key}.json"]


def test_stop_keeps_what_is_done(home: Path) -> None:
    seen: list[int] = []
    with pytest.raises(DataError, match=r"stopped with \d of 40 cases"):
        build_store(
            FakeAdapter(pictures(40)),
            home=home,
            progress=lambda done, total: seen.append(done),
            stop=lambda: len(seen) >= 3,
        )
    kept = len(files(home))
    assert 3 <= kept < 12
    assert build_store(FakeAdapter(pictures(40)), home=home).built == 40 - kept


def test_several_processes_share_the_work(home: Path) -> None:
    code = KILLED.replace("adapter.stop_at = 5", "").replace("pictures(8)", "pictures(60)")
    code += "print(len(adapter.read))"
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    read = [int(process.communicate()[0]) for process in crowd]
    assert [process.returncode for process in crowd] == [0, 0, 0]
    assert sum(read) == 60
    assert len(files(home)) == 60
    assert build_store(FakeAdapter(pictures(60)), home=home).verify() == []


def test_threads_may_build_the_same_store_at_once(home: Path) -> None:
    adapters = [FakeAdapter(pictures(30)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda adapter: build_store(adapter, home=home), adapters))
    assert len({store.key for store in stores}) == 1
    assert sum(len(adapter.read) for adapter in adapters) == 30


@pytest.mark.parametrize("harm", ["truncated", "header", "gone", "empty"])
def test_a_damaged_file_is_seen_when_found_and_made_again(home: Path, harm: str) -> None:
    adapter = FakeAdapter(pictures(4))
    store = build_store(adapter, home=home)
    path = case_path(home / "store", store.file_key(2))
    before = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes({"truncated": before[:-1], "header": b"\0" * 99, "empty": b""}[harm])
    again = FakeAdapter(pictures(4))
    store = build_store(again, home=home)
    assert again.read == [2]
    assert path.read_bytes() == before
    np.testing.assert_array_equal(store[2].image, adapter.cases[2])


def test_a_flipped_bit_is_found_by_verify_and_repaired(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_adapters.store_build.CHECKED_BYTES", 0)
    adapter = FakeAdapter(pictures(9))
    store = build_store(adapter, home=home)
    path = case_path(home / "store", store.file_key(3))
    data = bytearray(path.read_bytes())
    data[4096 + 17] ^= 4
    path.write_bytes(data)
    again = FakeAdapter(pictures(9))
    assert [skip.case_id for skip in build_store(again, home=home).verify()] == ["c003"]
    assert build_store(again, home=home, verify=True).verify() == []
    assert again.read == [3]


def test_a_few_cases_are_checked_without_being_asked(home: Path) -> None:
    store = build_store(FakeAdapter(pictures(2)), home=home)
    path = case_path(home / "store", store.file_key(0))
    data = bytearray(path.read_bytes())
    data[4096 + 17] ^= 4
    path.write_bytes(data)
    assert store.verify() != []
    assert build_store(FakeAdapter(pictures(2)), home=home).verify() == []


def test_reading_a_file_that_shrank_is_a_typed_error(home: Path) -> None:
    store = build_store(FakeAdapter(pictures(2)), home=home)
    store.shape(0)
    for path in files(home):
        path.write_bytes(b"")
    for i in range(2):
        with pytest.raises(CaseError, match="damaged"):
            store[i]


def test_a_forged_manifest_is_no_store(home: Path) -> None:
    store = build_store(FakeAdapter(pictures(2)), home=home)
    path = home / "store" / f"{store.key}.json"
    content = json.loads(path.read_text())
    content["cases"] = content["cases"][:1]
    path.write_text(json.dumps(content))
    assert len(build_store(FakeAdapter(pictures(2)), home=home)) == 2

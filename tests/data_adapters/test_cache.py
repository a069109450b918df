"""The cache of decoded pictures: right, resumable, and honest about damage."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters import cache_store
from data_adapters.adapter import Adapter
from data_adapters.cache import Decoded, decode, probe
from data_adapters.chain import apply_chain
from data_adapters.errors import DataError
from data_adapters.hashing import fingerprint
from tests.data_adapters.fakes import FakeAdapter, pictures

CHAIN = [{"step": "channels", "count": 1}, {"step": "resize", "height": 16, "width": 16}]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_store, "LARGEST_CHUNK", 4)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def folder_of(home: Path, decoded: Decoded) -> Path:
    return home / "decoded" / decoded.key


def test_the_fake_is_an_adapter() -> None:
    assert isinstance(FakeAdapter(pictures(1)), Adapter)


def test_every_case_goes_through_the_chain_once(home: Path) -> None:
    adapter = FakeAdapter(pictures(10))
    seen: list[tuple[int, int]] = []
    decoded = decode(adapter, CHAIN, home=home, progress=lambda *state: seen.append(state))
    assert sorted(adapter.read) == list(range(10))
    assert seen == [(i + 1, 10) for i in range(10)]
    assert decoded.images.shape == (10, 16, 16, 1)
    assert decoded.images.dtype == np.uint8
    assert decoded.native_shapes == {"12x12x1": 10}
    assert decoded.ok.all()
    assert not decoded.skipped
    assert not decoded.reused
    for i, image in enumerate(adapter.cases):
        assert isinstance(image, np.ndarray)
        np.testing.assert_array_equal(decoded.images[i], apply_chain(image, CHAIN))
        marks = fingerprint(image)
        assert decoded.sha256[i] == marks.sha256
        np.testing.assert_array_equal(decoded.phash[i], marks.phash)
        np.testing.assert_array_equal(decoded.thumbs[i], marks.thumb)
        assert (decoded.low[i], decoded.high[i]) == (image.min(), image.max())


def test_the_pictures_are_a_map_not_a_copy(home: Path) -> None:
    decoded = decode(FakeAdapter(pictures(6)), CHAIN, home=home)
    assert isinstance(decoded.images, np.memmap)
    assert decoded.images.mode == "r"


def test_a_finished_cache_is_found_again(home: Path) -> None:
    first = decode(FakeAdapter(pictures(6)), CHAIN, home=home)
    again = FakeAdapter(pictures(6))
    second = decode(again, CHAIN, home=home)
    assert second.reused
    assert again.read == []
    np.testing.assert_array_equal(first.images, second.images)
    assert first.sha256 == second.sha256
    assert sorted(p.name for p in folder_of(home, second).iterdir()) == [
        "cases.npz",
        "images.uint8",
        "manifest.json",
    ]


def test_the_key_follows_data_and_chain(home: Path) -> None:
    keys = {
        decode(FakeAdapter(pictures(5)), CHAIN, home=home).key,
        decode(FakeAdapter(pictures(5, seed=1)), CHAIN, home=home).key,
        decode(FakeAdapter(pictures(5)), CHAIN[1:], home=home).key,
        decode(FakeAdapter(pictures(5), name="other"), CHAIN, home=home).key,
    }
    assert len(keys) == 4
    spelled = [CHAIN[0], {**CHAIN[1], "keep_aspect": False}]
    assert decode(FakeAdapter(pictures(5)), spelled, home=home).reused


def test_bad_cases_are_skipped_with_their_reason(home: Path) -> None:
    cases = pictures(9)
    cases[2], cases[7] = "truncated", "bomb"
    cases[5] = np.full((12, 12, 1), np.nan, np.float32)
    decoded = decode(FakeAdapter(cases), CHAIN, home=home)
    wanted = [("c002", "truncated"), ("c005", "unusable"), ("c007", "bomb")]
    assert [(skip.case_id, skip.kind) for skip in decoded.skipped] == wanted
    assert np.flatnonzero(~decoded.ok).tolist() == [2, 5, 7]
    assert decoded.images.dtype == np.uint8
    assert not decoded.images[2].any()
    assert decoded.sha256[2] == ""
    assert np.isnan(decoded.low[2])
    assert decode(FakeAdapter(cases), CHAIN, home=home).skipped == decoded.skipped


@pytest.mark.parametrize("place", [0, 5, 9])
def test_one_wide_picture_makes_all_float32(home: Path, place: int) -> None:
    cases = pictures(10)
    cases[place] = np.linspace(-1000, 3000, 144, dtype=np.float32).reshape(12, 12, 1)
    decoded = decode(FakeAdapter(cases), CHAIN, home=home)
    assert decoded.images.dtype == np.float32
    for i, image in enumerate(cases):
        assert isinstance(image, np.ndarray)
        np.testing.assert_array_equal(decoded.images[i], apply_chain(image, CHAIN))
    assert decoded.low[place] == -1000.0
    assert sorted(p.name for p in folder_of(home, decoded).glob("images*")) == ["images.float32"]


def test_deep_integers_are_kept(home: Path) -> None:
    cases = [np.full((12, 12, 1), 40000, np.uint16)] * 2
    decoded = decode(FakeAdapter(cases), CHAIN, home=home)
    assert decoded.images.dtype == np.float32
    assert np.unique(decoded.images).tolist() == [40000.0]


@pytest.mark.parametrize("wide", [False, True])
def test_an_interrupted_decode_goes_on_where_it_stopped(home: Path, wide: bool) -> None:
    cases = pictures(14)
    if wide:
        cases[5] = np.full((12, 12, 1), -5.5, np.float32)

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(FakeAdapter(cases), CHAIN, home=home, progress=stop)
    again = FakeAdapter(cases)
    resumed = decode(again, CHAIN, home=home)
    assert sorted(again.read) == list(range(8, 14))
    whole = decode(FakeAdapter(cases), CHAIN, home=home.with_name("other"))
    np.testing.assert_array_equal(resumed.images, whole.images)
    assert resumed.sha256 == whole.sha256


KILLED = """
import sys
from pathlib import Path
from data_adapters import cache_store
from data_adapters.cache import decode
from tests.data_adapters.fakes import FakeAdapter, pictures
from tests.data_adapters.test_cache import CHAIN
cache_store.LARGEST_CHUNK = 4
adapter = FakeAdapter(pictures(14))
adapter.stop_at = 9
decode(adapter, CHAIN, home=Path(sys.argv[1]), workers=1)
"""


def test_kill_minus_nine(home: Path) -> None:
    checkout = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home)], cwd=checkout, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = FakeAdapter(pictures(14))
    resumed = decode(again, CHAIN, home=home)
    assert sorted(again.read) == list(range(8, 14))
    whole = decode(FakeAdapter(pictures(14)), CHAIN, home=home.with_name("other"))
    np.testing.assert_array_equal(resumed.images, whole.images)


def test_a_kill_between_manifest_and_move(home: Path) -> None:
    decoded = decode(FakeAdapter(pictures(6)), CHAIN, home=home)
    images = np.array(decoded.images)
    folder_of(home, decoded).rename(home / "decoded" / f"{decoded.key}.part")
    again = decode(FakeAdapter(pictures(6)), CHAIN, home=home)
    np.testing.assert_array_equal(again.images, images)


@pytest.mark.parametrize("damage", ["record", "pixels", "end"])
def test_a_damaged_chunk_is_decoded_again(home: Path, damage: str) -> None:
    def stop(done: int, total: int) -> None:
        if done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(FakeAdapter(pictures(14)), CHAIN, home=home, progress=stop)
    (part,) = (home / "decoded").glob("*.part")
    images = part / "images.uint8"
    if damage == "record":
        record = part / "chunk-000001.npz"
        record.write_bytes(record.read_bytes()[:200])
    else:
        data = bytearray(images.read_bytes())
        data[4 * 256 + 7] ^= 1
        images.write_bytes(data if damage == "pixels" else data[: 4 * 256 + 7])
    again = FakeAdapter(pictures(14))
    resumed = decode(again, CHAIN, home=home)
    redone = {"record": 4, "pixels": 4, "end": 4}[damage]
    assert set(range(redone, 8)) <= set(again.read)
    assert not set(range(4)) & set(again.read)
    whole = decode(FakeAdapter(pictures(14)), CHAIN, home=home.with_name("other"))
    np.testing.assert_array_equal(resumed.images, whole.images)


@pytest.mark.parametrize(
    "damage", ["cut", "flip", "cases", "manifest", "edited", "lost", "no manifest"]
)
def test_a_damaged_cache_is_rebuilt(home: Path, damage: str) -> None:
    decoded = decode(FakeAdapter(pictures(10)), CHAIN, home=home)
    wanted = np.array(decoded.images)
    folder = folder_of(home, decoded)
    images, manifest = folder / "images.uint8", folder / "manifest.json"
    data = bytearray(images.read_bytes())
    if damage == "cut":
        images.write_bytes(data[:-1])
    elif damage == "flip":
        data[len(data) // 2] ^= 255
        images.write_bytes(data)
    elif damage == "cases":
        (folder / "cases.npz").write_bytes(b"")
    elif damage == "manifest":
        manifest.write_bytes(manifest.read_bytes()[:50])
    elif damage == "edited":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "skipped": [1]}))
    elif damage == "lost":
        images.unlink()
    else:
        manifest.unlink()
    again = FakeAdapter(pictures(10))
    rebuilt = decode(again, CHAIN, home=home)
    assert sorted(again.read) == list(range(10))
    np.testing.assert_array_equal(rebuilt.images, wanted)
    assert decode(FakeAdapter(pictures(10)), CHAIN, home=home).reused


def test_a_part_from_another_plan_is_thrown_away(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(FakeAdapter(pictures(14)), CHAIN, home=home, progress=stop)
    monkeypatch.setattr(cache_store, "LARGEST_CHUNK", 3)
    again = FakeAdapter(pictures(14))
    decode(again, CHAIN, home=home)
    assert sorted(again.read) == list(range(14))


def test_nothing_readable_is_an_error_and_leaves_no_cache(home: Path) -> None:
    adapter = FakeAdapter(["truncated", "truncated", "bomb"])
    for chain in (CHAIN, []):
        with pytest.raises(DataError, match=r"none of the 3 cases.*truncated: 2, bomb: 1"):
            decode(adapter, chain, home=home)
    assert not list((home / "decoded").glob("*.part"))
    with pytest.raises(DataError, match="no cases"):
        decode(FakeAdapter([]), CHAIN, home=home)


def test_unlike_shapes_ask_for_a_resize(home: Path) -> None:
    cases = [*pictures(2), *pictures(1, side=13)]
    with pytest.raises(DataError, match=r"c002.*resize"):
        decode(FakeAdapter(cases), [], home=home)
    same = decode(FakeAdapter(pictures(3)), [], home=home)
    assert same.images.shape == (3, 12, 12, 1)


def test_a_full_disk_names_the_way_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_store, "_sync", full)
        with pytest.raises(DataError, match="RADZOO_HOME") as caught:
            decode(FakeAdapter(pictures(5)), CHAIN, home=home)
    assert str(home) not in str(caught.value)
    assert decode(FakeAdapter(pictures(5)), CHAIN, home=home).ok.all()
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(DataError, match="RADZOO_HOME"):
        decode(FakeAdapter(pictures(6)), CHAIN, home=home)


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="RADZOO_HOME"):
        decode(FakeAdapter(pictures(5)), CHAIN, home=blocked)


def test_workers_do_not_change_the_result(home: Path) -> None:
    cases = pictures(9)
    cases[4] = "truncated"
    one = decode(FakeAdapter(cases), CHAIN, home=home, workers=1)
    four = decode(FakeAdapter(cases), CHAIN, home=home.with_name("other"), workers=4)
    np.testing.assert_array_equal(one.images, four.images)
    assert one.sha256 == four.sha256


def test_probe_sees_what_a_chain_must_handle() -> None:
    grey = pictures(3)
    found = probe(FakeAdapter(grey))
    assert (found["dtype"], found["ndim"], found["channels"]) == ("uint8", 3, 1)
    assert found["gray"]
    assert found["size"] == (12, 12)
    replicated = [np.repeat(image, 3, axis=-1) for image in grey if not isinstance(image, str)]
    assert probe(FakeAdapter(replicated))["gray"]
    replicated[1][0, 0, 1] ^= 1
    mixed: list[Any] = [*replicated, np.full((20, 8, 1), -3.0, np.float32), "truncated"]
    found = probe(FakeAdapter(mixed))
    assert not found["gray"]
    assert found["dtype"] == "float32"
    assert found["sizes"] == [(12, 12), (20, 8)]
    assert found["range"][0] == -3.0
    assert (found["looked_at"], found["unreadable"]) == (4, 1)
    volume = np.zeros((4, 5, 6, 1), np.uint8)
    volumes = probe(FakeAdapter([volume]))
    assert (volumes["ndim"], volumes["size"]) == (4, (4, 5, 6))
    with pytest.raises(DataError, match="none of the 2"):
        probe(FakeAdapter(["truncated", "bomb"]))
    with pytest.raises(DataError, match="mix"):
        probe(FakeAdapter([*grey, volume]))

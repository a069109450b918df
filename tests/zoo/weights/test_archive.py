"""Archives: the same bytes each time, nothing out of a damaged or malicious one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.weights import archive as archives
from zoo.weights.archive import INDEX, pack, unpack
from zoo.weights.manifest import to_json
from zoo.weights.sets import WeightSet


@pytest.fixture
def archive(own_set: WeightSet, tmp_path: Path) -> Path:
    out = tmp_path / "carry.radzoo"
    pack([own_set], out)
    return out


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_same_sets_give_the_same_bytes(
    archive: Path, own_set: WeightSet, tmp_path: Path
) -> None:
    again = tmp_path / "again.radzoo"
    os.utime(own_set.path, (1, 1))
    digest = pack([own_set], again)
    assert again.read_bytes() == archive.read_bytes()
    assert digest == hashlib.sha256(again.read_bytes()).hexdigest()
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [INDEX, "tiny.mygroup.json", "tiny.mygroup.safetensors"]


def test_unpacked_sets_are_the_packed_ones(
    archive: Path, own_set: WeightSet, tmp_path: Path
) -> None:
    done = unpack(archive, into=tmp_path / "there")
    assert done.sets == ("tiny:mygroup",)
    assert names(tmp_path / "there") == ["tiny.mygroup.json", "tiny.mygroup.safetensors"]
    for name in names(tmp_path / "there"):
        assert (tmp_path / "there" / name).read_bytes() == own_set.path.with_name(name).read_bytes()
    assert unpack(archive, into=tmp_path / "there").kept == ("tiny:mygroup",)


def test_every_changed_byte_is_noticed(archive: Path, tmp_path: Path) -> None:
    data, rng = archive.read_bytes(), random.Random(5)
    damaged, there = tmp_path / "damaged.radzoo", tmp_path / "there"
    for _ in range(150):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        damaged.write_bytes(changed)
        with pytest.raises(WeightsMismatchError, match=r"'damaged\.radzoo'.*nothing was unpacked"):
            unpack(damaged, into=there)
    for length in (0, 10, 77, 78, 500, len(data) - 1):
        damaged.write_bytes(data[:length])
        with pytest.raises(WeightsMismatchError, match="nothing was unpacked"):
            unpack(damaged, into=there)
    assert names(there) == []


def forge(
    path: Path, own_set: WeightSet, change: Callable[[zipfile.ZipFile, WeightSet], None]
) -> Path:
    """Write an archive of one's own making, sealed as ``pack`` seals."""
    with zipfile.ZipFile(path, "w") as forged:
        change(forged, own_set)
        forged.comment = archives._MARK + b"0" * 64
    archives._seal(path)
    return path


def _index(*stems: str) -> str:
    return json.dumps({"layout": 1, "sets": [{"stem": stem} for stem in stems]})


def _whole(forged: zipfile.ZipFile, one: WeightSet, stem: str = "tiny.mygroup") -> None:
    entry = {
        "stem": stem,
        "backbone": "tiny",
        "name": "mygroup",
        "sha256": one.manifest.sha256,
        "size": one.manifest.size,
    }
    forged.writestr(INDEX, json.dumps({"layout": 1, "sets": [entry]}))
    forged.writestr(f"{stem}.json", to_json(one.manifest))
    forged.writestr(f"{stem}.safetensors", one.path.read_bytes())


def _escape(name: str) -> Callable[[zipfile.ZipFile, WeightSet], None]:
    def write(forged: zipfile.ZipFile, one: WeightSet) -> None:
        _whole(forged, one)
        forged.writestr(name, b"x")

    return write


def _link(forged: zipfile.ZipFile, one: WeightSet) -> None:
    _whole(forged, one)
    info = zipfile.ZipInfo("link.safetensors")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    forged.writestr(info, "/etc/passwd")


def _bomb(forged: zipfile.ZipFile, one: WeightSet) -> None:
    forged.writestr(INDEX, _index("a"))
    forged.writestr("a.json", "{}")
    forged.writestr("a.safetensors", b"\0" * 5_000_000, zipfile.ZIP_DEFLATED)


def _long_manifest(forged: zipfile.ZipFile, one: WeightSet) -> None:
    forged.writestr(INDEX, _index("a"))
    forged.writestr("a.json", " " * (2 << 20))
    forged.writestr("a.safetensors", b"")


def _unlisted(forged: zipfile.ZipFile, one: WeightSet) -> None:
    _whole(forged, one)
    forged.writestr("more.safetensors", b"x")


def _other_stem(forged: zipfile.ZipFile, one: WeightSet) -> None:
    _whole(forged, one, "resnet50.imagenet")


def _other_arrays(forged: zipfile.ZipFile, one: WeightSet) -> None:
    entry = {"backbone": "tiny", "name": "mygroup", "stem": "tiny.mygroup"}
    entry |= {"sha256": one.manifest.sha256, "size": one.manifest.size}  # type: ignore[dict-item]
    forged.writestr(INDEX, json.dumps({"layout": 1, "sets": [entry]}))
    forged.writestr("tiny.mygroup.json", to_json(one.manifest))
    forged.writestr("tiny.mygroup.safetensors", b"\0" * one.manifest.size)


def _no_index(forged: zipfile.ZipFile, one: WeightSet) -> None:
    forged.writestr("a.json", "{}")


def _odd_index(text: str) -> Callable[[zipfile.ZipFile, WeightSet], None]:
    return lambda forged, one: forged.writestr(INDEX, text)


@pytest.mark.parametrize(
    "change",
    [
        _escape("../evil.safetensors"),
        _escape("/evil.safetensors"),
        _escape("..\\evil.json"),
        _escape("sub/evil.json"),
        _escape("C:evil.json"),
        _escape("folder/"),
        _escape("evil.py"),
        _escape(".hidden.json"),
        _link,
        _bomb,
        _long_manifest,
        _unlisted,
        _other_stem,
        _other_arrays,
        _no_index,
        _odd_index("{"),
        _odd_index("[]"),
        _odd_index('{"layout": 2}'),
        _odd_index('{"layout": 1, "sets": 5}'),
        _odd_index('{"layout": 1, "sets": [5]}'),
    ],
)
def test_malicious_archives_are_refused_whole(
    change: Callable[[zipfile.ZipFile, WeightSet], None], own_set: WeightSet, tmp_path: Path
) -> None:
    forged = forge(tmp_path / "forged.radzoo", own_set, change)
    before = names(tmp_path)
    with pytest.raises(WeightsMismatchError):
        unpack(forged, into=tmp_path / "in" / "there")
    assert names(tmp_path / "in" / "there") == []
    assert [name for name in names(tmp_path) if name != "in"] == before


def test_a_member_twice_is_refused(own_set: WeightSet, tmp_path: Path) -> None:
    def twice(forged: zipfile.ZipFile, one: WeightSet) -> None:
        _whole(forged, one)
        with pytest.warns(UserWarning, match="Duplicate name"):
            forged.writestr("tiny.mygroup.json", "{}")

    with pytest.raises(WeightsMismatchError, match="names a member twice"):
        unpack(forge(tmp_path / "x.radzoo", own_set, twice), into=tmp_path / "there")


def test_other_weights_of_the_name_stay_unless_forced(archive: Path, own_set: WeightSet) -> None:
    held = own_set.path.read_bytes()
    own_set.path.write_bytes(b"another")
    with pytest.raises(ZooError, match="tiny:mygroup; nothing was unpacked; give --force"):
        unpack(archive)
    assert own_set.path.read_bytes() == b"another"
    assert unpack(archive, force=True).replaced == ("tiny:mygroup",)
    assert own_set.path.read_bytes() == held


def test_a_damaged_set_is_not_packed(own_set: WeightSet, tmp_path: Path) -> None:
    own_set.path.write_bytes(own_set.path.read_bytes()[:-1] + b"\0")
    with pytest.raises(WeightsMismatchError, match=r"'tiny\.mygroup\.safetensors'.*damaged"):
        pack([own_set], tmp_path / "x.radzoo")
    assert not (tmp_path / "x.radzoo").exists()


def test_what_a_killed_run_left_is_cleared(archive: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    for name in (".unpack-old", ".unpack-new"):
        (there / name).mkdir(parents=True)
        (there / name / "x.safetensors").write_text("x")
    (there / ".x.safetensors.0.tmp").write_text("x")
    for name in (".unpack-old", ".x.safetensors.0.tmp"):
        os.utime(there / name, (1, 1))
    unpack(archive, into=there)
    assert names(there) == [".unpack-new", "tiny.mygroup.json", "tiny.mygroup.safetensors"]


def test_places_that_cannot_be(archive: Path, own_set: WeightSet, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no archive 'none\.radzoo'"):
        unpack(tmp_path / "none.radzoo")
    with pytest.raises(ZooError, match="set RADZOO_HOME") as caught:
        unpack(archive, into=archive / "inside-a-file")
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ZooError, match=r"cannot write 'x\.radzoo'"):
        pack([own_set], tmp_path / "none" / "x.radzoo")
    with pytest.raises(ZooError, match="named twice"):
        pack([own_set, own_set], tmp_path / "x.radzoo")


def test_a_full_disk_is_noticed_before_and_leaves_nothing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(ZooError, match="No space left"):
        unpack(archive, into=tmp_path / "there")
    assert names(tmp_path / "there") == []

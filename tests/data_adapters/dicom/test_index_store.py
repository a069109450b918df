"""A second scan opens no unchanged file, and never believes an index that does not fit."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from data_adapters.dicom import scan
from data_adapters.dicom.index_store import FOLDER, Index, Listing
from data_adapters.dicom.model import Instance
from data_adapters.dicom.scan import Scanned, scan_tree
from tests.data_adapters.dicom.stacks import write_slice


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a scan opens, as they are opened."""
    names: list[str] = []
    real = scan.read_instance

    def counted(path: str, *, name: str, size: int, mtime_ns: int) -> Instance:
        names.append(name)
        return real(path, name=name, size=size, mtime_ns=mtime_ns)

    monkeypatch.setattr(scan, "read_instance", counted)
    return names


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two folders of slices, a text, a broken file and an oddly named one."""
    root = tmp_path / "tree"
    for i in range(3):
        write_slice(root / "a" / f"{i}.dcm", ImagePositionPatient=[0, 0, i])
        write_slice(root / "b" / f"{i}.dcm", PatientID="Jürgen", SpecificCharacterSet="ISO_IR 192")
    (root / "b" / "notes.txt").write_text("x")
    (root / "b" / "broken.dcm").write_bytes(b"x" * 500)
    write_slice(Path(os.fsdecode(os.fsencode(root) + b"/b/odd\xff.dcm")))
    return root


def database(home: Path) -> Path:
    (path,) = (home / FOLDER).glob("*.sqlite")
    return path


def scanned_twice(tree: Path, home: Path, opened: list[str]) -> tuple[Scanned, Scanned]:
    first = scan_tree(tree, home=home)
    opened.clear()
    return first, scan_tree(tree, home=home)


def test_second_scan_opens_nothing_and_tells_the_same(
    tree: Path, tmp_path: Path, opened: list[str]
) -> None:
    first, second = scanned_twice(tree, tmp_path, opened)
    assert opened == []
    assert second == first == scan_tree(tree)
    assert len(first.instances) == 7
    assert {one.patient_id for one in first.instances} == {"P1", "Jürgen"}


def test_changed_new_and_removed_files_are_noticed(
    tree: Path, tmp_path: Path, opened: list[str]
) -> None:
    scan_tree(tree, home=tmp_path)
    opened.clear()
    write_slice(tree / "a" / "1.dcm", ImagePositionPatient=[0, 0, 77.5])
    write_slice(tree / "a" / "new.dcm")
    (tree / "b" / "0.dcm").unlink()
    os.utime(tree / "b" / "2.dcm", ns=(1, 1))
    scanned = scan_tree(tree, home=tmp_path)
    assert sorted(opened) == ["a/1.dcm", "a/new.dcm", "b/2.dcm"]
    assert scanned == scan_tree(tree)
    opened.clear()
    assert scan_tree(tree, home=tmp_path) == scanned
    assert opened == []


def test_a_folder_that_is_gone_is_forgotten(tree: Path, tmp_path: Path) -> None:
    scan_tree(tree, home=tmp_path)
    for path in (tree / "a").iterdir():
        path.unlink()
    scan_tree(tree, home=tmp_path)
    with sqlite3.connect(database(tmp_path)) as base:
        assert base.execute("SELECT name FROM folder").fetchall() == [(b"b/",)]


def test_the_tree_may_move_without_taking_old_places_along(tree: Path, tmp_path: Path) -> None:
    scan_tree(tree, home=tmp_path)
    moved = tree.rename(tmp_path / "moved")
    assert all(one.path.startswith(str(moved)) for one in scan_tree(moved, home=tmp_path).instances)


@pytest.mark.parametrize("damage", ["text", "cut", "middle", "version", "body"])
def test_a_damaged_or_foreign_index_is_made_anew(
    tree: Path, tmp_path: Path, opened: list[str], damage: str
) -> None:
    first = scan_tree(tree, home=tmp_path)
    path = database(tmp_path)
    data = path.read_bytes()
    if damage == "text":
        path.write_text("no database at all " * 500)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "middle":
        path.write_bytes(data[:200] + bytes(len(data) - 200))
    else:
        change = (
            "PRAGMA user_version = 1" if damage == "version" else "UPDATE folder SET body = 'x'"
        )
        with sqlite3.connect(path) as base:
            base.execute(change)
    opened.clear()
    assert scan_tree(tree, home=tmp_path) == first
    assert len(opened) == 9
    opened.clear()
    assert scan_tree(tree, home=tmp_path) == first
    assert opened == []


def test_the_index_is_private_and_its_name_tells_nothing(tree: Path, tmp_path: Path) -> None:
    scan_tree(tree, home=tmp_path)
    path = database(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    places = (str(tree), tree.name, str(tree.resolve()))
    assert not {path.stem, path.stem[1:]} & {
        hashlib.new(kind, place.encode()).hexdigest()[:12]
        for kind in ("md5", "sha1", "sha256")
        for place in places
    }


def test_a_home_that_cannot_be_written_costs_only_time(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert scan_tree(tree, home=tmp_path / "file") == scan_tree(tree)


def test_part_of_a_tree_does_not_overwrite_the_index(
    tree: Path, tmp_path: Path, opened: list[str]
) -> None:
    scan_tree(tree, home=tmp_path)
    opened.clear()
    part = scan_tree(tree, home=tmp_path, members={"a/1.dcm"})
    assert [one.name for one in part.instances] == ["a/1.dcm"]
    scan_tree(tree, home=tmp_path)
    assert opened == []


WRITER = """
import sys
from pathlib import Path
from data_adapters.dicom.index_store import Index, Listing
root, home, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
folders = [f"{i}/" for i in range(2)]
for size in range(20):
    listing = Listing([number], [size], [1])
    Index(root, home).write([(f"{number}/", listing, [("corrupt", "x")])], folders)
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    jobs = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(tmp_path), str(number)])
        for number in range(2)
    ]
    assert [job.wait(60) for job in jobs] == [0, 0]
    listings = {f"{number}/": Listing([str(number)], [19], [1]) for number in range(2)}
    found = Index(root, tmp_path).read(listings)
    assert found == {name: [(True, ("corrupt", "x"))] for name in listings}

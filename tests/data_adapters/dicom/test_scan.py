"""Every DICOM file of a delivery is found, whatever its name; what is none is counted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from data_adapters.dicom.scan import scan_tree
from data_adapters.errors import DataError
from tests.data_adapters.dicom.stacks import write_slice


def names(root: Path) -> list[str]:
    return [one.name for one in scan_tree(root).instances]


def test_dicom_is_found_by_content(tmp_path: Path) -> None:
    write_slice(tmp_path / "a" / "IM0001.dcm")
    write_slice(tmp_path / "a" / "1.2.840.99")
    whole = write_slice(tmp_path / "b" / "picture.jpg").read_bytes()
    meta_end = 132 + 12 + int.from_bytes(whole[140:144], "little")
    (tmp_path / "b" / "bare").write_bytes(whole[meta_end:])
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden").write_bytes(whole)
    scanned = scan_tree(tmp_path)
    assert [one.name for one in scanned.instances] == [
        "a/1.2.840.99",
        "a/IM0001.dcm",
        "b/bare",
        "b/picture.jpg",
    ]
    assert all((one.modality, one.rows) == ("CT", 6) for one in scanned.instances)
    assert scanned.left_out == ()
    assert (scanned.others, scanned.hidden) == (Counter({".txt": 1}), 1)
    assert "1 .txt" in " ".join(scanned.notes)


def test_broken_files_are_left_out_with_a_reason(tmp_path: Path) -> None:
    whole = write_slice(tmp_path / "good.dcm").read_bytes()
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.dcm").write_text("no picture at all")
    for size in (300, 400, 450, 500, 534):
        (tmp_path / f"cut{size}.dcm").write_bytes(whole[:size])
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    scanned = scan_tree(tmp_path)
    assert [one.name for one in scanned.instances] == ["good.dcm"]
    kinds = {name: kind for name, kind, _ in scanned.left_out}
    assert {kinds.pop(f"cut{size}.dcm") for size in (300, 400, 450, 500, 534)} == {"truncated"}
    assert kinds == {"empty.dcm": "zero-byte", "text.dcm": "not-dicom", "gone.dcm": "missing"}


def test_links_are_followed_but_not_into_a_circle(tmp_path: Path) -> None:
    root, outside = tmp_path / "in", tmp_path / "out"
    write_slice(root / "one.dcm")
    write_slice(outside / "two.dcm")
    (root / "loop").symlink_to(root)
    (root / "link").symlink_to(outside)
    scanned = scan_tree(root)
    assert [one.name for one in scanned.instances] == ["link/two.dcm", "one.dcm"]
    assert "1 links lead out" in " ".join(scanned.notes)


def test_folders_without_end_are_left_out(tmp_path: Path) -> None:
    write_slice(tmp_path / "one.dcm")
    tmp_path.joinpath(*["d"] * 150).mkdir(parents=True)
    scanned = scan_tree(tmp_path)
    assert [one.name for one in scanned.instances] == ["one.dcm"]
    assert [kind for _, kind, _ in scanned.left_out] == ["too-deep"]


def test_single_file_members_and_nothing(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm")
    write_slice(tmp_path / "b.dcm")
    assert names(path) == ["a.dcm"]
    assert [one.name for one in scan_tree(tmp_path, members={"b.dcm"}).instances] == ["b.dcm"]
    with pytest.raises(DataError, match="no such"):
        scan_tree(tmp_path / "absent")


def test_progress_is_told(tmp_path: Path) -> None:
    for i in range(3):
        write_slice(tmp_path / f"{i}.dcm")
    calls: list[tuple[int, int]] = []
    scan_tree(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (3, 3)


def test_extensions_that_may_be_names_are_not_told(tmp_path: Path) -> None:
    (tmp_path / "scan.mueller").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    notes = " ".join(scan_tree(tmp_path).notes)
    assert "mueller" not in notes
    assert "1 (other)" in notes
    assert "1 (no file)" in notes

"""A DICOMDIR says what should be there; what else lies there is found all the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence

from data_adapters.dicom.dicomdir import listed_files
from data_adapters.dicom.headers import read_instance
from data_adapters.dicom.scan import scan_tree
from tests.data_adapters.dicom.stacks import write_slice


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A file set of three slices, written by pydicom."""
    files = FileSet()
    for i in range(3):
        path = write_slice(
            tmp_path / "made" / f"{i}.dcm",
            StudyDate="20200101",
            StudyTime="120000",
            StudyID="1",
            SeriesNumber=1,
            InstanceNumber=i + 1,
            PatientName="Test",
        )
        files.add(path)
    root = tmp_path / "medium"
    files.write(root)
    return root


def test_listed_files_are_found_from_the_folder_and_from_the_file(medium: Path) -> None:
    scanned = scan_tree(medium)
    assert len(scanned.instances) == 3
    assert scanned.left_out == ()
    assert "3 files are listed in 1 DICOMDIR" in scanned.notes
    assert scan_tree(medium / "DICOMDIR") == scanned
    expected = {
        Path(one.path).relative_to(medium).as_posix() for one in FileSet(medium / "DICOMDIR")
    }
    assert {one.name for one in scanned.instances} == expected


def test_missing_and_unlisted_files_are_told(medium: Path, tmp_path: Path) -> None:
    gone = scan_tree(medium).instances[1]
    Path(gone.path).unlink()
    write_slice(medium / "EXTRA" / "one.dcm")
    scanned = scan_tree(medium, home=tmp_path / "home")
    assert len(scanned.instances) == 3
    assert [(name, kind) for name, kind, _ in scanned.left_out] == [(gone.name, "missing")]
    assert "1 DICOM files that no DICOMDIR lists were found beside them" in scanned.notes
    assert scan_tree(medium, home=tmp_path / "home") == scanned


def test_a_medium_in_small_letters_is_understood(medium: Path, tmp_path: Path) -> None:
    for path in sorted(medium.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    scanned = scan_tree(medium)
    assert (len(scanned.instances), scanned.left_out) == (3, ())


@pytest.mark.parametrize(
    "parts",
    [
        ["..", "SECRET"],
        ["/etc", "passwd"],
        ["", "X"],
        ["A", "..", "..", "B"],
        ["C:\\X"],
        "../SECRET",
    ],
)
def test_no_entry_leads_out_of_the_folder(tmp_path: Path, parts: list[str]) -> None:
    write_slice(tmp_path / "SECRET")
    root = tmp_path / "medium"
    root.mkdir()
    source = get_testdata_file("DICOMDIR", read=True)
    assert isinstance(source, Dataset)
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.add_new(0x00041500, "LO", parts)
    source.DirectoryRecordSequence = Sequence([record])
    pydicom.dcmwrite(root / "DICOMDIR", source, enforce_file_format=True)
    scanned = scan_tree(root)
    assert scanned.instances == ()
    assert [kind for _, kind, _ in scanned.left_out] == ["unsafe-path"]


def test_pydicoms_own_directories_list_the_same(tmp_path: Path) -> None:
    for name in ("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit"):
        path = get_testdata_file(name)
        assert path is not None
        copy = Path(shutil.copy(path, tmp_path / name))
        expected = [
            "/".join([value] if isinstance(value, str) else value)
            for record in pydicom.dcmread(copy).DirectoryRecordSequence
            if (value := record.get("ReferencedFileID"))
        ]
        assert list(listed_files(str(copy))) == expected
        size = copy.stat().st_size
        found = read_instance(copy, name=name, size=size, mtime_ns=0)
        assert list(found.listed) == expected

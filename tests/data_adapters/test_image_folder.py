"""Class folders, good and odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_adapters
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.image_folder import ImageFolder
from data_adapters.privacy import patient_pseudonym
from tests.data_adapters.layouts.volumes import picture, save_volume


def fill(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            Image.fromarray(np.full((4, 5), i, np.uint8)).save(path)
        else:
            path.mkdir()
    return root


def test_classes_are_folders_in_order(tmp_path: Path) -> None:
    data = ImageFolder(fill(tmp_path, "sick/a.png", "well/b.png", "well/deep/c.jpg"))
    assert data.class_names == ("sick", "well")
    assert [row.label for row in data.index] == [0, 1, 1]
    assert [row.part for row in data.index] == [None] * 3
    assert [data.source_name(i) for i in range(3)] == [
        "sick/a.png",
        "well/b.png",
        "well/deep/c.jpg",
    ]
    assert data[1].label == 1
    assert data[1].image.shape == (4, 5, 1)
    assert (data.task, data.positive, data.skipped, data.notes) == ("single", None, (), ())


def test_numbered_classes_keep_numeric_order(tmp_path: Path) -> None:
    data = ImageFolder(fill(tmp_path, "10/a.png", "2/b.png"))
    assert data.class_names == ("2", "10")


def test_parts_above_the_classes_are_respected(tmp_path: Path) -> None:
    fill(tmp_path, "train/x/a.png", "train/y/b.png", "Validation/x/c.png", "test/y/d.png")
    data = ImageFolder(tmp_path)
    assert data.class_names == ("x", "y")
    assert [(row.part, row.label) for row in data.index] == [
        ("val", 0),
        ("test", 1),
        ("train", 0),
        ("train", 1),
    ]


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    data = ImageFolder(fill(tmp_path, "control/a.png", "test/b.png"))
    assert data.class_names == ("control", "test")


def test_odd_layouts_say_what_is_wanted(tmp_path: Path) -> None:
    fill(tmp_path / "1", "train/a.png", "test/b.png")
    with pytest.raises(FormatError, match=r"directly in 'test'.*<class>"):
        ImageFolder(tmp_path / "1")
    fill(tmp_path / "2", "train/x/a.png", "test/x/b.png", "extra/c.png")
    with pytest.raises(FormatError, match=r"look like parts, but .*extra"):
        ImageFolder(tmp_path / "2")
    fill(tmp_path / "3", "val/x/a.png", "valid/x/b.png")
    with pytest.raises(FormatError, match="same part twice"):
        ImageFolder(tmp_path / "3")
    fill(tmp_path / "4", "wrapper/x/a.png", "wrapper/y/b.png")
    with pytest.raises(FormatError, match="DATA/wrapper"):
        ImageFolder(tmp_path / "4")
    fill(tmp_path / "5", "x", "y", "loose.png")
    with pytest.raises(FormatError, match="no pictures in the folders"):
        ImageFolder(tmp_path / "5")
    fill(tmp_path / "6", "slices/a.png")
    (tmp_path / "6" / "cases.csv").write_text("path,label\nslices/a.png,x\n")
    with pytest.raises(FormatError, match=r"DATA/cases\.csv"):
        ImageFolder(tmp_path / "6")


def test_one_class_and_one_file_still_open(tmp_path: Path) -> None:
    data = ImageFolder(fill(tmp_path, "only/a.png"))
    assert (len(data), data.class_names) == (1, ("only",))


def test_folders_of_one_picture_each_are_patients_and_not_named(tmp_path: Path) -> None:
    names = ("Doe^Jane", "Roe^Richard", "Poe^Anna")
    fill(tmp_path, *(f"{name}/a.png" for name in names))
    with pytest.raises(FormatError, match="each of the 3 folders holds one picture") as error:
        ImageFolder(tmp_path)
    assert not any(name[:3] in str(error.value) for name in names)
    assert len(ImageFolder(fill(tmp_path, "Doe^Jane/b.png"))) == 4


def test_an_empty_class_is_left_out_and_said(tmp_path: Path) -> None:
    data = ImageFolder(fill(tmp_path, "x/a.png", "y/b.png", "empty"))
    assert data.class_names == ("x", "y")
    assert data.notes == ("class folder 'empty' holds no readable pictures and is left out",)


def test_leavings_of_other_programs_are_ignored_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, "x/a.png", "y/b.png", "y/._b.png", "__MACOSX/y/c.png", ".git/d.png", "e.png")
    for name in ("x/Thumbs.db", "x/.DS_Store", "x/README", "x/notes.txt", "x/t.csv"):
        (tmp_path / name).write_text("no picture")
    data = ImageFolder(tmp_path)
    assert [data.source_name(i) for i in range(len(data))] == ["x/a.png", "y/b.png"]
    assert data.notes == (
        "5 hidden or system files were ignored",
        "3 files that are no pictures were ignored: 1 (no extension), 1 .csv, 1 .txt",
        "1 pictures outside the class folders were ignored",
    )


def test_a_picture_without_extension_is_known_by_its_content(tmp_path: Path) -> None:
    fill(tmp_path, "x/a.png", "y/b.png")
    (tmp_path / "x" / "a.png").rename(tmp_path / "x" / "IM0001")
    data = ImageFolder(tmp_path)
    assert data.source_name(0) == "x/IM0001"
    assert data[0].image.shape == (4, 5, 1)


def test_bad_files_are_skips_or_case_errors_with_a_pseudonym(tmp_path: Path) -> None:
    fill(tmp_path, "x/a.png", "y/Doe_John.png")
    (tmp_path / "x" / "zero.png").touch()
    (tmp_path / "y" / "Doe_John.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    data = ImageFolder(tmp_path)
    assert [skip.kind for skip in data.skipped] == ["zero-byte"]
    with pytest.raises(CaseError) as caught:
        data[1]
    assert caught.value.kind in {"corrupt", "truncated"}
    assert "Doe" not in str(caught.value)


def test_links_are_followed_counted_and_never_in_circles(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "x/a.png", "y/b.png")
    store = fill(tmp_path / "store", "p.png", "q.png")
    (root / "x" / "one.png").symlink_to(store / "p.png")
    (root / "z").symlink_to(store)
    (root / "y" / "up").symlink_to(root)
    (root / "y" / "gone.png").symlink_to(store / "none.png")
    data = ImageFolder(root)
    names = [data.source_name(i) for i in range(len(data))]
    assert names == ["x/a.png", "x/one.png", "y/b.png", "z/p.png", "z/q.png"]
    assert "3 links lead out of the folder and were followed" in data.notes
    assert [skip.kind for skip in data.skipped] == ["missing"]


def test_a_positive_class_must_exist(tmp_path: Path) -> None:
    fill(tmp_path, "benign/a.png", "malignant/b.png")
    assert ImageFolder(tmp_path, positive="malignant").positive == "malignant"
    with pytest.raises(DataError, match="'malign'; did you mean 'malignant'"):
        ImageFolder(tmp_path, positive="malign")


def test_patients_come_from_folders_or_file_names_when_asked(tmp_path: Path) -> None:
    names = ["x/p1/a.png", "x/p1/b.png", "y/p2/c.png", "y/d.png"]
    fill(tmp_path, *names)
    by_folder = ImageFolder(tmp_path, patient="folder")
    found = {by_folder.source_name(i): row.patient_id for i, row in enumerate(by_folder.index)}
    assert found["x/p1/a.png"] == found["x/p1/b.png"] == patient_pseudonym("p1")
    assert found["y/p2/c.png"] == patient_pseudonym("p2")
    assert found["y/d.png"] is None
    assert any("1 of 4" in note for note in by_folder.notes)
    by_name = ImageFolder(tmp_path, patient="p([0-9]+)/")
    assert by_name.index[0].patient_id == patient_pseudonym("1")
    for wrong, said in (("q([0-9])", "no patient"), ("p(", "regular"), ("p[0-9]", "0 groups")):
        with pytest.raises(DataError, match=said):
            ImageFolder(tmp_path, patient=wrong)


def test_class_names_that_differ_only_in_case_are_pointed_out(tmp_path: Path) -> None:
    data = ImageFolder(fill(tmp_path, "train/Sick/a.png", "test/sick/b.png"))
    assert data.class_names == ("Sick", "sick")
    assert any("differ only in case" in note for note in data.notes)


def test_identity_follows_names_sizes_and_times(tmp_path: Path) -> None:
    fill(tmp_path, "x/a.png", "y/b.png")
    before = ImageFolder(tmp_path).identity()
    assert ImageFolder(tmp_path).identity() == before
    (tmp_path / "y" / "b.png").rename(tmp_path / "y" / "c.png")
    renamed = ImageFolder(tmp_path).identity()
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "x" / "a.png")
    rewritten = ImageFolder(tmp_path)
    assert len({before, renamed, rewritten.identity()}) == 3
    assert rewritten.file_key(0).startswith("x/a.png|")


def test_volumes_in_class_folders_are_cases(tmp_path: Path) -> None:
    for i, name in enumerate(("sick/a.nii.gz", "sick/b.mha", "well/c.nrrd")):
        save_volume(tmp_path / name, picture(i))
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.class_names) == ("image_folder", ("sick", "well"))
    for i in range(3):
        np.testing.assert_array_equal(data[i].image[..., 0], picture(i))
        assert data[i].geometry.spacing == (3, 2, 1)

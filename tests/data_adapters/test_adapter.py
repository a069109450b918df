"""Opening data sets, the registry of adapters, pseudonyms."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_adapters
from data_adapters import adapter as adapter_module
from data_adapters import privacy
from data_adapters.adapter import (
    IndexRow,
    labelled_rows,
    local_path,
    register_adapter,
)
from data_adapters.errors import DataError, FormatError
from data_adapters.home import home
from data_adapters.indexing import class_order, pseudonyms
from data_adapters.privacy import case_ids, patient_pseudonym


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(["cats/a.png", "cats/b.png", "dogs/c.png"]):
        picture(tmp_path / "set" / name, i)
    return tmp_path / "set"


def test_open_finds_the_adapter_by_looking(folder: Path) -> None:
    assert data_adapters.open(folder).kind == "image_folder"
    assert data_adapters.open(str(folder)).kind == "image_folder"
    assert data_adapters.open(folder.as_uri()).kind == "image_folder"
    (folder / "t.csv").write_text("path,label\ncats/a.png,x\ndogs/c.png,y\n")
    assert data_adapters.open(folder / "t.csv").kind == "table"
    np.savez(folder / "m.npz", train_images=np.zeros((2, 4, 4), np.uint8))
    assert data_adapters.open(folder / "m.npz").kind == "medmnist"


def test_open_says_what_each_adapter_said_when_none_fits(folder: Path) -> None:
    other = folder / "notes.docx"
    other.write_text("x")
    with pytest.raises(FormatError) as caught:
        data_adapters.open(other)
    for name in data_adapters.adapters():
        assert f"{name}: " in str(caught.value)
    assert "not a folder" in str(caught.value)


def test_a_source_that_does_not_exist_is_said_to(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder.*did you mean.*cats"):
        data_adapters.open(folder / "catz")
    with pytest.raises(DataError, match="download it"):
        data_adapters.open("https://example.org/set.npz")


def test_unknown_options_name_the_nearest(folder: Path) -> None:
    with pytest.raises(DataError, match="unknown option 'positiv'; did you mean 'positive'"):
        data_adapters.open(folder, positiv="cats")
    with pytest.raises(DataError, match=r"'encoding' belongs to table.*image_folder"):
        data_adapters.open(folder, encoding="cp1252")
    with pytest.raises(DataError, match="unknown format 'tables'; did you mean 'table'"):
        data_adapters.open(folder, format="tables")
    assert data_adapters.open(folder, encoding=None, positive="cats").positive == "cats"


def test_a_new_adapter_enrols_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "_REGISTERED", dict(adapter_module._REGISTERED))
    data_adapters.adapters()

    @register_adapter("made-up", lambda source: None if source == "made-up" else "not made up")
    def factory(source: str, *, colour: str = "red") -> Any:
        return source, colour

    assert data_adapters.adapters()[-1] == "made-up"
    opened: Any = data_adapters.open("made-up", colour="blue")
    assert opened == ("made-up", "blue")
    with pytest.raises(DataError, match="registered already"):
        register_adapter("made-up", lambda source: None)(lambda source: source)


def test_the_order_of_asking_does_not_depend_on_who_imported_what_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = data_adapters.adapters()
    turned = dict(reversed(adapter_module._REGISTERED.items()))
    monkeypatch.setattr(adapter_module, "_REGISTERED", turned)
    assert data_adapters.adapters() == usual
    assert usual.index("volumes") < usual.index("image_folder")


def test_case_ids_hide_names_and_tell_them_apart() -> None:
    names = [f"class/{i}.png" for i in range(100)]
    ids = case_ids(names)
    assert re.fullmatch("c[0-9a-f]{10}", ids[3])
    assert ids[3] != "c" + hashlib.sha256(b"class/3.png").hexdigest()[:10]
    assert len(set(ids)) == 100
    assert case_ids(names[:3] + names[:1])[0] == case_ids(names[:3] + names[:1])[3]
    assert case_ids(["bad\udcff"])[0].startswith("c")


def test_case_ids_grow_where_ten_digits_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_digests", lambda kind, names: ["0" * 12 + n for n in names])
    assert case_ids(["a1", "b2"]) == ["c" + "0" * 12 + "a1", "c" + "0" * 12 + "b2"]


def test_pseudonyms_hide_patients_and_know_who_is_unknown() -> None:
    people, notes = pseudonyms(["17", " 17", "18", "", "Unknown", None])
    assert people[0] == people[1] == patient_pseudonym("17") != people[2]
    assert people[3:] == [None, None, None]
    assert "3 of 6" in notes[0]
    assert pseudonyms(["x", "x"])[0] == [None, None]
    assert "same for every case" in pseudonyms(["x", "x"])[1][0]
    assert "blank for every case" in pseudonyms(["", ""])[1][0]
    assert pseudonyms([None, None]) == ([None, None], [])
    assert pseudonyms(["x"])[0] == [patient_pseudonym("x")]
    assert "17" not in patient_pseudonym("17")[1:3] + notes[0]


def test_classes_are_ordered_by_number_or_by_alphabet() -> None:
    assert class_order(["10", "9", "1"]) == ("1", "9", "10")
    assert class_order(["b", "10", "9"]) == ("10", "9", "b")


def test_labelled_rows_divides_known_from_unknown() -> None:
    nan = math.nan
    index = [
        IndexRow("a", label=0),
        IndexRow("b"),
        IndexRow("c", labels=(nan, 1.0)),
        IndexRow("d", labels=(nan, nan)),
    ]
    rows, skips = labelled_rows(index)
    assert rows == [0, 2]
    assert [(skip.case_id, skip.kind) for skip in skips] == [
        ("b", "unlabelled"),
        ("d", "unlabelled"),
    ]


def test_local_path_understands_file_addresses() -> None:
    assert local_path("file:///a%20b/c") == Path("/a b/c")
    assert local_path("a/b") == Path("a/b")


def test_home_is_the_variable_or_the_platforms_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_HOME", "~/x")
    assert home() == Path.home() / "x"
    monkeypatch.delenv("RADZOO_HOME")
    assert home().name == "radzoo"


def test_open_files_takes_files_folders_and_npz(folder: Path, tmp_path: Path) -> None:
    whole = data_adapters.open_files(folder)
    assert [whole.source_name(i) for i in range(3)] == ["cats/a.png", "cats/b.png", "dogs/c.png"]
    assert (whole.task, whole.class_names, whole.index[0].label) == ("unlabelled", (), None)
    assert whole[2].image.tolist() == np.full((4, 5, 1), 2).tolist()
    assert whole.index[0].case_id == data_adapters.open(folder).index[0].case_id
    one = data_adapters.open_files(folder / "cats" / "b.png")
    assert one.source_name(0) == (folder / "cats" / "b.png").as_posix()
    both = data_adapters.open_files([folder / "dogs", folder / "cats" / "a.png"])
    assert len(both) == 2
    assert len({row.case_id for row in both.index}) == 2
    np.savez(tmp_path / "m.npz", test_images=np.zeros((2, 4, 4), np.uint8))
    npz = data_adapters.open_files([tmp_path / "m.npz"])
    assert (npz.task, npz.source_name(1)) == ("unlabelled", "m.npz#test-00001")
    (folder / "t.csv").write_text("path,age\ncats/a.png,61\n")
    table = data_adapters.open_files(folder / "t.csv")
    assert (table.task, table.source_name(0)) == ("unlabelled", "cats/a.png")


def test_open_files_records_what_it_cannot_read(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.png").touch()
    (folder / "broken.png").symlink_to(folder / "nowhere.png")
    whole = data_adapters.open_files(folder)
    assert len(whole) == 3
    assert sorted(skip.kind for skip in whole.skipped) == ["missing", "zero-byte"]
    text = tmp_path / "readme.txt"
    text.write_text("hello")
    mixed = data_adapters.open_files([folder / "cats", text])
    assert [skip.kind for skip in mixed.skipped] == ["not-a-picture"]
    for wrong, said in (
        ([], "no files given"),
        (text, "no pictures"),
        ([folder / "none.png"], "no such file"),
        ([folder / "cats", folder / "cats" / "a.png"], "given twice"),
        ([folder / "cats", tmp_path / "m.npz"], "give it alone"),
    ):
        with pytest.raises(DataError, match=said):
            data_adapters.open_files(wrong)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be looked at"):
        data_adapters.open("x" * 5000)


def test_pictures_without_labels_open_as_they_are(tmp_path: Path) -> None:
    alone = picture(tmp_path / "a.png", 3)
    picture(tmp_path / "b.png", 4)
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.task, len(data)) == ("files", "unlabelled", 2)
    assert [int(data[i].image[0, 0, 0]) for i in range(2)] == [3, 4]
    assert data_adapters.open(alone)[0].image[0, 0, 0] == 3
    (tmp_path / "c.txt").write_text("no picture")
    with pytest.raises(FormatError, match="files: no picture that can be read here"):
        data_adapters.open(tmp_path / "c.txt")

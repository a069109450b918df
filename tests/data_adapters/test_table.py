"""Tables of cases, good and odd."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_adapters.adapter import labelled_rows
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.privacy import case_ids, patient_pseudonym
from data_adapters.table import Table
from data_adapters.table_text import read_table


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "img").mkdir()
    for i, name in enumerate("abcdef"):
        Image.fromarray(np.full((4, 5), i, np.uint8)).save(tmp_path / "img" / f"{name}.png")
    return tmp_path


def table(place: Path, text: str, *, name: str = "t.csv", **options: Any) -> Table:
    (place / name).write_text(text, encoding="utf-8")
    return Table(place / name, **options)


def refused(place: Path, text: str, said: str, **options: Any) -> str:
    with pytest.raises(DataError, match=said) as caught:
        table(place, text, **options)
    return str(caught.value)


def test_path_label_patient_and_split(place: Path) -> None:
    data = table(
        place,
        "path,label,patient,split\nimg/a.png,sick,P1,train\nimg/b.png,well,P2,valid\n"
        "img/c.png,well,P1,\n",
    )
    assert (data.task, data.class_names, data.positive) == ("single", ("sick", "well"), None)
    assert [row.label for row in data.index] == [0, 1, 1]
    assert [row.part for row in data.index] == ["train", "val", None]
    assert data.index[0].patient_id == data.index[2].patient_id == patient_pseudonym("P1")
    assert data.index[0].case_id == case_ids(["img/a.png"])[0]
    assert data.source_name(2) == "img/c.png"
    assert data[2].image[0, 0, 0] == 2
    assert (data[2].label, data[2].patient_id) == (1, patient_pseudonym("P1"))
    assert data.notes == ("1 of 3 cases belong to no part of the given split",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "path;label\nimg/a.png;x\nimg/b.png;y, or not\n"),
        ("t.tsv", "path\tlabel\nimg/a.png\tx\nimg/b.png\ty, or not\n"),
        ("t.csv", '"path","label"\r\n"img/a.png","x"\r\n\r\n"img/b.png","y, or not"\r\n'),
        ("t.csv", '\ufeffPath , Label\nimg/a.png, x\nimg/b.png,"y, or not"\n'),
        ("t.CSV", ',path,label\n0,img\\a.png,x\n1,./img//b.png,"y, or not"\n'),
    ],
)
def test_tables_as_spreadsheets_write_them(place: Path, name: str, text: str) -> None:
    data = table(place, text, name=name)
    assert data.class_names == ("x", "y, or not")
    assert [data.source_name(i) for i in range(2)] == ["img/a.png", "img/b.png"]


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        (["10", "9", "1"], ("1", "9", "10"), [2, 1, 0]),
        (["1.0", "0.0", "1"], ("0", "1"), [1, 0, 1]),
        (["b", "A", "10"], ("10", "A", "b"), [2, 1, 0]),
        (["002", "010", "001"], ("001", "002", "010"), [1, 2, 0]),
        (["none", "mass", "none"], ("mass", "none"), [1, 0, 1]),
    ],
)
def test_class_names_and_their_order(
    place: Path, values: list[str], names: tuple[str, ...], labels: list[int]
) -> None:
    rows = "".join(f"img/{c}.png,{v}\n" for c, v in zip("abc", values, strict=True))
    data = table(place, "path,label\n" + rows)
    assert data.class_names == names
    assert [row.label for row in data.index] == labels


def test_a_blank_label_is_unknown_and_not_a_class(place: Path) -> None:
    data = table(place, "path,label\nimg/a.png,1\nimg/b.png,\nimg/c.png,NaN\nimg/d.png,0\n")
    assert data.class_names == ("0", "1")
    assert [row.label for row in data.index] == [1, None, None, 0]
    rows, skips = labelled_rows(data.index)
    assert rows == [0, 3]
    assert {skip.kind for skip in skips} == {"unlabelled"}
    assert data[1].label is None
    assert "2 of 4 cases have no label" in data.notes


def test_label_columns_of_a_multi_label_task(place: Path) -> None:
    text = "path,age,mass,edema\nimg/a.png,61,1,0\nimg/b.png,,,1.0\nimg/c.png,7,,\n"
    data = table(place, text, labels="mass, edema")
    assert (data.task, data.class_names) == ("multilabel", ("mass", "edema"))
    assert data.index[0].labels == (1.0, 0.0)
    second = data.index[1].labels
    assert second is not None
    assert math.isnan(second[0])
    assert second[1] == 1.0
    assert labelled_rows(data.index)[0] == [0, 1]
    labels = data[2].labels
    assert labels is not None
    assert labels.dtype == np.float32
    assert np.isnan(labels).all()
    same = table(place, text, labels=["mass", "edema"])
    assert repr(same.index) == repr(data.index)
    with pytest.raises(DataError, match="single-label"):
        table(place, text, labels="mass,edema", positive="mass")


def test_label_columns_are_found_when_nothing_else_is_there(place: Path) -> None:
    data = table(place, "path,patient,mass,edema,none\nimg/a.png,p,1,0,\nimg/b.png,q,0,,\n")
    assert data.class_names == ("mass", "edema", "none")
    assert data.notes == (
        "the labels are the columns mass, edema, none",
        "label 'none' is unknown for every case",
    )


def test_labels_that_are_not_binary_are_refused(place: Path) -> None:
    text = "path,mass,edema\nimg/a.png,1,0\nimg/b.png,-1,0\n"
    refused(place, text, r"column 'mass' of t.csv holds '-1' in line 3.*blank", labels="mass,edema")
    said = refused(place, "path,name,edema\nimg/a.png,Doe John,0\n", "no column 'label'.*'name'")
    assert "Doe" not in said
    refused(place, "path,label\nimg/a.png,0.25\nimg/b.png,1\n", "0.25 in line 2.*whole numbers")
    refused(place, "path,label\nimg/a.png,\nimg/b.png,\n", "no label at all")


def test_missing_columns_name_the_nearest(place: Path) -> None:
    refused(place, "pth,label\nimg/a.png,x\n", "no column 'path'.*did you mean 'pth'")
    refused(place, "path,lable\nimg/a.png,x\n", "no column 'label'.*did you mean 'lable'")
    refused(place, "path,label\nimg/a.png,x\n", "patient='pat': no column 'pat'", patient="pat")
    refused(place, "path,label\nimg/a.png,x\n", "no column 'labl'.*'label'", label="labl")
    refused(place, "path,a,b\nimg/a.png,0,1\n", "give one of them", label="a", labels="a,b")
    refused(place, "path,a,b\nimg/a.png,0,1\n", "different names", labels="a,a")
    data = table(place, "where,what\nimg/a.png,x\n", path="where", label="What")
    assert data.class_names == ("x",)


def test_missing_files_are_recorded_and_left_out(place: Path) -> None:
    (place / "img" / "zero.png").touch()
    listed = ["img/a.png", "img/none.png", "img", "", "img/zero.png", "img/b.png"]
    text = "path,label\n" + "".join(f"{name},x{i}\n" for i, name in enumerate(listed))
    data = table(place, text)
    assert data.class_names == ("x0", "x5")
    assert [skip.kind for skip in data.skipped] == ["missing", "no-series", "no-path", "zero-byte"]
    assert data.skipped[0].message == "line 3: the listed file does not exist"
    data = table(place, "path,label\nimg/a.png,x\nimg/none.png,only-here\n")
    assert data.class_names == ("x",)
    refused(place, "path,label\na.png,x\nb.png,y\n", "none of the 2 files.*relative to the table")


def test_absolute_and_upward_paths_are_the_users_own(place: Path) -> None:
    (place / "sub").mkdir()
    inside = place / "sub" / "in.png"
    inside.write_bytes((place / "img" / "a.png").read_bytes())
    text = f"path,label\n../img/b.png,x\n{place / 'img' / 'c.png'},y\n{inside},y\n"
    data = table(place / "sub", text)
    assert data.source_name(0) == "../img/b.png"
    assert data.source_name(1) == (place / "img" / "c.png").as_posix()
    assert data.source_name(2) == "in.png"
    assert data[1].image[0, 0, 0] == 2


def test_a_file_listed_twice_counts_once_unless_the_rows_disagree(place: Path) -> None:
    (place / "img" / "soft.png").symlink_to(place / "img" / "a.png")
    data = table(place, "path,label\nimg/a.png,x\n./img/a.png,x\nimg/soft.png,x\nimg/b.png,y\n")
    assert [data.source_name(i) for i in range(2)] == ["img/a.png", "img/b.png"]
    assert [(s.kind, s.message) for s in data.skipped] == [
        ("repeated", "line 3 repeats line 2"),
        ("repeated", "line 4 repeats line 2"),
    ]
    same = table(place, "path,a,b\nimg/a.png,,1\nimg/a.png,,1\n")
    assert len(same) == 1
    for text in (
        "path,label\nimg/a.png,x\nimg/b.png,y\nimg/a.png,y\n",
        "path,label,patient\nimg/a.png,x,1\nimg/b.png,y,3\nimg/a.png,x,2\n",
        "path,label,split\nimg/a.png,x,train\nimg/b.png,y,test\nimg/a.png,x,test\n",
    ):
        refused(place, text, "line 2 and line 4 of t.csv name the same file")


def test_ids_of_the_users_own_must_differ(place: Path) -> None:
    data = table(place, "path,label,acc\nimg/a.png,x,77\nimg/b.png,y,78\n", id="acc")
    assert [row.case_id for row in data.index] == case_ids(["77", "78"])
    refused(place, "path,label,acc\nimg/a.png,x,7\nimg/b.png,y,7\n", "same 'acc'", id="acc")
    refused(place, "path,label,acc\nimg/a.png,x,7\nimg/b.png,y,\n", "blank in line 3", id="acc")


def test_constant_and_blank_patients_are_unknown(place: Path) -> None:
    data = table(place, "path,label,patient\nimg/a.png,x,1\nimg/b.png,y,1\n")
    assert [row.patient_id for row in data.index] == [None, None]
    assert any("same for every case" in note for note in data.notes)
    data = table(place, "path,label,patient\nimg/a.png,x,1\nimg/b.png,y,\nimg/c.png,y,2\n")
    assert [row.patient_id is None for row in data.index] == [False, True, False]
    assert any("1 of 3" in note for note in data.notes)


def test_unknown_parts_are_refused(place: Path) -> None:
    refused(place, "path,label,split\nimg/a.png,x,fold3\n", "'fold3' in line 2.*train, val or test")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_named_and_can_be_given(place: Path, encoding: str) -> None:
    text = "path,label\nimg/a.png,gesund\nimg/b.png,auffällig\n"
    (place / "t.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=f"not UTF-8.*pass encoding='{encoding}'"):
        Table(place / "t.csv")
    assert Table(place / "t.csv", encoding=encoding).class_names == ("auffällig", "gesund")


def test_wrong_encodings_are_refused(place: Path) -> None:
    (place / "t.csv").write_bytes("path,label\nimg/a.png,ä\n".encode("cp1252"))
    with pytest.raises(DataError, match="byte 0xe4 in line 2"):
        Table(place / "t.csv")
    with pytest.raises(DataError, match="is not ascii"):
        Table(place / "t.csv", encoding="ascii")
    with pytest.raises(DataError, match=r"unknown encoding 'cp1251x'.*did you mean"):
        Table(place / "t.csv", encoding="cp1251x")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"path,label\n", "no rows"),
        (b"path,label\nimg/a.png\n", "line 2 of t.csv has 1 fields, the header 2"),
        (b"path,label\nimg/a.png,x,y\n", "line 2 of t.csv has 3 fields"),
        (b"path,label,label\nimg/a.png,x,y\n", "two columns 'label'"),
        (b'path,label\nimg/a.png,"x\n', "line 2"),
        (b"PK\x03\x04rest", "save it as CSV"),
        (b"PAR1rest", "parquet"),
    ],
)
def test_what_is_no_table_is_refused(place: Path, data: bytes, said: str) -> None:
    (place / "t.csv").write_bytes(data)
    with pytest.raises(FormatError, match=said):
        Table(place / "t.csv")


def test_a_listed_file_that_is_no_picture_is_a_case_error(place: Path) -> None:
    (place / "img" / "x.txt").write_text("no picture")
    data = table(place, "path,label\nimg/x.txt,x\nimg/a.png,y\n")
    with pytest.raises(CaseError) as caught:
        data[0]
    assert caught.value.kind == "not-a-picture"


def test_labels_need_not_be_looked_at(place: Path) -> None:
    data = table(place, "path,label\nimg/a.png,0.5\n", labelled=False)
    assert (data.task, data.class_names, data.index[0].label) == ("unlabelled", (), None)


def test_identity_depends_on_the_files_and_not_on_the_labels(place: Path) -> None:
    first = table(place, "path,label\nimg/a.png,x\nimg/b.png,y\n").identity()
    assert table(place, "path,label\nimg/a.png,y\nimg/b.png,x\n").identity() == first
    assert table(place, "path,label\nimg/a.png,y\nimg/c.png,x\n").identity() != first
    os.utime(place / "img" / "a.png", ns=(1, 1))
    assert table(place, "path,label\nimg/a.png,x\nimg/b.png,y\n").identity() != first


def test_parquet_without_pyarrow_names_the_extra(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (place / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pip install 'radzoo\[parquet\]'"):
        Table(place / "t.parquet")


def test_parquet_keeps_numbers_and_blanks(place: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow absent: parquet is an extra")
    from pyarrow import parquet

    columns = {
        "path": ["img/a.png", "img/b.png", "img/c.png"],
        "label": [10, None, 9],
        "patient": [1.0, 2.0, None],
    }
    parquet.write_table(pyarrow.table(columns), place / "t.parquet")
    data = Table(place / "t.parquet")
    assert data.class_names == ("9", "10")
    assert [row.label for row in data.index] == [1, None, 0]
    assert data.index[0].patient_id == patient_pseudonym("1")
    assert data.index[2].patient_id is None
    (place / "bad.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(FormatError, match="no readable parquet"):
        Table(place / "bad.parquet")


def test_binary_rubbish_is_called_no_text(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"path,label\n" + bytes(range(256)))
    with pytest.raises(DataError, match=r"no text .*save it as CSV in UTF-8"):
        read_table(path)

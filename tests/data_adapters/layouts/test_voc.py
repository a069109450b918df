"""Pascal VOC folders, good and odd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_adapters
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.layouts.voc import Voc
from data_adapters.privacy import patient_pseudonym


def page(*objects: tuple[str, int, int, int, int], size: tuple[int, int] = (20, 30),
         more: str = "") -> str:  # fmt: skip
    """An annotation of (name, xmin, ymin, xmax, ymax)."""
    nodes = "".join(
        f"<object><name>{n}</name>{more}<bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for n, a, b, c, d in objects
    )
    return (
        f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>"
        f"{nodes}</annotation>"
    )


def build(root: Path, pages: dict[str, str], lists: dict[str, str] | None = None) -> Path:
    for i, (stem, text) in enumerate(pages.items()):
        (root / "Annotations").mkdir(parents=True, exist_ok=True)
        (root / "JPEGImages").mkdir(exist_ok=True)
        (root / "Annotations" / f"{stem}.xml").write_text(text)
        Image.fromarray(np.full((20, 30), i, np.uint8)).save(root / "JPEGImages" / f"{stem}.png")
    for part, text in (lists or {}).items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text(text)
    return root


def test_boxes_count_from_one_and_include_the_last_pixel(tmp_path: Path) -> None:
    build(tmp_path, {"p1_a": page(("b", 1, 1, 30, 20), ("a", 5, 3, 14, 7)), "p2_b": page()})
    data = data_adapters.open(tmp_path, patient="(p[0-9])_")
    assert (data.kind, data.task, data.class_names) == ("voc", "detection", ("a", "b"))
    first, second = data[0].lesions
    assert (first.label, first.box) == (1, (0, 0, 20, 30))
    assert (second.label, second.box) == (0, (2, 4, 7, 14))
    assert data[1].lesions == ()
    assert data.index[1].patient_id == patient_pseudonym("p2")
    zero = Voc(tmp_path, first_pixel=0)
    assert zero[0].lesions[1].box == (3, 5, 8, 15)
    assert {f.code for f in zero.findings} == {"box-clipped"}


def test_degenerate_and_outside_boxes_are_reported(tmp_path: Path) -> None:
    build(tmp_path, {"a": page(("x", 5, 5, 5, 9), ("x", 5, 9, 7, 8), ("x", 40, 3, 50, 7),
                               ("x", 0, 3, 9, 7))})  # fmt: skip
    data = Voc(tmp_path)
    assert [lesion.box for lesion in data[0].lesions] == [(2, 0, 7, 9)]
    codes = {f.code: f.message.split()[0] for f in data.findings}
    assert codes == {"box-degenerate": "2", "box-outside": "1", "box-clipped": "1"}
    assert any("first_pixel=0" in note for note in data.notes)


def test_difficult_boxes_can_be_left_out(tmp_path: Path) -> None:
    hard = page(("x", 1, 1, 5, 5), more="<difficult>1</difficult>")
    build(tmp_path, {"a": hard, "b": page(("x", 2, 2, 9, 9))})
    assert len(Voc(tmp_path)[0].lesions) == 1
    data = Voc(tmp_path, difficult=False)
    assert (len(data[0].lesions), len(data[1].lesions)) == (0, 1)
    assert "1 boxes are marked difficult and are not used" in data.notes


def test_parts_come_from_the_lists(tmp_path: Path) -> None:
    pages = {stem: page(("x", 1, 1, 9, 9)) for stem in "abcd"}
    build(tmp_path, pages, {"train": "b\nd -1\n", "val": "a\n\n", "test": "e\n../c\n"})
    data = Voc(tmp_path)
    names = [(data.source_name(i)[-5], row.part) for i, row in enumerate(data.index)]
    assert names == [("b", "train"), ("d", "train"), ("a", "val")]
    assert [skip.kind for skip in data.skipped] == ["missing", "missing"]
    build(tmp_path, {}, {"val": "b\n"})
    with pytest.raises(FormatError, match=r"both train\.txt and val\.txt"):
        Voc(tmp_path)


def test_trainval_lists_cases_without_parts(tmp_path: Path) -> None:
    build(tmp_path, {s: page(("x", 1, 1, 9, 9)) for s in "abc"}, {"trainval": "c\na\n"})
    (tmp_path / "Annotations" / "a.xml").unlink()
    data = Voc(tmp_path)
    assert [row.part for row in data.index] == [None]
    assert [skip.kind for skip in data.skipped] == ["unlabelled"]


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'
OUTER = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "document type or entities"),
        (OUTER, "document type or entities"),
        ("<annotation>", "no valid XML"),
        ("", "no valid XML"),
        ("<a>" * 100 + "</a>" * 100, "nested more than"),
        ("<html></html>", "no annotation of Pascal VOC"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "no valid XML|encoding"),
        ("<annotation><object/></annotation>", "an object has no name"),
        (page(("x", 1, 1, 9, 9)).replace("<xmax>9", "<xmax>nan"), "no number xmax"),
        (page(("x", 1, 1, 9, 9)).replace("<ymin>1", "<ymin>1,5"), "no number ymin"),
        ("<annotation>" + "x" * (17 << 20) + "</annotation>", "the limit for XML"),
    ],
    ids=range(11),
)
def test_damaged_or_dangerous_xml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    build(tmp_path, {"John Doe": text})
    with pytest.raises(FormatError, match=said) as caught:
        Voc(tmp_path)
    assert "Doe" not in str(caught.value)


def test_a_picture_of_another_size_is_an_error_of_the_case(tmp_path: Path) -> None:
    data = Voc(build(tmp_path, {"a": page(("x", 1, 1, 9, 9), size=(30, 20))}))
    with pytest.raises(CaseError) as caught:
        data[0]
    assert caught.value.kind == "size"
    unknown = Voc(build(tmp_path, {"a": page(("x", 1, 1, 99, 9), size=(0, 0))}))
    assert unknown[0].lesions[0].box == (0, 0, 9, 99)


def masked(root: Path, values: Any, *, mode: str = "P") -> Path:
    build(root, {"a": page(("dog", 1, 1, 9, 9)), "b": page(("cat", 1, 1, 9, 9))})
    (root / "SegmentationClass").mkdir(exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if mode == "P":
        image.putpalette([(i * 37) % 256 for i in range(768)])
    else:
        image = image.convert(mode)
    image.save(root / "SegmentationClass" / "a.png")
    return root


def test_masks_are_the_indices_of_the_palette(tmp_path: Path) -> None:
    values = np.zeros((20, 30), np.uint8)
    values[3:5, 4:9], values[0], values[10, 10] = 12, 255, 20
    data = Voc(masked(tmp_path, values), task="segmentation")
    assert (data.class_names[0], data.class_names[12]) == ("background", "dog")
    assert len(data.class_names) == 21
    assert len(data) == 1
    wanted = values.astype(int)
    wanted[0] = -1
    np.testing.assert_array_equal(data[0].mask, wanted)
    named = Voc(tmp_path, task="segmentation", classes=",".join("abcdefghijklmnopqrst"))
    assert named.class_names[12] == "l"
    (tmp_path / "labelmap.txt").write_text("# label\nbackground:0,0,0::\ncell:1,2,3::\n")
    short = Voc(tmp_path, task="segmentation")
    assert short.class_names == ("background", "cell")
    with pytest.raises(CaseError, match="holds 12, the classes end at 1"):
        short[0]


@pytest.mark.parametrize(
    ("values", "mode", "kind"),
    [(np.zeros((20, 30)), "RGB", "mask-colour"), (np.zeros((30, 20)), "P", "size")],
)
def test_masks_that_do_not_fit(tmp_path: Path, values: Any, mode: str, kind: str) -> None:
    data = Voc(masked(tmp_path, values, mode=mode), task="segmentation")
    with pytest.raises(CaseError) as caught:
        data[0]
    assert caught.value.kind == kind


def test_masks_whose_values_nobody_names_are_refused(tmp_path: Path) -> None:
    masked(tmp_path, np.zeros((20, 30)))
    (tmp_path / "Annotations" / "b.xml").write_text(page(("platelet", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="nothing says what the values of the masks mean"):
        Voc(tmp_path, task="segmentation")


def test_options_are_checked(tmp_path: Path) -> None:
    build(tmp_path, {"a": page()})
    for wrong in ({"task": "x"}, {"first_pixel": 2}):
        with pytest.raises(DataError, match="wanted"):
            Voc(tmp_path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="holds an object"):
        Voc(tmp_path)


@pytest.mark.data
def test_blood_smears_of_the_shared_data(radzoo_data: Path) -> None:
    data = data_adapters.open(radzoo_data / "bccd")
    assert len(data) == 292
    assert data.class_names == ("Platelets", "RBC", "WBC")
    assert {row.part for row in data.index} == {"train", "val"}
    assert [finding.code for finding in data.findings] == ["box-degenerate"] * 2
    case = data[0]
    assert case.lesions[0].box is not None
    text = (
        radzoo_data / "bccd" / "Annotations" / f"{Path(data.source_name(0)).stem}.xml"
    ).read_text()
    values = [int(text.split(f"<{k}>")[1].split("<")[0]) for k in ("ymin", "xmin", "ymax", "xmax")]
    assert case.lesions[0].box == (values[0] - 1, values[1] - 1, values[2], values[3])

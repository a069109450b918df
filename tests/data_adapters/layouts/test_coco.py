"""COCO files, good and odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_adapters
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.layouts.coco import Coco
from data_adapters.layouts.coco_file import part_of, read_coco
from data_adapters.layouts.masks import mask_rle, pack_counts, polygon_area
from data_adapters.privacy import patient_pseudonym

CATEGORIES = [{"id": 7, "name": "cyst"}, {"id": 3, "name": "mass"}]


def write(root: Path, annotations: list[dict[str, Any]], **extra: Any) -> Path:
    """Two pictures of 20 x 30 with these annotations; `extra` replaces keys of the file."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    images = []
    for i in (1, 2):
        Image.fromarray(np.full((20, 30), i, np.uint8)).save(root / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"images/{i}.png", "height": 20, "width": 30})
    for i, one in enumerate(annotations):
        one.setdefault("id", i)
        one.setdefault("image_id", 1)
        one.setdefault("category_id", 3)
    whole = {"images": images, "annotations": annotations, "categories": CATEGORIES, **extra}
    path = root / "all.json"
    path.write_text(json.dumps({k: v for k, v in whole.items() if v is not None}))
    return path


def test_boxes_are_row_column_with_an_exclusive_corner(tmp_path: Path) -> None:
    path = write(tmp_path, [{"bbox": [4, 2, 10, 5]}, {"bbox": [0.5, 0, 3, 20], "category_id": 7}])
    data = data_adapters.open(path)
    assert (data.kind, data.task, data.class_names) == ("coco", "detection", ("mass", "cyst"))
    first, second = data[0].lesions
    assert (first.label, first.box) == (0, (2, 4, 7, 14))
    assert (second.label, second.box) == (1, (0, 0.5, 20, 3.5))
    assert data[1].lesions == ()
    assert data[0].mask is None
    assert data.source_name(0) == "images/1.png"


def test_degenerate_outside_and_clipped_boxes_are_reported(tmp_path: Path) -> None:
    boxes = [[4, 2, 0, 5], [4, 2, 3, -1], [40, 2, 3, 3], [25, 15, 10, 10], [1, 1, 2, 2]]
    data = Coco(write(tmp_path, [{"bbox": box} for box in boxes]))
    assert [lesion.box for lesion in data[0].lesions] == [(15, 25, 20, 30), (1, 1, 3, 3)]
    found = {f.code: (f.severity, f.message, f.case_id, f.source) for f in data.findings}
    who = (data.index[0].case_id, "images/1.png")
    assert found == {
        "box-degenerate": (
            "warning", "2 boxes have zero width or height and are not used", *who
        ),
        "box-outside": ("error", "1 box lies outside the picture and is not used", *who),
        "box-clipped": ("warning", "1 box reaches beyond the picture and is cut to it", *who),
    }  # fmt: skip
    assert "findings: box-clipped 1, box-degenerate 1, box-outside 1" in data.notes


def test_masks_from_outlines_and_run_lengths(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), bool)
    mask[10:14, 3:9] = True
    runs = mask_rle(mask)
    rle = {"size": [20, 30], "counts": runs}
    packed = {"size": [20, 30], "counts": pack_counts(runs)}
    square = [[20, 2, 25, 2, 25, 6, 20, 6]]
    for crowd in (rle, packed):
        path = write(
            tmp_path,
            [
                {"segmentation": square, "category_id": 7},
                {"segmentation": crowd, "iscrowd": 1, "bbox": [3, 10, 6, 4]},
            ],
        )
        data = Coco(path, task="segmentation")
        assert data.class_names == ("background", "mass", "cyst")
        case = data[0]
        assert case.masks is None
        np.testing.assert_array_equal(case.mask == 1, mask)
        assert (case.mask == 2).sum() == 20
        assert case.mask[2:6, 20:25].min() == 2
        np.testing.assert_array_equal(data[1].mask, np.zeros((20, 30)))
        boxes = Coco(path)
        assert [lesion.box for lesion in boxes[0].lesions] == [(2, 20, 6, 25)]
        assert any("1 crowd regions" in note for note in boxes.notes)


def test_overlapping_classes_become_channels(tmp_path: Path) -> None:
    a, b = [[2, 2, 8, 2, 8, 8, 2, 8]], [[5, 5, 12, 5, 12, 12, 5, 12]]
    path = write(tmp_path, [{"segmentation": a}, {"segmentation": b, "category_id": 7}])
    case = Coco(path, task="segmentation")[0]
    assert case.mask is None
    assert case.masks.shape == (20, 30, 2)
    assert case.masks.sum(axis=(0, 1)).tolist() == [36, 49]
    same = Coco(write(tmp_path, [{"segmentation": a}, {"segmentation": b}]), task="segmentation")
    assert same[0].mask.sum() == 36 + 49 - 9


def test_outlines_without_area_are_an_error_of_the_mask(tmp_path: Path) -> None:
    path = write(tmp_path, [{"segmentation": [[1, 1, 2, 2]]}, {"bbox": [1, 1, 3, 3]}])
    (finding,) = Coco(path, task="segmentation").findings
    assert (finding.severity, finding.code) == ("error", "outline")
    assert finding.message.startswith("2 annotations")


def test_cache_keys_follow_masks_and_not_boxes(tmp_path: Path) -> None:
    square = [[2, 2, 8, 2, 8, 8, 2, 8]]
    first = [{"segmentation": square}]
    keys = [Coco(write(tmp_path, first), task=t).file_key(0) for t in ("detection", "segmentation")]
    square[0][0] = 3
    again = [
        Coco(write(tmp_path, first), task=t).file_key(0) for t in ("detection", "segmentation")
    ]
    strip = ["|".join(key.split("|")[:2]) for key in keys]
    assert strip[0] == strip[1]
    assert keys[1].split("|")[3] != again[1].split("|")[3]
    assert keys[0].count("|") == 2


def test_parts_from_file_names_and_patients_from_fields(tmp_path: Path) -> None:
    for part, group in (("train", 4), ("val", 5)):
        folder = tmp_path / f"{part}2017"
        folder.mkdir()
        Image.fromarray(np.full((5, 6), group, np.uint8)).save(folder / "a.png")
        image = {"id": 1, "file_name": "a.png", "height": 5, "width": 6, "group": group}
        whole = {"images": [image], "annotations": [], "categories": CATEGORIES}
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(whole))
    (tmp_path / "annotations" / "captions_val2017.json").write_text('{"annotations":[]}')
    data = data_adapters.open(tmp_path)
    assert [row.part for row in data.index] == ["train", "val"]
    assert [row.patient_id for row in data.index] == [patient_pseudonym(g) for g in "45"]
    assert [data[i].image[0, 0, 0] for i in range(2)] == [4, 5]
    assert [data.source_name(i) for i in range(2)] == ["train2017/a.png", "val2017/a.png"]
    with pytest.raises(DataError, match="no image has such a field"):
        Coco(tmp_path, patient="person")


@pytest.mark.parametrize(
    ("name", "part"),
    [("instances_val2017", "val"), ("Training", "train"), ("_annotations.coco", None),
     ("train_and_test", None), ("valid", "val"), ("constrain", None)],
)  # fmt: skip
def test_part_of_a_name(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_missing_empty_and_outside_files_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, [])
    whole = json.loads(path.read_text())
    (tmp_path / "images" / "empty.png").touch()
    (tmp_path.parent / "secret.png").write_bytes((tmp_path / "images/1.png").read_bytes())
    absolute = str(tmp_path.parent / "secret.png")
    names = ["gone.png", "images/empty.png", "../secret.png", absolute, "images/../../secret.png"]
    names += ["..\\secret.png", "C:\\secret.png", "images", "a\0b"]
    whole["images"] += [{"id": 10 + i, "file_name": n} for i, n in enumerate(names)]
    path.write_text(json.dumps(whole))
    data = Coco(path)
    assert len(data) == 2
    kinds = [skip.kind for skip in data.skipped]
    assert kinds == ["missing", "zero-byte", *["outside"] * 5, "not-a-file", "outside"]
    assert "secret" not in repr(data.skipped) + repr(data.notes)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"categories": None}, "has no 'categories'"),
        ({"annotations": None}, "has no 'annotations'"),
        ({"categories": []}, "has no categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "repeats an id"),
        ({"categories": [{"id": True, "name": "a"}]}, "wanted a whole number, found bool"),
        ({"images": {}}, "images: wanted a list, found an object"),
        ({"images": [{"id": 1, "file_name": 3}]}, r"images\[0\].file_name: wanted a text"),
        ({"images": [{"id": 1, "file_name": "gone.png"}]}, "none of the 1 files"),
        ({"images": [{"id": 1, "file_name": "a", "height": -1, "width": 2}]}, "not above 0"),
        ({"images": [{"id": 1, "file_name": "a", "height": 9, "width": 10**999}]}, "too large"),
        ({"images": []}, "lists no case"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, extra: dict[str, Any], said: str) -> None:
    path = write(tmp_path, [], **{k: v for k, v in extra.items() if k != "annotations"})
    if "annotations" in extra:
        path.write_text(path.read_text().replace('"annotations"', '"other"'))
    with pytest.raises(FormatError, match=said):
        Coco(path)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"category_id": 4}, "category 4, which the file does not list"),
        ({"bbox": [1, 2, 3]}, "has 3 numbers"),
        ({"bbox": [1, 2, 3, "4"]}, r"annotations\[0\].bbox: wanted a whole number or a number"),
        ({"bbox": [1e300, 2, 3, 4]}, "no place in a picture"),
        ({"bbox": [1, 2, 3, 10**999]}, "no place in a picture"),
        ({"segmentation": [[1, 2, 3, 4, True, 6]]}, "found bool"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "odd number"),
        ({"segmentation": {"size": [1], "counts": []}}, "wanted height and width"),
        ({"segmentation": {"size": [1, 2], "counts": 5}}, "wanted a list or a text"),
        ({"image_id": None}, "image_id"),
    ],
)
def test_damaged_annotations_are_refused(
    tmp_path: Path, annotation: dict[str, Any], said: str
) -> None:
    path = write(tmp_path, [annotation])
    with pytest.raises(FormatError, match=said):
        Coco(path)


@pytest.mark.parametrize(
    "text",
    ['{"images": NaN, "annotations": []}', '{"annotations": [', '"annotations"' + "[" * 100_000,
     '{"annotations": ' + "9" * 5000 + "}", '{"annotations": "\udc80"}', '{"annotations":1e999}'],
    ids=["nan", "cut", "deep", "long", "encoding", "infinite"],
)  # fmt: skip
def test_invalid_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError):
        data_adapters.open(path)


def test_too_large_json_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [])
    monkeypatch.setattr("data_adapters.layouts.common.read_json.__kwdefaults__", {"limit": 10})
    with pytest.raises(FormatError, match="the limit for JSON is 10"):
        Coco(path)


def test_annotations_of_unlisted_pictures_are_reported(tmp_path: Path) -> None:
    data = Coco(write(tmp_path, [{"image_id": 99, "bbox": [1, 1, 2, 2]}]))
    (finding,) = data.findings
    assert (finding.code, finding.severity) == ("annotation-orphan", "warning")


def test_a_picture_of_another_size_is_an_error_of_the_case(tmp_path: Path) -> None:
    data = Coco(write(tmp_path, []))
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "images" / "1.png")
    with pytest.raises(CaseError) as caught:
        data[0]
    assert caught.value.kind == "size"


def test_damaged_run_lengths_are_an_error_of_the_case(tmp_path: Path) -> None:
    for counts, size in (("138", [20, 30]), ([600], [30, 20]), ([10**30], [20, 30])):
        path = write(tmp_path, [{"segmentation": {"size": size, "counts": counts}}])
        with pytest.raises(CaseError) as caught:
            Coco(path, task="segmentation")[0]
        assert caught.value.kind == "outline"


def test_the_same_picture_twice_and_unclear_parts_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [])
    (tmp_path / "more.json").write_text(path.read_text())
    with pytest.raises(FormatError, match="give the one you mean"):
        Coco(tmp_path)
    whole = json.loads(path.read_text())
    whole["images"].append({"id": 3, "file_name": "./images//1.png"})
    path.write_text(json.dumps(whole))
    with pytest.raises(FormatError, match=r"all\.json list a picture more than once"):
        Coco(path)
    with pytest.raises(DataError, match="wanted 'detection' or 'segmentation'"):
        Coco(path, task="masks")  # type: ignore[arg-type]


@pytest.mark.data
def test_brain_pictures_of_the_shared_data(radzoo_data: Path) -> None:
    folder = radzoo_data / "br35h"
    data = data_adapters.open(folder, task="segmentation")
    boxes = data_adapters.open(folder)
    assert len(data) == 576
    assert sum(len(boxes._boxes[i]) for i in range(576)) == 672  # type: ignore[attr-defined]
    people = [{r.patient_id for r in data.index if r.part == part} for part in ("train", "val")]
    assert not people[0] & people[1]
    assert data[0].mask is not None
    off = []
    files = [read_coco(folder / f"{part}.json") for part in ("train", "val")]
    for image in (image for file in files for image in file.images.values()):
        for outline in image.outlines:
            assert image.size is not None
            points = [np.reshape(flat, (-1, 2)) for flat in outline.polygons]
            edge = sum(np.linalg.norm(p - np.roll(p, -1, 0), axis=1).sum() for p in points)
            area = sum(map(polygon_area, points))
            if abs(outline.raster(image.size).sum() - area) > edge / 2:
                off.append(image.name)
    assert off == ["images/y689.jpg"]  # a circle that is cut at the upper edge

"""Deliveries of every layout with the marked name planted in all their texts."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from data_adapters.layouts.record_file import write_records
from tests.data_adapters.layouts.records import example, png
from tests.planting import (
    MARK,
    dicom_text_elements,
    planted_dicom,
    write_planted_pictures,
    write_planted_volumes,
)


def dicom_set(root: Path) -> Path:
    """24 planted CT pictures, a planted table of them, one file cut short and one without label."""
    rows = [("path", "label", "patient", "comment", f"{MARK} column")]
    for i in range(26):
        name = f"{MARK} {i}/IM {MARK}{i}.dcm"
        data = planted_dicom(i, every=i < 2)
        if i == 0:
            assert dicom_text_elements(data) > 2000
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(data[:-300] if i == 25 else data)
        label = "" if i == 24 else ("plain", "lesion")[i % 2]
        rows.append((name, label, f"{MARK} {i}", MARK, MARK.lower()))
    with (root / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root / "cases.csv"


def pictures(root: Path) -> Path:
    """Class folders of pictures."""
    write_planted_pictures(root)
    return root


def volumes(root: Path) -> Path:
    """A folder of volumes."""
    write_planted_volumes(root)
    return root


def coco(root: Path) -> Path:
    """COCO with the mark in every free text."""
    write_planted_pictures(root / "pictures")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    images = [
        {
            "id": i,
            "file_name": path.relative_to(root).as_posix(),
            "height": 24,
            "width": 24,
            "coco_url": MARK,
            "date_captured": MARK,
        }
        for i, path in enumerate(files)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [2, 3, 9, 8 + 20 * (i == 1)], "by": MARK}
        for i in range(len(files))
    ]
    whole = {
        "info": {"description": MARK, "contributor": MARK},
        "licenses": [{"name": MARK}],
        "images": [*images, {"id": 99, "file_name": f"{MARK}/gone.png", "height": 5, "width": 5}],
        "annotations": [*boxes, {"id": 98, "image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "mass", "supercategory": MARK}],
    }
    (root / "all.json").write_text(json.dumps(whole))
    return root


def voc(root: Path) -> Path:
    """Pascal VOC with the mark in names and texts."""
    write_planted_pictures(root / "pictures")
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir()
    for path in sorted((root / "pictures").rglob("*.[jp][pn]g")):
        shutil.move(path, root / "JPEGImages" / path.name)
        (root / "Annotations" / f"{path.stem}.xml").write_text(
            f"<annotation><folder>{MARK}</folder><filename>{path.name}</filename>"
            f"<source><database>{MARK}</database></source><owner><name>{MARK}</name></owner>"
            f"<!-- {MARK} --><object><name>cell</name><pose>{MARK}</pose><bndbox><xmin>2</xmin>"
            "<ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
        )
    shutil.rmtree(root / "pictures")
    return root


def tree(root: Path) -> Path:
    """A DICOM tree of short stacks, one of them cut short."""
    for i in range(12):
        path = root / f"{MARK} {i // 3}" / f"{MARK} IM{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = planted_dicom(i // 3, every=i == 0, slice_=i % 3)
        path.write_bytes(data[:-300] if i == 11 else data)
    return root


def luna(root: Path) -> Path:
    """Volumes with a table of marks in which some rows are wrong."""
    write_planted_volumes(root)
    head = f"seriesuid,coordX,coordY,coordZ,diameter_mm,{MARK}"
    rows = [f"{MARK}_{i},3,4,2,3,{MARK}" for i in range(4)]
    rows += [f"{MARK}_gone,3,4,2,3,", f"{MARK}_1,900,4,2,3,"]
    (root / "annotations.csv").write_text("\n".join([head, *rows]) + "\n")
    return root


def records(root: Path) -> Path:
    """TFRecords with the mark in ids, patients and features that nobody asked for."""
    root.mkdir(parents=True)
    made = [
        example({"pic": png(i), "class": i % 2, "name": f"{MARK} {i}", "who": MARK + str(i)})
        for i in range(6)
    ]
    write_records(root / f"{MARK}.tfrecord", made)
    (root / "features.yaml").write_text("image: pic\nlabel: class\nid: name\npatient: who\n")
    return root


DELIVERIES = {
    "luna": luna,
    "records": records,
    "pictures": pictures,
    "volumes": volumes,
    "coco": coco,
    "voc": voc,
    "dicom": tree,
}

"""A small sample of each layout, for the tests of every adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import data_adapters
from data_adapters import Adapter
from tests.data_adapters.layouts.records import tfrecords
from tests.data_adapters.layouts.tfds_sets import tfds_copy
from tests.data_adapters.layouts.volumes import (
    decathlon,
    label_map,
    nnunet,
    picture,
    save_volume,
)

Sample = tuple[str, Callable[[Path], object], Callable[[Path], Adapter]]


def pictures(root: Path, *names: str) -> None:
    """Random pictures of 40 x 30."""
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)).save(root / name)


def coco(root: Path) -> None:
    pictures(root, "images/a.png", "images/b.png", "images/c.png")
    images = [
        {"id": i, "file_name": f"images/{name}.png", "height": 40, "width": 30, "group": i % 2}
        for i, name in enumerate("abc")
    ]
    outline = [[3, 4, 20, 4, 20, 30, 3, 30]]
    boxes = [
        {"id": i, "image_id": i, "category_id": 5, "bbox": [3, 4, 17, 26], "segmentation": outline}
        for i in range(2)
    ]
    whole = {"images": images, "annotations": boxes, "categories": [{"id": 5, "name": "mass"}]}
    (root / "all.json").write_text(json.dumps(whole))


def voc(root: Path) -> None:
    pictures(root, "JPEGImages/a.png", "JPEGImages/b.png", "SegmentationClass/a.png")
    (root / "Annotations").mkdir()
    for name in "ab":
        (root / "Annotations" / f"{name}.xml").write_text(
            "<annotation><object><name>cell</name><bndbox><xmin>2</xmin><ymin>3</ymin>"
            "<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
        )


def mask_table(root: Path) -> None:
    for i, name in enumerate("ab"):
        save_volume(root / f"{name}.nii.gz", picture(i))
        save_volume(root / f"{name}-mask.nrrd", label_map(i, (0, 4)))
    rows = (
        "path,mask,site,date\na.nii.gz,a-mask.nrrd,A,2020-01-02\nb.nii.gz,b-mask.nrrd,B,20200103\n"
    )
    (root / "cases.csv").write_text(rows)


def luna(root: Path) -> None:
    """Two volumes with a nodule each."""
    rows = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
    for i, name in enumerate(("1.2.3", "1.2.4")):
        save_volume(root / "subset0" / f"{name}.mha", picture(i))
        rows += f"{name},6,-1,12,4\n"
    (root / "annotations.csv").write_text(rows)


LAYOUT_SAMPLES: dict[str, Sample] = {
    "decathlon": ("decathlon", decathlon, lambda root: data_adapters.open(root)),
    "nnunet": ("nnunet", nnunet, lambda root: data_adapters.open(root)),
    "coco": ("coco", coco, lambda root: data_adapters.open(root)),
    "coco, masks": (
        "coco",
        coco,
        lambda root: data_adapters.open(root / "all.json", task="segmentation"),
    ),
    "luna": ("luna", luna, lambda root: data_adapters.open(root)),
    "tfds": (
        "tfds",
        tfds_copy,
        lambda root: data_adapters.open("tfds:cells/masks", data_dir=str(root)),
    ),
    "tfrecord": ("tfrecord", tfrecords, lambda root: data_adapters.open(root)),
    "voc": ("voc", voc, lambda root: data_adapters.open(root)),
    "table, masks": (
        "table",
        mask_table,
        lambda root: data_adapters.open(root / "cases.csv", classes="0=background,4=mass"),
    ),
}

"""One COCO file, checked: categories, images and their annotations."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.entries import is_plain
from data_adapters.errors import FormatError
from data_adapters.layouts.common import expect, read_json
from data_adapters.layouts.masks import Mask, polygons_mask, rle_mask

_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_FARTHEST = 10**9
_PARTS = (("train", "train"), ("val", "val"), ("dev", "val"), ("test", "test"))


@dataclass(frozen=True, slots=True)
class Outline:
    """One annotation.

    Attributes:
        label: Position of its category in the order of the ids.
        box: Upper left corner, then lower right (exclusive), (row, column) in pixels; NaN where
            the file gives none.
        polygons: Outlines that add up, each x0, y0, x1, y1, ...
        rle: (height, width, run lengths or their packed text).
        crowd: It marks a region of many objects.
        fault: Why it cannot become a mask; empty where it can.
    """

    label: int
    box: tuple[float, float, float, float]
    polygons: tuple[tuple[float, ...], ...] = ()
    rle: tuple[int, int, str | tuple[int, ...]] | None = None
    crowd: bool = False
    fault: str = ""

    def raster(self, shape: tuple[int, int]) -> Mask:
        """(H, W) mask of the annotation.

        Raises:
            FormatError: Its run lengths are damaged or of another size.
        """
        if self.rle is None:
            return polygons_mask(self.polygons, shape)
        height, width, counts = self.rle
        if (height, width) != shape:
            raise FormatError(f"run lengths of {height} x {width} on a picture of another size")
        return rle_mask(counts, shape)


@dataclass(slots=True)
class Image:
    """One picture of the file.

    Attributes:
        id: The file's own number or name of it.
        name: Relative path.
        size: (height, width); None where the file does not say.
        facts: Its other fields that are texts or whole numbers, as texts.
        outlines: Its annotations.
    """

    id: int | str
    name: str
    size: tuple[int, int] | None
    facts: Mapping[str, str]
    outlines: list[Outline] = field(default_factory=list)


@dataclass(frozen=True)
class CocoFile:
    """One file.

    Attributes:
        path: Where it lies.
        categories: Names by id, in the order of the ids.
        images: Pictures by id, in the file's order.
        orphans: Number of annotations whose picture is not listed.
    """

    path: Path
    categories: dict[int, str]
    images: dict[int | str, Image]
    orphans: int


def looks_like_coco(path: Path) -> bool:
    """Whether the first or last 64 KiB of a file name a key of COCO's."""
    if not is_plain(path):
        return False
    try:
        with path.open("rb") as file:
            text = file.read(65536)
            file.seek(max(0, path.stat().st_size - 65536))
            text += file.read(65536)
    except OSError:
        return False
    return any(key in text for key in _KEYS[1:]) or (_KEYS[0] in text and b'"file_name"' in text)


def part_of(name: str) -> str | None:
    """The part that a file or folder name speaks of; None when none or several."""
    words = re.findall("[a-z]+", name.lower())
    found = {part for word in words for start, part in _PARTS if word.startswith(start)}
    return found.pop() if len(found) == 1 else None


def read_coco(path: Path) -> CocoFile:
    """Read and check a COCO file.

    Raises:
        FormatError: It is no JSON, or a required field is absent, of the wrong kind, or refers to
            a category that is not listed; the message names the entry by its place.
    """
    name = path.name
    whole = expect(read_json(path), dict, name)
    for key in ("images", "annotations", "categories"):
        if key not in whole:
            raise FormatError(f"{name} has no {key!r}: a COCO file with truth has all of images, "
                              "annotations and categories")  # fmt: skip
    categories = _categories(expect(whole["categories"], list, f"{name}: categories"), name)
    images: dict[int | str, Image] = {}
    for i, entry in enumerate(expect(whole["images"], list, f"{name}: images")):
        image = _image(entry, f"{name}: images[{i}]")
        if images.setdefault(image.id, image) is not image:
            raise FormatError(f"{name}: images[{i}] has the id of another image")
    order = {id_: k for k, id_ in enumerate(categories)}
    orphans = 0
    for i, entry in enumerate(expect(whole["annotations"], list, f"{name}: annotations")):
        where = f"{name}: annotations[{i}]"
        entry = expect(entry, dict, where)
        outline = _outline(entry, order, where)
        owner = images.get(expect(entry.get("image_id"), (int, str), f"{where}.image_id"))
        if owner is None:
            orphans += 1
        else:
            owner.outlines.append(outline)
    return CocoFile(path, categories, images, orphans)


def _categories(entries: list[Any], name: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for i, entry in enumerate(entries):
        where = f"{name}: categories[{i}]"
        entry = expect(entry, dict, where)
        id_ = expect(entry.get("id"), int, f"{where}.id")
        title = expect(entry.get("name"), str, f"{where}.name").strip()
        if id_ in found or title in found.values() or not title:
            raise FormatError(f"{where} repeats an id or a name, or has no name")
        found[id_] = title
    if not found:
        raise FormatError(f"{name} has no categories")
    return dict(sorted(found.items()))


def _image(entry: Any, where: str) -> Image:
    entry = expect(entry, dict, where)
    size = None
    if entry.get("height") or entry.get("width"):
        height = expect(entry.get("height"), int, f"{where}.height")
        width = expect(entry.get("width"), int, f"{where}.width")
        if not (0 < height <= _FARTHEST and 0 < width <= _FARTHEST):
            raise FormatError(f"{where} has a size that is not above 0, or too large")
        size = (height, width)
    facts = {
        key: str(value)
        for key, value in entry.items()
        if isinstance(value, int | str) and not isinstance(value, bool)
    }
    return Image(
        expect(entry.get("id"), (int, str), f"{where}.id"),
        expect(entry.get("file_name"), str, f"{where}.file_name"),
        size,
        facts,
    )


def _outline(entry: dict[str, Any], order: Mapping[int, int], where: str) -> Outline:
    category = expect(entry.get("category_id"), int, f"{where}.category_id")
    if category not in order:
        raise FormatError(f"{where} has category {category}, which the file does not list")
    polygons, rle, fault = _segmentation(entry.get("segmentation"), where)
    box = entry.get("bbox")
    corners = _around(polygons) if box in (None, []) else _corners(box, where)
    crowd = expect(entry.get("iscrowd", 0), (int, bool), f"{where}.iscrowd")
    return Outline(order[category], corners, polygons, rle, bool(crowd), fault)


def _corners(box: Any, where: str) -> tuple[float, float, float, float]:
    """x, y, width, height to row, column, row, column."""
    values = expect(box, list, f"{where}.bbox")
    if len(values) != 4:
        raise FormatError(f"{where}.bbox has {len(values)} numbers; wanted x, y, width, height")
    x, y, width, height = _numbers(values, f"{where}.bbox")
    return y, x, y + height, x + width


def _numbers(values: list[Any], where: str) -> tuple[float, ...]:
    """Coordinates, checked all at once where nothing is wrong: data sets hold millions."""
    plain = values and set(map(type, values)) <= {int, float}
    if plain and min(values) >= -_FARTHEST and max(values) <= _FARTHEST:
        return tuple(map(float, values))
    for value in values:
        if not -_FARTHEST <= expect(value, (int, float), where) <= _FARTHEST:
            raise FormatError(f"{where}: a coordinate is no place in a picture")
    return tuple(map(float, values))


def _around(polygons: tuple[tuple[float, ...], ...]) -> tuple[float, float, float, float]:
    if not polygons:
        return (math.nan,) * 4
    points = np.concatenate([np.reshape(flat, (-1, 2)) for flat in polygons])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(top), float(left), float(bottom), float(right)


def _segmentation(
    value: Any, where: str
) -> tuple[tuple[tuple[float, ...], ...], tuple[int, int, str | tuple[int, ...]] | None, str]:
    """Polygons, run lengths, and why there is neither."""
    where = f"{where}.segmentation"
    if value is None or value == []:
        return (), None, "absent"
    if isinstance(value, dict):
        return (), _rle(value, where), ""
    polygons = []
    for flat in expect(value, list, where):
        numbers = _numbers(expect(flat, list, where), where)
        if len(numbers) % 2:
            raise FormatError(f"{where}: an outline has an odd number of coordinates")
        if len(numbers) >= 6:
            polygons.append(numbers)
    return tuple(polygons), None, "" if len(polygons) == len(value) else "too few points"


def _rle(value: dict[str, Any], where: str) -> tuple[int, int, str | tuple[int, ...]]:
    size = [expect(v, int, f"{where}.size") for v in expect(value.get("size"), list, where)]
    if len(size) != 2:
        raise FormatError(f"{where}.size: wanted height and width")
    counts = expect(value.get("counts"), (list, str), f"{where}.counts")
    if isinstance(counts, list):
        counts = tuple(expect(run, int, f"{where}.counts") for run in counts)
    return size[0], size[1], counts

"""Pascal VOC: one XML file of boxes per picture, masks as palette pictures (VOC2012 devkit)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

from data_adapters.adapter import IndexRow, local_path, register_adapter
from data_adapters.case import Case, Lesion
from data_adapters.entries import is_folder
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.files import Found, is_hidden
from data_adapters.findings import Finding
from data_adapters.indexing import class_name_notes, class_order
from data_adapters.layouts.common import (
    LayoutCases,
    box_findings,
    fault_note,
    found_key,
    locate,
    named_patients,
    require_some,
    skips_of,
    usable_box,
)
from data_adapters.layouts.voc_masks import mask_classes, read_class_mask
from data_adapters.layouts.xml_file import read_xml
from data_adapters.pictures import PICTURE_SUFFIXES
from data_adapters.privacy import case_ids

BOXES, PICTURES, SETS, MASKS = "Annotations", "JPEGImages", "ImageSets", "SegmentationClass"
PARTS = ("train", "val", "test")

Wanted = Literal["detection", "segmentation"]


def sniff(source: str) -> str | None:
    """None when the source is a folder of Pascal VOC, else why it does not fit."""
    path = local_path(source)
    if not path.is_dir():
        return "not a folder"
    if not (path / PICTURES).is_dir():
        return f"no folder {PICTURES} in it"
    if not ((path / BOXES).is_dir() or (path / MASKS).is_dir()):
        return f"no folder {BOXES} or {MASKS} in it"
    return None


@dataclass(frozen=True, slots=True)
class _Box:
    """One `object`: corners (row, column), the highest exclusive, in pixels from 0."""

    name: str
    corners: tuple[float, ...]
    difficult: bool


@dataclass(frozen=True, slots=True)
class _Page:
    """What one XML file says: (height, width) or None, and boxes."""

    size: tuple[int, int] | None
    boxes: tuple[_Box, ...]


@register_adapter("voc", sniff)
class Voc(LayoutCases):
    """Pictures in `JPEGImages` with boxes in `Annotations` or masks in `SegmentationClass`.

    `ImageSets/Main/{train,val,test}.txt` (`ImageSets/Segmentation` for masks) give the parts, or
    else `trainval.txt` the cases; without them every annotated picture is one. Corners count from
    `first_pixel` and include the last pixel; they become boxes (row, column) in pixels from 0 with
    an exclusive high corner. Boxes without area or outside the picture are not used and stand in
    `findings`.

    Segmentation: the palette's index is the class; 255 is unknown and becomes -1 in `Case.mask`.

    Args:
        source: The folder.
        task: `detection` or `segmentation`.
        classes: Names of the mask's classes from 1 on, as names or one text with commas; without
            it `labelmap.txt` says, or the twenty classes of VOC where the boxes have no others.
        difficult: Whether boxes marked `difficult` are used.
        first_pixel: Number of the first row and column: 1 in VOC, 0 in files of some tools.
        patient: Regular expression with one group that finds the patient in a picture's name.
        modality: `CT`, `XR-chest`, `US`, ... where known.

    Raises:
        FormatError: An XML file is damaged, or no listed picture is there.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        task: Wanted = "detection",
        classes: str | Sequence[str] | None = None,
        difficult: bool = True,
        first_pixel: int = 1,
        patient: str | None = None,
        modality: str | None = None,
    ) -> None:
        if task not in ("detection", "segmentation"):
            raise DataError(f"task={task!r}: wanted 'detection' or 'segmentation'")
        if first_pixel not in (0, 1):
            raise DataError(f"first_pixel={first_pixel!r}: wanted 1 (as VOC) or 0")
        root = local_path(source)
        truth = _by_stem(root / (BOXES if task == "detection" else MASKS))
        listed = _listed(root, task, sorted(truth))
        files, absent, parts, stems = _find(root, listed, truth)
        require_some(files, absent, str(source))
        ids = case_ids([file.name for file in files])
        findings: list[Finding] = []
        notes: list[str] = []
        lesions: list[tuple[Lesion, ...]] = [()] * len(files)
        sizes: list[tuple[int, int] | None] = [None] * len(files)
        masks: list[Found | None] = [None] * len(files)
        if task == "detection":
            pages = [_read_page(root, truth[stem], first_pixel) for stem in stems]
            names = class_order(box.name for page in pages for box in page.boxes)
            sizes = [page.size for page in pages]
            order = {name: k for k, name in enumerate(names)}
            for i, page in enumerate(pages):
                lesions[i], found = _lesions(page, order, difficult, ids[i], files[i].name)
                findings += found
            notes += _page_notes(pages, difficult, first_pixel)
        else:
            names = mask_classes(root, classes, lambda: _box_names(root))
            masks = [locate(root, f"{MASKS}/{truth[stem]}")[0] for stem in stems]
        if not names:
            raise FormatError(f"no {BOXES} file of {str(source)!r} holds an object")
        people, people_notes = named_patients(patient, stems)
        rows = [
            IndexRow(case_id, person, part=part)
            for case_id, person, part in zip(ids, people, parts, strict=True)
        ]
        super().__init__(
            files,
            rows,
            kind="voc",
            root=str(root.resolve()),
            class_names=names if task == "detection" else ("background", *names),
            task=task,
            truth_keys=[found_key(mask) for mask in masks],
            modality=modality,
            skipped=skips_of(absent),
            notes=[*class_name_notes(names), *notes, *people_notes, *fault_note(findings)],
            findings=findings,
        )
        self._lesions = tuple(lesions)
        self._sizes = tuple(sizes)
        self._masks = tuple(masks)

    def __getitem__(self, i: int) -> Case:
        """Read case `i` with its boxes or mask.

        Raises:
            CaseError: The picture or mask cannot be read, or they differ in size (kind `size`).
        """
        case = super().__getitem__(i)
        shape = (int(case.image.shape[0]), int(case.image.shape[1]))
        size = self._sizes[i]
        if size is not None and size != shape:
            raise CaseError(
                case.case_id,
                "size",
                f"the picture has {shape[0]} x {shape[1]} pixels, the annotations were made on "
                f"{size[0]} x {size[1]}: put the annotated picture there",
            )
        if self.task == "detection":
            return replace(case, lesions=self._lesions[i])
        found = self._masks[i]
        if found is None:
            raise CaseError(case.case_id, "missing", "the mask does not exist or is empty")
        mask = read_class_mask(found.path, case.case_id, shape, len(self.class_names))
        return replace(case, mask=mask)


def _by_stem(folder: Path) -> dict[str, str]:
    """File names of a folder by their stems; empty where there is no folder."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if not is_folder(entry))
    except OSError:
        return {}
    suffixes = (".xml",) if folder.name == BOXES else tuple(sorted(PICTURE_SUFFIXES))
    kept = [name for name in entries if not is_hidden(name) and name.lower().endswith(suffixes)]
    return {Path(name).stem: name for name in kept}


def _listed(root: Path, task: Wanted, annotated: list[str]) -> list[tuple[str, str | None]]:
    """(stem, part) of every case: as the lists say, else every annotated picture."""
    folder = root / SETS / ("Main" if task == "detection" else "Segmentation")
    if not folder.is_dir() and task == "segmentation":
        folder = root / SETS / "Main"
    listed: dict[str, str | None] = {}
    for part in PARTS:
        for stem in _read_list(folder / f"{part}.txt"):
            other = listed.setdefault(stem, part)
            if other != part:
                raise FormatError(f"a picture stands in both {other}.txt and {part}.txt")
    if listed:
        return list(listed.items())
    return [(stem, None) for stem in _read_list(folder / "trainval.txt") or annotated]


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        raise FormatError(f"{path.name} cannot be read as a list of names") from None
    return [line.split()[0] for line in lines if line.strip()]


def _find(
    root: Path, listed: Sequence[tuple[str, str | None]], truth: Mapping[str, str]
) -> tuple[list[Found], list[tuple[str, str]], list[str | None], list[str]]:
    """Pictures that are there and annotated, with part and stem; (name, why) of the others."""
    pictures = _by_stem(root / PICTURES)
    files: list[Found] = []
    absent: list[tuple[str, str]] = []
    parts: list[str | None] = []
    stems: list[str] = []
    for stem, part in listed:
        if stem not in pictures:
            absent.append((f"{PICTURES}/{stem}", "missing"))
        elif stem not in truth:
            absent.append((f"{PICTURES}/{stem}", "unlabelled"))
        else:
            found, kind = locate(root, f"{PICTURES}/{pictures[stem]}")
            if found is None:
                absent.append((f"{PICTURES}/{stem}", kind))
            else:
                files.append(found)
                parts.append(part)
                stems.append(stem)
    return files, absent, parts, stems


def _read_page(root: Path, name: str, first_pixel: int) -> _Page:
    where = f"{BOXES}/*.xml ({case_ids([name])[0]})"
    tree = read_xml(root / BOXES / name, where)
    if tree.tag != "annotation":
        raise FormatError(f"{where} is no annotation of Pascal VOC")
    height, width = (_size(tree, key) for key in ("height", "width"))
    boxes = tuple(_box(node, where, first_pixel) for node in tree.iter("object"))
    return _Page((height, width) if height and width else None, boxes)


def _size(tree: Element, key: str) -> int:
    """The size the file states; 0 where it states none."""
    text = (tree.findtext(f"size/{key}") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _box(node: Element, where: str, first_pixel: int) -> _Box:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise FormatError(f"{where}: an object has no name")
    corners = []
    for key in ("ymin", "xmin", "ymax", "xmax"):
        text = (node.findtext(f"bndbox/{key}") or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise FormatError(f"{where}: an object has no number {key} in its bndbox")
        corners.append(value)
    top, left, bottom, right = corners
    if top < bottom and left < right:  # the last pixel is included
        bottom, right = bottom + 1, right + 1
    shift = float(first_pixel)
    difficult = (node.findtext("difficult") or "").strip() in ("1", "true")
    return _Box(name, (top - shift, left - shift, bottom - shift, right - shift), difficult)


def _lesions(
    page: _Page, order: Mapping[str, int], difficult: bool, case_id: str, source: str
) -> tuple[tuple[Lesion, ...], list[Finding]]:
    lesions, faults = [], []
    for one in page.boxes:
        if one.difficult and not difficult:
            continue
        box, fault = usable_box(one.corners, page.size)
        faults.append(fault)
        if box is not None:
            lesions.append(Lesion(order[one.name], box=box))
    return tuple(lesions), box_findings(faults, case_id, source)


def _page_notes(pages: Sequence[_Page], difficult: bool, first_pixel: int) -> list[str]:
    boxes = [box for page in pages for box in page.boxes]
    notes = []
    hard = sum(box.difficult for box in boxes)
    if hard:
        notes.append(f"{hard} boxes are marked difficult and are {'' if difficult else 'not '}used")
    early = sum(min(box.corners[:2]) < 0 for box in boxes)
    if early and first_pixel == 1:
        notes.append(
            f"{early} boxes begin at pixel 0 though Pascal VOC counts from 1: if these files count "
            "from 0, give first_pixel=0"
        )
    return notes


def _box_names(root: Path) -> set[str]:
    """Names of all boxes, to recognise VOC's own classes."""
    files = _by_stem(root / BOXES).values()
    return {box.name for name in files for box in _read_page(root, name, 1).boxes}

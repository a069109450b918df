"""COCO: boxes, outlines and run lengths in one JSON file per part (cocodataset.org)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_adapters.adapter import IndexRow, local_path, register_adapter
from data_adapters.case import Case, Lesion
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.files import Found, is_hidden
from data_adapters.findings import Finding
from data_adapters.indexing import class_name_notes, pseudonyms
from data_adapters.layouts.coco_file import (
    CocoFile,
    Image,
    Outline,
    looks_like_coco,
    part_of,
    read_coco,
)
from data_adapters.layouts.common import (
    LayoutCases,
    box_findings,
    fault_note,
    locate,
    require_some,
    skips_of,
    usable_box,
)
from data_adapters.privacy import case_ids

Wanted = Literal["detection", "segmentation"]


def sniff(source: str) -> str | None:
    """None when the source is a COCO file or a folder of them, else why it does not fit."""
    path = local_path(source)
    if path.is_file():
        if path.suffix.lower() != ".json":
            return "its name does not end in .json"
        return None if looks_like_coco(path) else "no JSON with images and annotations"
    if not path.is_dir():
        return "neither a file nor a folder"
    return None if _files(path) else "no JSON with images and annotations in it"


def _files(root: Path) -> list[Path]:
    """The COCO files of a folder: in it, in `annotations`, or in the folders of its parts."""
    try:
        folders = [p for p in root.iterdir() if p.is_dir() and not is_hidden(p.name)]
        beside = [p for p in folders if p.name.lower() == "annotations" or part_of(p.name)]
        files = [p for f in (root, *sorted(beside)) for p in sorted(f.glob("*.json"))]
    except OSError:
        return []
    files = [path for path in files if not is_hidden(path.name) and looks_like_coco(path)]
    instances = [path for path in files if path.name.startswith("instances_")]
    return instances or files


@dataclass(frozen=True, slots=True)
class _Entry:
    """A picture of one of the files, and where it lies."""

    image: Image
    file: CocoFile
    part: str | None
    found: Found


@register_adapter("coco", sniff)
class Coco(LayoutCases):
    """Pictures with boxes or masks from COCO files.

    A folder may hold several files; the words train, val and test in their names (or in those of
    their folders) are the parts. Pictures are looked for beside the file, in the data set's folder,
    and in its folders `images`, and those named like the file or the part.
    Pictures without annotations have no findings: an answer, not a gap.

    Detection: `Case.lesions` with boxes (row, column) in pixels. Boxes without area or outside the
    picture are not used and stand in `findings`, those that reach beyond it are cut. Regions marked
    `iscrowd` are no boxes. Segmentation: `Case.mask`, or `Case.masks` where classes overlap, from
    outlines (see `masks.polygon_mask`) and run lengths, crowds included.

    Args:
        source: The JSON file or the folder.
        task: `detection` or `segmentation`.
        images: Folder of the pictures, relative to the data set's or absolute.
        patient: Field of the `images` entries that names the patient; by default the first of
            `patient`, `patient_id`, `group` that is there.
        modality: `CT`, `XR-chest`, `US`, ... where known.

    Raises:
        FormatError: A file is no valid COCO, or none of its pictures is there.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        task: Wanted = "detection",
        images: str | None = None,
        patient: str | None = None,
        modality: str | None = None,
    ) -> None:
        if task not in ("detection", "segmentation"):
            raise DataError(f"task={task!r}: wanted 'detection' or 'segmentation'")
        place = local_path(source)
        root = place if place.is_dir() else place.parent
        files = [read_coco(path) for path in (_files(place) if place.is_dir() else [place])]
        if not files:
            raise FormatError(f"no COCO file in {str(source)!r}")
        parts = _parts(files, root)
        names = _class_names(files)
        entries, absent = _entries(files, parts, root, images)
        require_some(entries, absent, ", ".join(file.path.name for file in files))
        _refuse_repeats(entries)
        ids = case_ids([entry.found.name for entry in entries])
        people, notes = _patients(entries, patient)
        findings = _file_findings(files)
        boxes: list[tuple[Lesion, ...]] = []
        for entry, case_id in zip(entries, ids, strict=True):
            lesions, found = _lesions(entry, case_id, task)
            boxes.append(lesions)
            findings += found
        rows = [
            IndexRow(case_id, person, part=entry.part)
            for case_id, person, entry in zip(ids, people, entries, strict=True)
        ]
        super().__init__(
            [entry.found for entry in entries],
            rows,
            kind="coco",
            root=str(root.resolve()),
            class_names=names if task == "detection" else ("background", *names),
            task=task,
            truth_keys=[_key(entry.image.outlines, task) for entry in entries],
            modality=modality,
            skipped=skips_of(absent),
            notes=[*class_name_notes(names), *_notes(files, task), *notes, *fault_note(findings)],
            findings=findings,
        )
        self._entries = tuple(entries)
        self._boxes = tuple(boxes)

    def __getitem__(self, i: int) -> Case:
        """Read case `i` with its boxes or mask.

        Raises:
            CaseError: The picture cannot be read, is of another size than the file says (kind
                `size`), or an outline is damaged (kind `outline`).
        """
        case = super().__getitem__(i)
        image = self._entries[i].image
        height, width = case.image.shape[:2]
        if image.size is not None and image.size != (height, width):
            raise CaseError(
                case.case_id,
                "size",
                f"the picture has {height} x {width} pixels, the annotations were made on "
                f"{image.size[0]} x {image.size[1]}: put the annotated picture there",
            )
        if self.task == "detection":
            return replace(case, lesions=self._boxes[i])
        mask, masks = _rasterise(
            image.outlines, (height, width), len(self.class_names) - 1, case.case_id
        )
        return replace(case, mask=mask, masks=masks)


def _parts(files: Sequence[CocoFile], root: Path) -> list[str | None]:
    """Part of each file by its name; several files must be different parts."""
    if len(files) == 1:
        return [part_of(files[0].path.stem)]
    parts = [
        part_of(file.path.stem)
        or (part_of(file.path.parent.name) if file.path.parent != root else None)
        for file in files
    ]
    twice = [part for part, n in Counter(parts).items() if n > 1]
    if None in parts or twice:
        names = ", ".join(file.path.name for file in files)
        raise FormatError(
            f"several COCO files ({names}) of which not each is one of train, val and test: give "
            "the one you mean"
        )
    return parts


def _class_names(files: Sequence[CocoFile]) -> tuple[str, ...]:
    first = files[0]
    for other in files[1:]:
        if other.categories != first.categories:
            raise FormatError(
                f"{first.path.name} and {other.path.name} have different categories: make the ids "
                "and names the same"
            )
    return tuple(first.categories.values())


def _entries(
    files: Sequence[CocoFile], parts: Sequence[str | None], root: Path, images: str | None
) -> tuple[list[_Entry], list[tuple[str, str]]]:
    """The pictures that are there, and (name, why) of those that are not."""
    entries, absent = [], []
    for file, part in zip(files, parts, strict=True):
        folders = _folders(file, part, root, images)
        for image in file.images.values():
            kind, found = "missing", None
            for folder in folders:
                found, reason = locate(folder, image.name)
                if found is not None or reason != "missing":
                    kind = reason
                    folders = [folder, *(f for f in folders if f != folder)]
                    break
            if found is None:
                absent.append((image.name, kind))
                continue
            name = _relative(found, root)
            entries.append(_Entry(image, file, part, replace(found, name=name)))
    return entries, absent


def _relative(found: Found, root: Path) -> str:
    path = found.path
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else found.name


def _folders(file: CocoFile, part: str | None, root: Path, images: str | None) -> list[Path]:
    """Where the pictures of a file may lie, the likeliest first."""
    if images is not None:
        folder = root / images
        if not folder.is_dir():
            raise DataError(f"images={images!r}: there is no such folder")
        return [folder]
    base = file.path.parent
    above = base.parent if base.name.lower() == "annotations" else base
    stem = file.path.stem.removeprefix("instances_")
    names = dict.fromkeys(["images", stem, *(p for p in (part,) if p)])
    tops = dict.fromkeys([base, root, above])
    folders = [*tops, *(top / name for top in tops for name in names)]
    folders += [top / "images" / name for top in tops for name in names if name != "images"]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _refuse_repeats(entries: Sequence[_Entry]) -> None:
    seen: dict[str, _Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.found.name, entry)
        if other is not entry:
            names = dict.fromkeys((other.file.path.name, entry.file.path.name))
            raise FormatError(
                f"{' and '.join(names)} list a picture more than once: keep one of its entries"
            )


def _patients(entries: Sequence[_Entry], field: str | None) -> tuple[list[str | None], list[str]]:
    people = [entry.image.facts for entry in entries]
    names = ("patient", "patient_id", "group") if field is None else (field,)
    field = next((name for name in names if any(name in facts for facts in people)), None)
    if field is None:
        if len(names) == 1:
            raise DataError(f"patient={names[0]!r}: no image has such a field")
        return [None] * len(entries), []
    return pseudonyms([facts.get(field) for facts in people])


def _file_findings(files: Iterable[CocoFile]) -> list[Finding]:
    found = []
    for file in files:
        if file.orphans:
            message = f"{file.orphans} annotations belong to no listed picture and are not used"
            found.append(Finding("warning", "annotation-orphan", message, "list the pictures"))
    return found


def _lesions(entry: _Entry, case_id: str, task: Wanted) -> tuple[tuple[Lesion, ...], list[Finding]]:
    """Boxes that can be used, and findings about the others or about the outlines."""
    name = entry.found.name
    if task == "segmentation":
        bad = sum(outline.fault != "" for outline in entry.image.outlines)
        if not bad:
            return (), []
        message = f"{bad} annotations have no usable outline and are missing in the mask"
        remedy = "draw them anew, or leave the picture out"
        return (), [Finding("error", "outline", message, remedy, case_id, name)]
    lesions, faults = [], []
    for outline in entry.image.outlines:
        if outline.crowd:
            continue
        box, fault = usable_box(outline.box, entry.image.size)
        faults.append(fault)
        if box is not None:
            lesions.append(Lesion(outline.label, box=box))
    return tuple(lesions), box_findings(faults, case_id, name)


def _notes(files: Sequence[CocoFile], task: Wanted) -> list[str]:
    outlines = [o for file in files for image in file.images.values() for o in image.outlines]
    notes = []
    crowds = sum(outline.crowd for outline in outlines)
    if crowds and task == "detection":
        notes.append(f"{crowds} crowd regions are no single findings and are not used as boxes")
    seen = {outline.label for outline in outlines}
    for k, name in enumerate(files[0].categories.values()):
        if k not in seen:
            notes.append(f"class {name!r} has no annotation")
    return notes


def _key(outlines: Sequence[Outline], task: Wanted) -> str:
    """Text that changes when the masks do; boxes are no pixels."""
    if task == "detection":
        return ""
    parts = [(outline.label, outline.polygons, outline.rle) for outline in outlines]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _rasterise(
    outlines: Sequence[Outline], shape: tuple[int, int], classes: int, case_id: str
) -> tuple[Any, Any]:
    """(mask, None), or (None, masks) where classes overlap."""
    layers = np.zeros((*shape, classes), np.uint8)
    for outline in outlines:
        if outline.fault:
            continue
        try:
            layers[..., outline.label] |= outline.raster(shape)
        except FormatError as error:
            raise CaseError(case_id, "outline", str(error)) from None
    if bool((layers.sum(axis=-1) > 1).any()):
        return None, layers
    return (layers * np.arange(1, classes + 1)).sum(axis=-1).astype(np.int16), None

"""DICOM as hospitals deliver it: a folder tree, a DICOMDIR or a file; one case per image."""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_adapters.adapter import IndexRow, Skip, Task, local_path, register_adapter
from data_adapters.case import Case
from data_adapters.dicom.model import Instance, Stack
from data_adapters.dicom.sniffing import looks_like_series
from data_adapters.errors import CaseError, DataError, FormatError, nearest, option_hint
from data_adapters.findings import Finding, as_facts
from data_adapters.home import home
from data_adapters.image_folder import PART_NAMES
from data_adapters.indexing import check_positive, class_order, pseudonyms
from data_adapters.privacy import case_ids, uid_pseudonym

if TYPE_CHECKING:
    from data_adapters.dicom.stack_image import StackImage

MODALITIES = frozenset(
    ("CT", "MR", "PT", "NM", "US", "DX", "CR", "MG", "XA", "RF", "OT", "IO", "PX", "SC")
)
"""DICOM codes by which images can be chosen."""
_ANNOTATIONS = frozenset(("SEG", "RTSTRUCT", "SR", "RTPLAN", "PR", "KO", "REG", "RWV", "ANN"))


def sniff(source: str) -> str | None:
    """None for a DICOM file, a DICOMDIR, or a folder with series of several files."""
    return looks_like_series(local_path(source))


@dataclass(frozen=True)
class _Item:
    """One case before it is read."""

    stack: Stack
    volume: int
    name: str
    slices: int
    part: str

    @property
    def first(self) -> Instance:
        """The file that speaks for the case."""
        return min(self.stack.instances, key=lambda one: one.name)


@register_adapter("dicom", sniff)
class DicomTree:
    """DICOM series as volumes, films and photographs as pictures, cines as frames over time.

    Segmentations, RT structure sets and measurement reports become masks and lesions of the images
    that they refer to, unless `label` asks for labels: the task is `segmentation` where there are
    masks, `detection` where there are reports only, and an image without any has neither. Those
    whose images are absent are skipped and recorded.

    Args:
        source: A folder tree, a DICOMDIR, or one file.
        label: `folder`: the top folder names the class (below folders train, val, test where the
            tree has them). Without it the cases have no label.
        positive: Name of the positive class of a two-class task.
        modality: A DICOM code such as `CT` keeps the images of that modality; another word, such
            as `XR-chest`, says what the images show.
        minimum_slices: Leave out images of fewer slices.
        suv: PET as standardised uptake value (g/ml) instead of Bq/ml; a case whose header does not
            allow it cannot be read then.

    Attributes:
        findings: What was noticed while grouping, with case ids; `radzoo data lint` reads it.

    Raises:
        FormatError: There is no DICOM image.
        DataError: An option does not fit.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        label: str | None = None,
        positive: str | None = None,
        modality: str | None = None,
        minimum_slices: int = 1,
        suv: bool = False,
    ) -> None:
        from data_adapters.dicom.attaching import attach
        from data_adapters.dicom.grouping import group
        from data_adapters.dicom.scan import scan_tree

        root = local_path(source)
        scanned = scan_tree(root, home=home())
        left_out = list(scanned.left_out)
        items = _items(group(scanned.instances), left_out)
        items, few = _choose(items, modality, minimum_slices)
        stacks = [item.stack for item in items]
        attached = attach(scanned.instances if label is None else (), stacks)
        left_out += [*few, *attached.left_out, *_annotations(scanned.instances, attached.names)]
        if not items:
            raise FormatError(_nothing(str(source), left_out))
        ids = case_ids([item.name for item in items])
        classes, parts = _labels(items, label)
        self.kind = "dicom"
        self.class_names = class_order(classes) if classes else attached.classes.names
        self.task: Task = "single" if classes else attached.classes.task
        self.positive = check_positive(positive, self.class_names, self.task)
        seen = {item.first.modality for item in items}
        self.modality = modality or (seen.pop() if len(seen) == 1 else None) or None
        self.bans: tuple[str, ...] = ()
        people, notes = pseudonyms([item.first.patient_id or None for item in items])
        self.index = tuple(
            _row(item, case_id, person, classes[i] if classes else None, parts[i], self.class_names)
            for i, (item, case_id, person) in enumerate(zip(items, ids, people, strict=True))
        )
        self._left_out = left_out
        self.skipped = _skips(left_out)
        self.findings = (*_findings(items, ids), *attached.classes.findings)
        found = _found_notes(items, self.findings)
        self.notes = (*scanned.notes, *notes, *found, *attached.notes)
        self._attached = attached
        self._items = tuple(items)
        self._suv = suv
        self._root = str(root.resolve())

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._items)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`; raises `CaseError` when one of its files cannot be read."""
        from data_adapters.dicom.stack import read_stack

        place = operator.index(i)
        item, row = self._items[place], self.index[place]
        read = read_stack(item.stack, case_id=row.case_id, volume=item.volume)
        truth = self._attached.truth(place, item.stack, read, item.volume, case_id=row.case_id)
        part = {"part": item.part} if item.part else {}
        image = _as_suv(read, row.case_id) if self._suv else read.image
        return Case(
            image=image,
            case_id=row.case_id,
            patient_id=row.patient_id,
            label=row.label,
            mask=truth.mask,
            masks=truth.masks,
            lesions=truth.lesions,
            padding=read.padding,
            display=read.display,
            geometry=read.geometry,
            meta={
                "modality": self.modality,
                **read.meta,
                **part,
                "reading": read.notes,
                "truth": as_facts(truth.findings),
            },
        )

    def identity(self) -> str:
        """Hex sha256 over the place, names, sizes and times of all files."""
        digest = hashlib.sha256(self.scope().encode("utf-8", "surrogateescape"))
        for i in range(len(self)):
            digest.update(self.file_key(i).encode() + b"\n")
        return digest.hexdigest()

    def scope(self) -> str:
        """Place of the data and the options of reading, to which `file_key` is relative."""
        return f"{self.kind}\n{self._suv}\n{self._root}\n"

    def file_key(self, i: int) -> str:
        """Digest of names, sizes and times of the files of case `i`, annotations included."""
        item, objects = self._items[i], self._attached.objects[i]
        every = (*item.stack.instances, *objects)
        files = [f"{one.name}|{one.size}|{one.mtime_ns}" for one in every]
        classes = self.class_names if objects else ()
        text = "\n".join([*files, str(item.volume), *classes])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def source_name(self, i: int) -> str:
        """Relative path of the first file of case `i`, with the number of its volume."""
        name = self._items[i].name
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def named_skips(self) -> tuple[Skip, ...]:
        """What was left out with the files' names, for the user who asked about single files."""
        names = [name for name, _, _ in self._left_out]
        return tuple(
            dataclasses.replace(skip, source=name)
            for skip, name in zip(self.skipped, names, strict=True)
        )

    def stack(self, i: int) -> Stack:
        """The files of case `i`, in the order of its slices."""
        return self._items[i].stack

    def instances(self, i: int) -> tuple[Instance, ...]:
        """Header facts of the files of case `i`, in the order of its slices."""
        return self.stack(i).instances


def _as_suv(read: StackImage, case_id: str) -> np.ndarray:
    """A PET image in g/ml; any other as it is."""
    if read.meta.get("modality") != "PT":
        return read.image
    factor = read.meta.get("suv_factor")
    if factor is None:
        why = read.meta.get("suv_unknown", "enhanced")
        message = f"the header does not allow standardised uptake values ({why}); use suv=False"
        raise CaseError(case_id, "suv-unknown", message)
    return read.image * np.float32(factor)


def _items(stacks: Sequence[Stack], left_out: list[tuple[str, str, str]]) -> list[_Item]:
    """One item per stack, or per volume of a multi-frame object; localizers and slides left out."""
    items: list[_Item] = []
    for stack in stacks:
        first = min(stack.instances, key=lambda one: one.name)
        values = {value.upper() for value in first.image_type}
        if values & {"LOCALIZER", "SCOUT"}:
            message = "the image is a localizer, taken to plan others"
            left_out.append((first.name, "localizer", message))
        elif first.modality == "SM":
            message = "whole-slide microscopy is not read: export regions as TIFF or PNG pictures"
            left_out.append((first.name, "whole-slide", message))
        elif stack.kind == "multiframe":
            items += _multiframe_items(stack, first, left_out)
        else:
            items.append(_Item(stack, 0, first.name, len(stack.instances), stack.part))
    return items


def _multiframe_items(
    stack: Stack, first: Instance, left_out: list[tuple[str, str, str]]
) -> list[_Item]:
    from data_adapters.dicom.multiframe import list_volumes

    try:
        found = list_volumes(first.path, case_id="")
    except CaseError as error:
        left_out.append((first.name, error.kind, error.message))
        return []
    several = len(found) > 1
    return [
        _Item(
            stack,
            number,
            f"{first.name}#{number + 1}" if several else first.name,
            len(volume.frames),
            " ".join(filter(None, (stack.part, volume.part))),
        )
        for number, volume in enumerate(found)
    ]


def _choose(
    items: list[_Item], modality: str | None, minimum_slices: int
) -> tuple[list[_Item], list[tuple[str, str, str]]]:
    """The items that the options ask for, and records of those with too few slices."""
    if minimum_slices < 1:
        raise DataError(f"minimum_slices={minimum_slices!r}; wanted at least 1")
    seen = sorted({item.first.modality for item in items} & MODALITIES)
    if modality in MODALITIES and items:
        items = [item for item in items if item.first.modality == modality]
        if not items:
            raise DataError(f"no image is of modality {modality!r}{nearest(str(modality), seen)}")
    few = [item for item in items if item.slices < minimum_slices]
    message = f"the image has fewer than {minimum_slices} slices"
    kept = [item for item in items if item.slices >= minimum_slices]
    return kept, [(item.name, "few-slices", message) for item in few]


def _annotations(instances: Sequence[Instance], used: frozenset[str]) -> list[tuple[str, str, str]]:
    """Records of the objects that are no images and of no use."""
    found = []
    for one in instances:
        if one.name in used:
            continue
        if one.modality in _ANNOTATIONS or not one.rows:
            what = one.modality if one.modality in _ANNOTATIONS else "other"
            found.append((one.name, "no-image", f"the object is no image (modality {what})"))
    return found


def _nothing(source: str, left_out: list[tuple[str, str, str]]) -> str:
    kinds = Counter(kind for _, kind, _ in left_out)
    counted = ", ".join(f"{kind}: {n}" for kind, n in sorted(kinds.items()))
    alone = "; add the images that the annotations refer to" if "absent-images" in kinds else ""
    return f"no DICOM image in {source!r}" + (f" (left out: {counted}){alone}" if counted else "")


def _labels(items: list[_Item], label: str | None) -> tuple[list[str], list[str | None]]:
    """Class names by folder, empty without; and the part of each item."""
    if label is None:
        return [], [None] * len(items)
    if label != "folder":
        raise DataError(
            f"label={label!r}: DICOM has no labels; wanted {option_hint('label', 'folder')}"
        )
    pieces = [item.first.name.split("/") for item in items]
    parts: list[str | None] = [None] * len(items)
    if all(len(p) > 2 and p[0].lower() in PART_NAMES for p in pieces):
        parts = [PART_NAMES[p[0].lower()] for p in pieces]
        pieces = [p[1:] for p in pieces]
    if any(len(p) < 2 for p in pieces):
        raise FormatError(
            "label='folder': some files lie in no folder of a class: DATA/<class>/..."
        )
    return [p[0] for p in pieces], parts


def _row(
    item: _Item,
    case_id: str,
    person: str | None,
    name: str | None,
    part: str | None,
    names: tuple[str, ...],
) -> IndexRow:
    first = item.first
    day = first.study_date
    plain = len(day) == 8 and day.isdigit()
    return IndexRow(
        case_id,
        person,
        None if name is None else names.index(name),
        part=part,
        study_id=uid_pseudonym(first.study_uid, "study") if first.study_uid else None,
        series_id=uid_pseudonym(first.series_uid, "series") if first.series_uid else None,
        site=uid_pseudonym(first.site, "hospital") if first.site else None,
        date=f"{day[:4]}-{day[4:6]}-{day[6:]}" if plain else None,
    )


def _skips(left_out: list[tuple[str, str, str]]) -> tuple[Skip, ...]:
    ids = case_ids([name for name, _, _ in left_out])
    return tuple(
        Skip(case_id, kind, message)
        for case_id, (_, kind, message) in zip(ids, left_out, strict=True)
    )


def _findings(items: list[_Item], ids: list[str]) -> tuple[Finding, ...]:
    """The findings of all stacks, each at the first case of its stack."""
    found: list[Finding] = []
    for item, case_id in zip(items, ids, strict=True):
        if item.volume == 0:
            found += [
                dataclasses.replace(finding, case_id=case_id, source=item.name)
                for finding in item.stack.findings
            ]
    return tuple(found)


def _found_notes(items: list[_Item], findings: Sequence[Finding]) -> list[str]:
    """Sentences for the report: what was found, and how much of it wants looking at."""
    volumes = sum(item.slices > 1 for item in items)
    files = sum(len(item.stack.instances) for item in items if item.volume == 0)
    notes = [f"{files} DICOM files make {volumes} volumes and {len(items) - volumes} pictures"]
    counts = Counter(finding.code for finding in findings if finding.severity != "info")
    if counts:
        shown = ", ".join(f"{code}: {n}" for code, n in sorted(counts.items()))
        notes.append(f"found while grouping: {shown} (radzoo data lint says more)")
    return notes

"""Classes of annotation objects, numbered over a whole delivery from headers alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data_adapters.dicom.model import Instance
from data_adapters.dicom.objects import (
    IDENTIFIERS,
    LABEL_MAP,
    REPORTS,
    SEGMENTATION,
    STRUCTURE_SET,
    Label,
    damage,
    open_object,
)
from data_adapters.dicom.rtstruct import read_rois
from data_adapters.dicom.seg_header import read_segments, refuse_whole_slide
from data_adapters.dicom.sr import read_sr
from data_adapters.errors import CaseError
from data_adapters.findings import Finding

BACKGROUND = "background"
_MASKS = frozenset({SEGMENTATION, LABEL_MAP, STRUCTURE_SET})
_GENERIC = frozenset(
    {
        "SCT:85756007",  # tissue
        "SRT:T-D0050",
        "SCT:113343008",  # organ
        "SRT:T-D0059",
        "SCT:123037004",  # anatomical structure
        "SRT:T-D000A",
        "SCT:91723000",
        "SCT:49755003",  # morphologically abnormal structure
        "SRT:M-01000",
        "SCT:4147007",  # mass
        "SRT:M-03000",
        "SCT:52988006",  # lesion
        "SRT:M-01100",
        "SCT:260787004",  # physical object
        "SRT:A-00004",
    }
)
"""Concepts that tools give to anything; they tell no two classes apart."""
_HEADER = [
    *IDENTIFIERS,
    "SOPClassUID",
    "DimensionOrganizationType",
    "TotalPixelMatrixRows",
    "ImageOrientationSlide",
    "SegmentationType",
    "SegmentSequence",
    "StructureSetROISequence",
    "RTROIObservationsSequence",
]


@dataclass(frozen=True)
class Classes:
    """Names and numbers of the classes of a delivery.

    Attributes:
        names: Name k belongs to number k. With masks name 0 is `background`; without, classes of
            lesions begin at 0.
        task: `segmentation` where there is a SEG or an RTSTRUCT, `detection` where there are only
            reports, `unlabelled` where there is neither.
        numbers: Number by key of a name or concept; see `number`.
        findings: Objects that could not be read, and names that a shared concept joined.
    """

    names: tuple[str, ...] = ()
    task: Literal["segmentation", "detection", "unlabelled"] = "unlabelled"
    numbers: Mapping[str, int] | None = None
    findings: tuple[Finding, ...] = ()

    def number(self, label: Label) -> int:
        """Number of a label's class.

        Raises:
            CaseError: The label is none of those that the classes were made of.
        """
        numbers = self.numbers or {}
        known = numbers.get(_name_key(label))
        if known is None:
            message = "an annotation has a class that the delivery did not have when it was opened"
            raise CaseError("", "class", message)
        return known


def read_labels(one: Instance, *, case_id: str) -> list[tuple[int, Label]]:
    """Labels of an annotation object and their order in it, from its header.

    Raises:
        CaseError: The object cannot be read, or is none of the kinds known.
    """
    if one.sop_class in REPORTS:
        groups = read_sr(one.path, case_id=case_id).groups
        return [(n, group.label) for n, group in enumerate(groups, 1) if group.marks]
    what = "annotation object"
    dataset = open_object(
        one.path, case_id=case_id, classes=_MASKS, what=what, pixels=False, tags=_HEADER
    )
    with damage(case_id, what):
        if one.sop_class == STRUCTURE_SET:
            return read_rois(dataset)
        refuse_whole_slide(dataset, case_id)
        return [(segment.number, segment.label) for segment in read_segments(dataset)]


def read_classes(objects: Iterable[Instance], *, case_ids: Sequence[str] = ()) -> Classes:
    """Number the classes of all annotation objects of a delivery.

    The same name (but for case and blanks), or the same coded concept, is the same class. A concept
    that one object gives to several names, or that says as little as `tissue`, tells no classes
    apart and is passed over; a finding tells which names a concept joined. Classes come in the
    order of their smallest segment or ROI number, then of their names; those of reports come last.

    Args:
        objects: SEG, RTSTRUCT and SR objects.
        case_ids: Pseudonymous ids for findings, one per object; None where not given.
    """
    findings: list[Finding] = []
    found: list[tuple[Instance, list[tuple[int, Label]]]] = []
    for n, one in enumerate(objects):
        case_id = case_ids[n] if n < len(case_ids) else ""
        try:
            found.append((one, read_labels(one, case_id=case_id)))
        except CaseError as error:
            found.append((one, []))
            message = f"an annotation object cannot be read: {error.message}"
            findings.append(Finding("error", error.kind, message, case_id=case_id or None))
    classes = number_classes(found)
    return replace(classes, findings=(*findings, *classes.findings))


def number_classes(objects: Iterable[tuple[Instance, list[tuple[int, Label]]]]) -> Classes:
    """Number classes as `read_classes` does, labels of each object given."""
    order: dict[str, tuple[int, int, str]] = {}
    concepts: dict[str, set[str]] = defaultdict(set)
    vague: set[str] = set()
    findings: list[Finding] = []
    masks, unnamed = False, 0
    for one, labels in objects:
        masks |= one.sop_class in _MASKS
        here: dict[str, set[str]] = defaultdict(set)
        for number, label in labels:
            key, rank = _name_key(label), int(one.sop_class in REPORTS)
            unnamed += label.name in (f"segment {number}", f"ROI {number}")
            entry = (rank, number, label.name)
            order[key] = min(entry, order.get(key, entry))
            here[label.concept].add(key)
        for concept, keys in here.items():
            concepts[concept] |= keys
            if not concept or concept in _GENERIC or len(keys) > 1:
                vague.add(concept)
    if unnamed:
        message = f"{unnamed} segments or regions have no name, or one that repeats the patient's"
        remedy = "name them in the files; here their numbers tell them apart"
        findings.append(Finding("warning", "unnamed-classes", message, remedy))
    return _numbered(order, [v for k, v in concepts.items() if k not in vague], masks, findings)


def _name_key(label: Label) -> str:
    return " ".join(label.name.casefold().split())


def _numbered(
    order: dict[str, tuple[int, int, str]],
    same: Sequence[set[str]],
    masks: bool,
    findings: list[Finding],
) -> Classes:
    """Number names, those of one concept alike."""
    leader = {key: key for key in order}
    for keys in same:
        leaders = {leader[key] for key in keys}
        first = min(leaders, key=order.__getitem__)
        leader = {key: first if one in leaders else one for key, one in leader.items()}
    for key, one in leader.items():
        if key != one:
            message = f"{order[key][2]!r} and {order[one][2]!r} have one code: one class here"
            remedy = "give them different codes if they are not the same"
            findings.append(Finding("warning", "joined-classes", message, remedy))
    leaders_in_order = sorted(set(leader.values()), key=order.__getitem__)
    names = [BACKGROUND] if masks else []
    numbers = {BACKGROUND: 0} if masks else {}
    place: dict[str, int] = {}
    for one in leaders_in_order:
        if masks and one == BACKGROUND:
            place[one] = 0
            continue
        place[one] = len(names)
        names.append(order[one][2])
    numbers |= {key: place[one] for key, one in leader.items()}
    task: Literal["segmentation", "detection", "unlabelled"] = "unlabelled"
    if masks or order:
        task = "segmentation" if masks else "detection"
    return Classes(tuple(names), task, numbers, tuple(findings))

"""What the annotation objects of a series say about its images, on the images' grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from data_adapters.case import Geometry, Lesion
from data_adapters.dicom.classes import Classes, read_classes
from data_adapters.dicom.model import Instance, Stack
from data_adapters.dicom.multiframe import list_volumes
from data_adapters.dicom.objects import ANNOTATIONS, REPORTS, STRUCTURE_SET, Label
from data_adapters.dicom.painting import paint_regions
from data_adapters.dicom.placing import Region, as_volume, on_grid
from data_adapters.dicom.rtstruct import StructureSet, draw, read_rtstruct
from data_adapters.dicom.seg import Segmentation, read_seg
from data_adapters.dicom.seg_header import Source
from data_adapters.dicom.sr import Report, locate, read_sr
from data_adapters.errors import CaseError
from data_adapters.findings import Finding


@dataclass(frozen=True, eq=False)
class Truth:
    """Masks and lesions of an image.

    Attributes:
        mask: Class numbers on the image's grid; None where classes overlap or are fractional, or
            no object with masks belongs to the image.
        masks: One channel per class, channel k - 1 for class k: uint8, 0 or 1, or float32, 0 to 1.
        lesions: Marks of reports and points of structure sets, in voxel units.
        class_names: Name k belongs to number k.
        findings: What was noticed.
        geometry: Where the masks lie if not on an image's grid; see `read_alone`.
    """

    mask: NDArray[Any] | None
    masks: NDArray[Any] | None
    lesions: tuple[Lesion, ...]
    class_names: tuple[str, ...]
    findings: tuple[Finding, ...]
    geometry: Geometry | None = None


@dataclass(frozen=True, eq=False)
class _Image:
    """The image that annotations are put on."""

    stack: Stack
    shape: tuple[int, ...]
    geometry: Geometry | None
    sources: Mapping[Source, int]
    case_id: str

    @property
    def thickness(self) -> float | None:
        """Of a picture's slice, mm."""
        return self.stack.instances[0].slice_thickness

    @property
    def frame_of_reference(self) -> str:
        return self.stack.instances[0].frame_of_reference


@dataclass(eq=False)
class _Gathered:
    """What the objects said so far."""

    regions: list[tuple[int, Region]] = field(default_factory=list)
    marked: Counter[int] = field(default_factory=Counter)
    lesions: list[Lesion] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    masks: bool = False


def annotates(one: Instance) -> bool:
    """Whether a file is an annotation object that `read_truth` reads."""
    return one.sop_class in ANNOTATIONS


def read_truth(
    objects: Sequence[Instance],
    stack: Stack,
    image_shape: Sequence[int],
    geometry: Geometry | None,
    *,
    case_id: str,
    classes: Classes | None = None,
    frames: Sequence[int] | None = None,
) -> Truth:
    """Read all annotation objects of an image and put them onto its grid.

    An object belongs to the image when it refers to one of its instances, or, where it names no
    instance, to its series; a shared Frame of Reference UID alone does not count.

    Args:
        objects: SEG, RTSTRUCT and SR objects that refer to the image's series.
        stack: The image's files.
        image_shape: (D, H, W) of the image, or (H, W) of a picture; without the channel axis.
        geometry: Where its voxels lie.
        case_id: Pseudonymous id that errors and findings carry.
        classes: Numbers of the classes over the whole delivery; made of `objects` when None.
        frames: Of a multi-frame object: its frames in slice order, counted from 0; those of its
            first volume when None.

    Returns:
        One integer mask where nothing overlaps or is fractional, else a channel per class.

    Raises:
        CaseError: An object cannot be read or placed; see `read_seg`, `read_rtstruct`, `read_sr`,
            `on_grid`, `draw` and `paint_regions`.
    """
    classes = read_classes(objects) if classes is None else classes
    shape = tuple(int(n) for n in image_shape)
    sources = _sources(stack, frames, case_id)
    place = as_volume(geometry, thickness=stack.instances[0].slice_thickness)
    image = _Image(stack, shape, place if len(shape) == 2 else geometry, sources, case_id)
    found = _Gathered()
    for one in objects:
        if one.sop_class == STRUCTURE_SET:
            _add_structures(read_rtstruct(one.path, case_id=case_id), image, classes, found)
        elif one.sop_class in REPORTS:
            _add_report(read_sr(one.path, case_id=case_id), image, classes, objects, found)
        else:
            _add_segmentation(read_seg(one.path, case_id=case_id), image, classes, found)
    found.findings += _repeated(found.marked, classes, case_id)
    mask = masks = None
    if found.masks:
        mask, masks = paint_regions(found.regions, shape, len(classes.names), case_id=case_id)
    return Truth(mask, masks, tuple(found.lesions), classes.names, tuple(found.findings))


def read_alone(path: str | Path, *, case_id: str) -> Truth:
    """Read a segmentation whose images are absent, on its own grid.

    Args:
        path: A SEG object.
        case_id: Pseudonymous id that errors and findings carry.

    Returns:
        Mask or masks of (D, H, W), classes in the order of the segments, where they lie, and among
        the findings the warning `absent-images`.

    Raises:
        CaseError: See `read_seg` and `paint_regions`.
    """
    read = read_seg(path, case_id=case_id)
    names = dict.fromkeys(segment.label.name for segment in read.segments)
    numbers = {name: n for n, name in enumerate(names, 1)}
    regions = [
        (numbers[label.name], Region(label, patch.slice, patch.row, patch.column, patch.values))
        for patch in read.patches
        for label in (read.segments[patch.segment].label,)
    ]
    mask, masks = paint_regions(regions, read.shape, len(names) + 1, case_id=case_id)
    message = "the segmentation's images are absent: its masks lie on its own grid"
    absent = Finding("warning", "absent-images", message, "add the images", case_id)
    findings = (*read.findings, absent)
    return Truth(mask, masks, (), ("background", *names), findings, read.geometry)


def _sources(stack: Stack, frames: Sequence[int] | None, case_id: str) -> dict[Source, int]:
    """Slice by SOP Instance UID and frame number."""
    if stack.kind != "multiframe":
        return {(one.sop_uid, 0): k for k, one in enumerate(stack.instances) if one.sop_uid}
    uid = stack.instances[0].sop_uid
    if frames is None:
        frames = list_volumes(stack.instances[0].path, case_id=case_id)[0].frames
    return {(uid, frame + 1): k for k, frame in enumerate(frames)}


def _belongs(what: Segmentation | StructureSet | Report, image: _Image, found: _Gathered) -> bool:
    """Whether an object was made on these images; says so where it was not."""
    mine = {one.sop_uid for one in image.stack.instances}
    series = {one.series_uid for one in image.stack.instances}
    belongs = any(uid in mine for uid in what.instances)
    if isinstance(what, Report) or not what.instances:
        belongs = belongs or any(uid in series for uid in what.series)
    if not belongs:
        message = "an annotation object refers to other images: left out here"
        found.findings.append(Finding("info", "other-images", message, case_id=image.case_id))
        return False
    frame = "" if isinstance(what, Report) else what.frame_of_reference
    if frame and image.frame_of_reference and frame != image.frame_of_reference:
        message = "an annotation object names another frame of reference than its images"
        remedy = "check that the mask overlays the images; positions were followed"
        finding = Finding("warning", "frame-of-reference", message, remedy, image.case_id)
        found.findings.append(finding)
    return True


def _number(classes: Classes, label: Label, case_id: str) -> int:
    try:
        return classes.number(label)
    except CaseError as error:
        raise CaseError(case_id, error.kind, error.message) from None


def _add_segmentation(
    what: Segmentation, image: _Image, classes: Classes, found: _Gathered
) -> None:
    if not _belongs(what, image, found):
        return
    found.masks = True
    regions, findings = on_grid(
        what, image.geometry, image.shape, sources=image.sources, case_id=image.case_id
    )
    found.findings += findings
    _add_regions(regions, image, classes, found)
    if not regions:
        found.findings.append(_empty(image.case_id))


def _add_regions(
    regions: Sequence[Region], image: _Image, classes: Classes, found: _Gathered
) -> None:
    numbered = [(_number(classes, r.label, image.case_id), r) for r in regions]
    found.regions += numbered
    found.marked.update({number for number, _ in numbered})


def _add_structures(what: StructureSet, image: _Image, classes: Classes, found: _Gathered) -> None:
    if not _belongs(what, image, found):
        return
    found.masks = True
    drawn = draw(
        what,
        image.geometry,
        image.shape,
        sources=image.sources,
        thickness=image.thickness,
        case_id=image.case_id,
    )
    found.findings += drawn.findings
    _add_regions(drawn.regions, image, classes, found)
    for label, place in drawn.points:
        centre = place[3 - len(image.shape) :]
        found.lesions.append(Lesion(_number(classes, label, image.case_id), centre=centre))
    if not drawn.regions and not drawn.points:
        found.findings.append(_empty(image.case_id))


def _add_report(
    what: Report,
    image: _Image,
    classes: Classes,
    objects: Sequence[Instance],
    found: _Gathered,
) -> None:
    known = {one.sop_uid for one in objects}
    absent = {uid for group in what.groups for uid, _ in group.segments} - known
    if absent:
        message = f"a report measures {len(absent)} segmentations that are not here"
        remedy = "add them to the delivery"
        finding = Finding("warning", "absent-segmentation", message, remedy, image.case_id)
        found.findings.append(finding)
    marked = any(group.marks for group in what.groups)
    if not marked or not _belongs(what, image, found):
        return
    extents, findings = locate(
        what,
        image.geometry,
        image.shape,
        sources=image.sources,
        thickness=image.thickness,
        frame_of_reference=image.frame_of_reference,
        case_id=image.case_id,
    )
    found.findings += findings
    for label, extent in extents:
        number = _number(classes, label, image.case_id)
        found.lesions.append(extent.lesion(number, len(image.shape)))


def _repeated(marked: Counter[int], classes: Classes, case_id: str) -> list[Finding]:
    """Findings about classes that several objects mark: other readers, or other versions?"""
    remedy = "keep one reader's or one version's objects if they are of the same thing"
    return [
        Finding(
            "warning",
            "joined-objects",
            f"{count} annotation objects mark {classes.names[number]!r}: they were joined",
            remedy,
            case_id,
        )
        for number, count in sorted(marked.items())
        if count > 1 and number
    ]


def _empty(case_id: str) -> Finding:
    message = "a mask has no voxel on these images"
    return Finding("warning", "empty-mask", message, "check that it is meant to be empty", case_id)


def class_names(objects: Iterable[Instance]) -> tuple[str, ...]:
    """Names of the classes over a whole delivery; see `read_classes`."""
    return read_classes(objects).names

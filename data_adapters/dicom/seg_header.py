"""What the header of a DICOM segmentation says: segments, planes, and the images it is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from data_adapters.dicom.objects import Label, code, items, numbers, safe_name, text
from data_adapters.dicom.seg_grid import Plane
from data_adapters.errors import CaseError

Source = tuple[str, int]
"""SOP Instance UID and frame number of an image; 0: an object of one frame."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a segmentation.

    Attributes:
        number: Segment Number, as in the file.
        label: Name and coded concept.
    """

    number: int
    label: Label


def refuse_whole_slide(dataset: Dataset, case_id: str) -> None:
    """Refuse a segmentation of a whole-slide image, cut into tiles.

    Raises:
        CaseError: `whole-slide`.
    """
    tiled = text(dataset, "DimensionOrganizationType").startswith("TILED")
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    if (
        tiled
        or "TotalPixelMatrixRows" in dataset
        or "ImageOrientationSlide" in dataset
        or any("PlanePositionSlideSequence" in frame for frame in frames)
    ):
        message = "the segmentation is of a whole-slide image in tiles, which is not read here"
        raise CaseError(case_id, "whole-slide", message)


def read_segments(dataset: Dataset) -> tuple[Segment, ...]:
    """Segments that the header describes; a label map's background is none."""
    found = []
    for item in items(dataset, "SegmentSequence"):
        number = int(item.SegmentNumber)
        kinds = items(item, "SegmentedPropertyTypeCodeSequence")
        meaning = text(kinds[0], "CodeMeaning") if kinds else ""
        name = safe_name(text(item, "SegmentLabel"), dataset, meaning, f"segment {number}")
        if text(dataset, "SegmentationType") == "LABELMAP" and _is_background(item, number):
            continue
        found.append(Segment(number, Label(name, _concept(item))))
    return tuple(found)


def _is_background(item: Dataset, number: int) -> bool:
    kinds = items(item, "SegmentedPropertyTypeCodeSequence")
    named = bool(kinds) and code(kinds[0]) in ("DCM:125040", "DCM:130825")
    return number == 0 or named or text(item, "SegmentLabel").casefold() == "background"


def _concept(item: Dataset) -> str:
    """Property type with its modifiers and the body part, as text."""
    parts = []
    for kind in items(item, "SegmentedPropertyTypeCodeSequence")[:1]:
        parts.append(code(kind))
        modifiers = items(kind, "SegmentedPropertyTypeModifierCodeSequence")
        parts += sorted(code(modifier) for modifier in modifiers)
    for region in items(item, "AnatomicRegionSequence")[:1]:
        parts.append("in " + code(region))
        parts += sorted(code(m) for m in items(region, "AnatomicRegionModifierSequence"))
    return " ".join(parts) if parts and parts[0] else ""


def group(dataset: Dataset, frame: Dataset, keyword: str) -> Dataset:
    """A frame's own functional group, else the shared one, else an empty one."""
    for place in (frame, *items(dataset, "SharedFunctionalGroupsSequence")[:1]):
        found = items(place, keyword)
        if found:
            return found[0]
    return Dataset()


def plane(dataset: Dataset, frame: Dataset) -> Plane:
    measures = group(dataset, frame, "PixelMeasuresSequence")
    position = group(dataset, frame, "PlanePositionSequence")
    orientation = group(dataset, frame, "PlaneOrientationSequence")
    return Plane(
        tuple(numbers(position, "ImagePositionPatient")) or None,
        tuple(numbers(orientation, "ImageOrientationPatient")) or None,
        tuple(numbers(measures, "PixelSpacing")) or None,
        next(iter(numbers(measures, "SpacingBetweenSlices")), None),
        next(iter(numbers(measures, "SliceThickness")), None),
    )


def source(frame: Dataset) -> Source | None:
    """The one image that a frame was drawn on."""
    found = {
        (text(image, "ReferencedSOPInstanceUID"), int(number))
        for derivation in items(frame, "DerivationImageSequence")
        for image in items(derivation, "SourceImageSequence")
        for number in numbers(image, "ReferencedFrameNumber") or [0]
    }
    return found.pop() if len(found) == 1 else None


def referred_series(dataset: Dataset) -> tuple[str, ...]:
    series = items(dataset, "ReferencedSeriesSequence")
    found = [text(item, "SeriesInstanceUID") for item in series]
    return tuple(dict.fromkeys(uid for uid in found if uid))


def referred_instances(dataset: Dataset, frames: Sequence[Dataset]) -> tuple[str, ...]:
    """SOP Instance UIDs of the images, from the series list and from the frames."""
    places = [
        instance
        for series in items(dataset, "ReferencedSeriesSequence")
        for instance in items(series, "ReferencedInstanceSequence")
    ]
    places += [
        image
        for frame in frames
        for derivation in items(frame, "DerivationImageSequence")
        for image in items(derivation, "SourceImageSequence")
    ]
    found = [text(place, "ReferencedSOPInstanceUID") for place in places]
    return tuple(dict.fromkeys(uid for uid in found if uid))

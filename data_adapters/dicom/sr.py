"""Reading measurement reports (DICOM SR, TID 1500): regions as lesions in voxel units.

highdicom finds the measurement groups; what it cannot read is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from data_adapters.case import Geometry
from data_adapters.dicom.objects import (
    REPORTS,
    Label,
    code,
    damage,
    items,
    numbers,
    open_object,
    safe_name,
    text,
)
from data_adapters.dicom.placing import as_volume
from data_adapters.dicom.seg_header import Source
from data_adapters.dicom.sr_shapes import Extent, join, shape_extents
from data_adapters.errors import CaseError
from data_adapters.findings import Finding, Severity
from data_adapters.geometry import to_index

_TEMPLATE = "1500"


@dataclass(frozen=True, eq=False, slots=True)
class Mark:
    """One region, as drawn.

    Attributes:
        shape: Graphic Type, such as `POINT`, `CIRCLE`, `ELLIPSE`, `POLYLINE`, `ELLIPSOID`.
        points: (n, 2) column and row, 0.0 at the outer corner of the first pixel (PS3.3 C.18.6),
            or (n, 3) x, y, z in mm, LPS.
        sources: Images that it was drawn on; empty for points in mm.
        frame_of_reference: Frame of Reference UID of points in mm.
    """

    shape: str
    points: NDArray[np.float64]
    sources: tuple[Source, ...] = ()
    frame_of_reference: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """One measurement group.

    Attributes:
        label: What was found.
        marks: Its regions.
        volumetric: The marks together outline one volume.
        measurements: (name, value, unit).
        segments: (SOP Instance UID, segment number) of segmentations that it refers to.
    """

    label: Label
    marks: tuple[Mark, ...]
    volumetric: bool
    measurements: tuple[tuple[str, float, str], ...] = ()
    segments: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """A measurement report.

    Attributes:
        groups: Its measurement groups.
        series: Series Instance UIDs referred to as evidence.
        instances: SOP Instance UIDs of the images that marks were drawn on.
        findings: What was noticed.
    """

    groups: tuple[Measured, ...]
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def read_sr(path: str | Path, *, case_id: str) -> Report:
    """Read a measurement report.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors and findings carry.

    Raises:
        CaseError: With `kind` one of `missing`, `zero-byte`, `not-dicom`, `truncated`,
            `unreadable`, `corrupt`, `other-object`, `unsupported`.
    """
    what = "structured report"
    dataset = open_object(path, case_id=case_id, classes=REPORTS, what=what)
    with damage(case_id, what):
        templates = items(dataset, "ContentTemplateSequence")
        if not templates or text(templates[0], "TemplateIdentifier") != _TEMPLATE:
            message = "the structured report is no measurement report (TID 1500): not read here"
            raise CaseError(case_id, "unsupported", message)
        groups = tuple(_group(group, flat, dataset) for group, flat in _groups(dataset))
        bare = sum(not group.marks and not group.segments for group in groups)
        findings = []
        if bare:
            message = f"{bare} measurement groups of the report mark no region"
            findings.append(Finding("info", "no-region", message, case_id=case_id))
        drawn = {uid for group in groups for mark in group.marks for uid, _ in mark.sources}
        return Report(groups, _evidence(dataset), tuple(sorted(drawn)), tuple(findings))


def _groups(dataset: FileDataset) -> list[tuple[Dataset, bool]]:
    """Containers of the measurement groups, and whether each is planar."""
    import highdicom

    readers: dict[str, Any] = {
        "1.2.840.10008.5.1.4.1.1.88.22": highdicom.sr.EnhancedSR,
        "1.2.840.10008.5.1.4.1.1.88.33": highdicom.sr.ComprehensiveSR,
        "1.2.840.10008.5.1.4.1.1.88.34": highdicom.sr.Comprehensive3DSR,
    }
    report = readers[str(dataset.SOPClassUID)].from_dataset(dataset, copy=False).content
    planar = [(group[0], True) for group in report.get_planar_roi_measurement_groups()]
    solid = [(group[0], False) for group in report.get_volumetric_roi_measurement_groups()]
    bare = [(group[0], True) for group in report.get_image_measurement_groups()]
    return planar + solid + bare


def _group(container: Dataset, planar: bool, dataset: Dataset) -> Measured:
    marks, measurements, segments = [], [], []
    label = Label("finding")
    ranked: dict[str, Dataset] = {}
    for item in items(container, "ContentSequence"):
        kind, name = text(item, "ValueType"), _code_of(item, "ConceptNameCodeSequence")
        if kind in ("SCOORD", "SCOORD3D"):
            marks.append(_mark(item, kind))
        elif kind == "IMAGE":
            segments += _segments(item)
        elif kind == "NUM":
            measurements += _measurement(item)
        elif kind == "CODE" and name in _FINDING:
            ranked.setdefault(name, items(item, "ConceptCodeSequence")[0])
    for name in _FINDING:
        if name in ranked:
            meaning = text(ranked[name], "CodeMeaning")
            label = Label(safe_name(meaning, dataset, "finding"), code(ranked[name]))
            break
    return Measured(label, tuple(marks), not planar, tuple(measurements), tuple(segments))


_FINDING = ("DCM:121071", "DCM:276214006", "SCT:276214006", "SRT:G-A16E")
"""Codes of "Finding" and, failing that, of "Finding category"."""


def _code_of(item: Dataset, keyword: str) -> str:
    found = items(item, keyword)
    return code(found[0]) if found else ""


def _mark(item: Dataset, kind: str) -> Mark:
    size = 2 if kind == "SCOORD" else 3
    points = np.array(numbers(item, "GraphicData")).reshape(-1, size)
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("region without coordinates")
    sources = tuple(
        (text(image, "ReferencedSOPInstanceUID"), int(frame))
        for child in items(item, "ContentSequence")
        if text(child, "ValueType") == "IMAGE"
        for image in items(child, "ReferencedSOPSequence")
        for frame in numbers(image, "ReferencedFrameNumber") or [0]
    )
    frame = text(item, "ReferencedFrameOfReferenceUID")
    return Mark(text(item, "GraphicType").upper(), points, sources, frame)


def _segments(item: Dataset) -> list[tuple[str, int]]:
    return [
        (text(image, "ReferencedSOPInstanceUID"), int(number))
        for image in items(item, "ReferencedSOPSequence")
        for number in numbers(image, "ReferencedSegmentNumber")
    ]


def _measurement(item: Dataset) -> list[tuple[str, float, str]]:
    """Name, value and unit; none where the value is said to be missing."""
    name = items(item, "ConceptNameCodeSequence")
    values = items(item, "MeasuredValueSequence")
    if not name or not values:
        return []
    number = numbers(values[0], "NumericValue")
    unit = items(values[0], "MeasurementUnitsCodeSequence")
    if not number:
        return []
    return [(text(name[0], "CodeMeaning"), number[0], text(unit[0], "CodeValue") if unit else "")]


def _evidence(dataset: Dataset) -> tuple[str, ...]:
    found = [
        text(series, "SeriesInstanceUID")
        for keyword in (
            "CurrentRequestedProcedureEvidenceSequence",
            "PertinentOtherEvidenceSequence",
        )
        for study in items(dataset, keyword)
        for series in items(study, "ReferencedSeriesSequence")
    ]
    return tuple(dict.fromkeys(uid for uid in found if uid))


def locate(
    report: Report,
    geometry: Geometry | None,
    shape: Sequence[int],
    *,
    sources: Mapping[Source, int] | None = None,
    thickness: float | None = None,
    frame_of_reference: str = "",
    case_id: str,
) -> tuple[list[tuple[Label, Extent]], list[Finding]]:
    """Where a report's marks lie in an image.

    Args:
        report: The report.
        geometry: Where the image's voxels lie; None where not known.
        shape: (D, H, W) of the image, or (H, W) of a picture.
        sources: Slice of the image by SOP Instance UID and frame number.
        thickness: Of a picture's slice, mm.
        frame_of_reference: The image's Frame of Reference UID; marks in mm of another one are left
            out; where empty, all are used.
        case_id: Pseudonymous id that findings carry.

    Returns:
        (label, extent) per lesion in (slice, row, column), a volumetric group's marks joined; and
        findings: `lesion-off-grid`, `other-images`, `mark-kind`, and the report's own.
    """
    grid = as_volume(geometry, thickness=thickness)
    size = (1, *shape) if len(shape) == 2 else tuple(shape)
    found: list[tuple[Label, Extent]] = []
    counts: Counter[str] = Counter()
    for group in report.groups:
        extents: list[Extent] = []
        for mark in group.marks:
            extents += _extents(mark, grid, sources or {}, frame_of_reference, counts)
        joined = join(extents) if group.volumetric else extents
        for extent in joined:
            if extent.outside(size):
                counts["lesion-off-grid"] += 1
            else:
                found.append((group.label, extent))
    return found, [*report.findings, *_findings(counts, case_id)]


def _extents(
    mark: Mark,
    grid: Geometry | None,
    sources: Mapping[Source, int],
    frame_of_reference: str,
    counts: Counter[str],
) -> list[Extent]:
    """Extents of one mark, per image that it was drawn on."""
    if mark.points.shape[1] == 3:
        other = frame_of_reference and mark.frame_of_reference not in ("", frame_of_reference)
        if grid is None or other:
            counts["other-images"] += 1
            return []
        return _known(shape_extents(mark.shape, to_index(grid, mark.points)), counts)
    slices = [sources[source] for source in mark.sources if source in sources]
    counts["other-images"] += not slices
    places: Iterable[NDArray[np.float64]] = (
        np.column_stack([np.full(len(mark.points), place), mark.points[:, ::-1] - 0.5])
        for place in slices
    )
    return [one for place in places for one in _known(shape_extents(mark.shape, place), counts)]


def _known(extents: list[Extent] | None, counts: Counter[str]) -> list[Extent]:
    counts["mark-kind"] += extents is None
    return extents or []


_SAID: dict[str, tuple[Severity, str]] = {
    "lesion-off-grid": ("warning", "{} marks of the report lie beyond the image: left out"),
    "other-images": ("info", "{} marks of the report were drawn on other images: left out"),
    "mark-kind": ("warning", "{} marks of the report have a shape that is not known: left out"),
}


def _findings(counts: Counter[str], case_id: str) -> list[Finding]:
    return [
        Finding(severity, kind, message.format(counts[kind]), case_id=case_id)
        for kind, (severity, message) in _SAID.items()
        if counts[kind]
    ]

"""Reading RT structure sets, and their contours as masks on the images' grid.

Contours are polygons in patient coordinates (PS3.3 C.8.8.6). A pixel belongs to a polygon when its
centre lies inside by the even-odd rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from data_adapters.case import Geometry
from data_adapters.dicom.objects import (
    STRUCTURE_SET,
    Label,
    code,
    damage,
    items,
    numbers,
    open_object,
    safe_name,
    text,
)
from data_adapters.dicom.placing import Region, as_volume
from data_adapters.dicom.polygons import Raster, combine, fill
from data_adapters.dicom.seg_header import Source
from data_adapters.errors import CaseError
from data_adapters.findings import Finding, Severity
from data_adapters.geometry import to_index

Array = NDArray[np.float64]

IN_PLANE = 0.1
"""How far, in slices, a contour may lie from a slice and still be on it."""
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
MAX_POINTS = 20_000_000
"""Most contour points of one structure set."""


@dataclass(frozen=True, eq=False, slots=True)
class Contour:
    """One contour.

    Attributes:
        kind: Contour Geometric Type, such as `CLOSED_PLANAR` or `POINT`.
        points: (n, 3) x, y, z in mm, LPS.
        sources: Images that it was drawn on, by SOP Instance UID and frame number (0: the whole
            object).
    """

    kind: str
    points: Array
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Roi:
    """A region of interest.

    Attributes:
        number: ROI Number.
        label: Name and coded concept.
        contours: Its contours; empty where it was never drawn.
    """

    number: int
    label: Label
    contours: tuple[Contour, ...]


@dataclass(frozen=True, eq=False)
class StructureSet:
    """An RT structure set.

    Attributes:
        rois: Its regions of interest, in the file's order.
        series: Series Instance UIDs referred to.
        instances: SOP Instance UIDs referred to, by the whole set or by a contour.
        frame_of_reference: Frame of Reference UID; empty where not said.
        findings: What was noticed.
    """

    rois: tuple[Roi, ...]
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    frame_of_reference: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Drawn:
    """A structure set on an image's grid.

    Attributes:
        regions: Filled contours, per slice.
        points: Single points as (label, voxel index).
        findings: What was noticed.
    """

    regions: list[Region] = field(default_factory=list)
    points: list[tuple[Label, tuple[float, ...]]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_rtstruct(path: str | Path, *, case_id: str) -> StructureSet:
    """Read an RT structure set.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors and findings carry.

    Raises:
        CaseError: With `kind` one of `missing`, `zero-byte`, `not-dicom`, `truncated`,
            `unreadable`, `corrupt`, `other-object`, `bomb`.
    """
    what = "RT structure set"
    dataset = open_object(path, case_id=case_id, classes=(STRUCTURE_SET,), what=what)
    with damage(case_id, what):
        contours, findings = _contours(dataset, case_id)
        rois = tuple(
            Roi(number, label, tuple(contours.pop(number, ())))
            for number, label in read_rois(dataset)
        )
        if contours:
            message = f"{len(contours)} contour groups belong to no named region: left out"
            findings.append(Finding("warning", "unknown-values", message, case_id=case_id))
        undrawn = sum(not roi.contours for roi in rois)
        if undrawn:
            message = f"{undrawn} of {len(rois)} regions of the structure set were never drawn"
            findings.append(Finding("warning", "empty-mask", message, case_id=case_id))
        listed = _listed(dataset)
        drawn = {uid for roi in rois for c in roi.contours for uid, _ in c.sources}
        frames = items(dataset, "ReferencedFrameOfReferenceSequence")
        return StructureSet(
            rois=rois,
            series=tuple(dict.fromkeys(uid for uid, _ in listed if uid)),
            instances=tuple(dict.fromkeys([*(uid for _, uid in listed if uid), *sorted(drawn)])),
            frame_of_reference=text(frames[0], "FrameOfReferenceUID") if frames else "",
            findings=tuple(findings),
        )


def read_rois(dataset: Dataset) -> list[tuple[int, Label]]:
    """Number and label of each region that the header names."""
    concepts = {}
    for item in items(dataset, "RTROIObservationsSequence"):
        kinds = items(item, "RTROIIdentificationCodeSequence")
        if kinds and "ReferencedROINumber" in item:
            concepts[int(item.ReferencedROINumber)] = (code(kinds[0]), kinds[0])
    found = []
    for item in items(dataset, "StructureSetROISequence"):
        number = int(item.ROINumber)
        concept, kind = concepts.get(number, ("", Dataset()))
        meaning = text(kind, "CodeMeaning")
        name = safe_name(text(item, "ROIName"), dataset, meaning, f"ROI {number}")
        found.append((number, Label(name, concept)))
    return found


def _listed(dataset: Dataset) -> list[tuple[str, str]]:
    """(series, instance) UIDs that the set as a whole refers to."""
    return [
        (text(series, "SeriesInstanceUID"), text(image, "ReferencedSOPInstanceUID"))
        for frame in items(dataset, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
        for image in [*items(series, "ContourImageSequence"), Dataset()]
    ]


def _contours(dataset: Dataset, case_id: str) -> tuple[dict[int, list[Contour]], list[Finding]]:
    """Contours by ROI Number, and findings about those that cannot be used."""
    found: dict[int, list[Contour]] = {}
    broken = total = 0
    for group in items(dataset, "ROIContourSequence"):
        number = int(group.ReferencedROINumber)
        for item in items(group, "ContourSequence"):
            values = np.array(numbers(item, "ContourData"))
            total += len(values) // 3
            if total > MAX_POINTS:
                message = f"the structure set has more than {MAX_POINTS} points"
                raise CaseError(case_id, "bomb", message)
            if len(values) < 3 or len(values) % 3 or not np.isfinite(values).all():
                broken += 1
                continue
            kind = text(item, "ContourGeometricType").upper()
            images = items(item, "ContourImageSequence")
            sources = [
                (text(image, "ReferencedSOPInstanceUID"), int(frame))
                for image in images
                for frame in numbers(image, "ReferencedFrameNumber") or [0]
            ]
            contour = Contour(kind, values.reshape(-1, 3), tuple(sources))
            found.setdefault(number, []).append(contour)
    if not broken:
        return found, []
    message = f"{broken} contours without complete coordinates were left out"
    return found, [Finding("error", "broken-contours", message, case_id=case_id)]


def draw(
    structures: StructureSet,
    geometry: Geometry | None,
    shape: Sequence[int],
    *,
    sources: Mapping[Source, int] | None = None,
    thickness: float | None = None,
    case_id: str,
) -> Drawn:
    """Fill the contours of a structure set on an image's grid.

    Each contour goes to the slice at its own position. Contours of one region that lie inside each
    other on a slice are cut out of each other in turn (XOR); those that cross are joined; both are
    recorded. Points become `points`; open contours are left out and recorded.

    Args:
        structures: The structure set.
        geometry: Where the image's voxels lie.
        shape: (D, H, W) of the image, or (H, W) of a picture.
        sources: Slice of the image by SOP Instance UID and frame number.
        thickness: Of a picture's slice, mm.
        case_id: Pseudonymous id that errors and findings carry.

    Returns:
        Regions, points, and findings: `contour-off-grid`, `contour-between-slices`,
        `contour-not-in-plane`, `contour-kind`, `contour-degenerate`, `nested-contours`,
        `crossing-contours`, `duplicate-contours`, `reference-mismatch`, and the set's own.

    Raises:
        CaseError: `no-geometry`: the image has no position in the patient.
    """
    grid = as_volume(geometry, thickness=thickness)
    if grid is None:
        message = "contours are in patient coordinates, and the image has no position"
        raise CaseError(case_id, "no-geometry", message)
    size: tuple[int, int, int] = (1, *shape) if len(shape) == 2 else tuple(shape)  # type: ignore
    result, counts = Drawn(), Counter[str]()
    result.findings.extend(structures.findings)
    for roi in structures.rois:
        planes: list[tuple[float, Raster, bool]] = []
        for contour in roi.contours:
            index = to_index(grid, contour.points)
            if contour.kind == "POINT":
                _point(roi.label, index, size, result, counts)
            elif contour.kind not in CLOSED:
                counts["contour-kind"] += 1
            else:
                _close(contour, grid, index, size, sources or {}, planes, counts)
        result.regions.extend(_union(roi.label, planes, counts))
    result.findings.extend(_findings(counts, case_id))
    return result


def _point(
    label: Label, index: Array, size: tuple[int, int, int], result: Drawn, counts: Counter[str]
) -> None:
    if ((index[0] < -0.5) | (index[0] > np.array(size) - 0.5)).any():
        counts["contour-off-grid"] += 1
        return
    result.points.append((label, tuple(float(v) for v in index[0])))


def _in_gap(contour: Contour, grid: Geometry, place: int) -> bool:
    """Whether a contour lies where slices are missing: over half a step from any."""
    if not grid.positions:
        return False
    normal = np.asarray(grid.direction[0])
    apart = (contour.points - np.asarray(grid.positions[place])) @ normal
    return bool(abs(apart.mean()) > (0.5 + IN_PLANE) * grid.spacing[0])


def _close(
    contour: Contour,
    grid: Geometry,
    index: Array,
    size: tuple[int, int, int],
    sources: Mapping[Source, int],
    planes: list[tuple[float, Raster, bool]],
    counts: Counter[str],
) -> None:
    """Fill one closed contour into the plane it lies in."""
    height = float(index[:, 0].mean())
    place = int(np.floor(height + 0.5))
    if np.ptp(index[:, 0]) > 1 or np.abs(index[:, 0] - height).max() > 0.5:
        counts["contour-not-in-plane"] += 1
        return
    if len(index) < 3:
        counts["contour-degenerate"] += 1
        return
    if not 0 <= place < size[0] or _in_gap(contour, grid, place):
        counts["contour-off-grid"] += 1
        return
    said = {sources[source] for source in contour.sources if source in sources}
    if said and place not in said:
        counts["reference-mismatch"] += 1
    low, high = index[:, 1:].min(0), index[:, 1:].max(0)
    if (low < -0.5).any() or (high > np.array(size[1:]) - 0.5).any():
        counts["contour-cut"] += 1
    raster = fill(index[:, 1:], size[1:])
    if raster is None:
        counts["contour-degenerate"] += 1
        return
    level = float(place) if abs(height - place) <= IN_PLANE else height
    planes.append((level, raster, contour.kind == "CLOSEDPLANAR_XOR"))


def _union(
    label: Label, planes: list[tuple[float, Raster, bool]], counts: Counter[str]
) -> list[Region]:
    """One region per slice: the contours of the plane nearest to it, combined."""
    groups: list[list[tuple[float, Raster, bool]]] = []
    for one in sorted(planes, key=lambda plane: plane[0]):
        if groups and one[0] - groups[-1][-1][0] < IN_PLANE / 4:
            groups[-1].append(one)
        else:
            groups.append([one])
    nearest: dict[int, list[tuple[float, Raster, bool]]] = {}
    for group in groups:
        place = int(np.floor(group[0][0] + 0.5))
        known = nearest.get(place)
        if known is None or abs(group[0][0] - place) < abs(known[0][0] - place):
            nearest[place] = group
    regions = []
    for place, group in nearest.items():
        raster = combine([(raster, declared) for _, raster, declared in group], counts)
        counts["contour-between-slices"] += len(group) * (group[0][0] != place)
        if raster.values.any():
            regions.append(Region(label, place, raster.row, raster.column, raster.values))
    used = sum(len(group) for group in nearest.values())
    counts["contour-left-out"] += len(planes) - used
    return regions


_SLUGS = {"contour-cut": "mask-off-grid", "contour-left-out": "contour-between-slices"}
_SAID: dict[str, tuple[Severity, str, str]] = {
    "contour-off-grid": ("warning", "{} contours or points lie beyond the image: left out", ""),
    "contour-cut": ("warning", "{} contours reach beyond the image and were cut", ""),
    "contour-between-slices": (
        "warning",
        "{} contours lie between slices and were put on the nearest",
        "check that the structure set belongs to these images",
    ),
    "contour-left-out": (
        "warning",
        "{} contours lie between slices that have contours nearer to them: left out",
        "check that the structure set belongs to these images",
    ),
    "contour-not-in-plane": (
        "error",
        "{} contours do not lie in a slice's plane: left out",
        "export the contours on the slices of these images",
    ),
    "contour-kind": ("warning", "{} open contours enclose nothing: left out", ""),
    "contour-degenerate": (
        "info",
        "{} contours have no pixel centre inside, or fewer than three points: left out",
        "",
    ),
    "nested-contours": (
        "info",
        "{} contours lie inside another of their region and were cut out of it (XOR)",
        "",
    ),
    "crossing-contours": (
        "warning",
        "{} pairs of contours of one region cross on a slice and were joined",
        "check them",
    ),
    "duplicate-contours": ("warning", "{} contours were drawn twice; one of each is used", ""),
    "reference-mismatch": (
        "warning",
        "{} contours refer to other images than the one at their position",
        "check that the contours overlay the images; positions were followed",
    ),
}


def _findings(counts: Counter[str], case_id: str) -> list[Finding]:
    found = []
    for kind, (severity, message, remedy) in _SAID.items():
        if counts[kind]:
            said = message.format(counts[kind])
            slug = _SLUGS.get(kind, kind)
            found.append(Finding(severity, slug, said, remedy, case_id))
    return found

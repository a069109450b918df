"""Reading DICOM segmentations: binary, fractional and label maps, with gaps and overlaps.

Frames may come in any order, and a segment has frames only where it is not empty (PS3.3 A.51 and
C.8.20): what no frame covers is background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import iter_pixels

from data_adapters.case import Geometry
from data_adapters.dicom.objects import (
    LABEL_MAP,
    SEGMENTATION,
    damage,
    items,
    open_object,
    text,
)
from data_adapters.dicom.pixels import is_compressed
from data_adapters.dicom.seg_grid import stack_planes
from data_adapters.dicom.seg_header import (
    Segment,
    Source,
    group,
    plane,
    read_segments,
    referred_instances,
    referred_series,
    refuse_whole_slide,
    source,
)
from data_adapters.errors import CaseError
from data_adapters.findings import Finding
from data_adapters.isolation import isolated

MAX_VOXELS = 1 << 33
"""Most pixels that the header may declare over all frames."""


@dataclass(frozen=True, eq=False, slots=True)
class Patch:
    """The part of a frame that is not background.

    Attributes:
        segment: Index of the segment.
        slice: Slice of the segmentation's own grid.
        row: First row.
        column: First column.
        values: (h, w) uint8, 0 or 1, or float32, 0 to 1.
        source: SOP Instance UID and frame number (0: the whole object) of the image that the frame
            was drawn on, where the file names exactly one.
    """

    segment: int
    slice: int
    row: int
    column: int
    values: NDArray[Any]
    source: Source | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation on its own grid.

    Attributes:
        segments: Its segments, background left out, in the file's order.
        patches: What is not background, per frame and segment.
        shape: Slices, rows, columns of its own grid; without positions each frame is a slice.
        geometry: Where that grid lies; None where the frames have no position.
        kind: `binary`, `fractional` or `labelmap`.
        fractional: `PROBABILITY` or `OCCUPANCY` of a fractional one; else empty.
        overlapping: Some voxel belongs to two segments.
        series: Series Instance UIDs referred to.
        instances: SOP Instance UIDs referred to.
        frame_of_reference: Frame of Reference UID; empty where not said.
        findings: What was noticed.
    """

    segments: tuple[Segment, ...]
    patches: tuple[Patch, ...]
    shape: tuple[int, int, int]
    geometry: Geometry | None
    kind: str
    fractional: str = ""
    overlapping: bool = False
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    frame_of_reference: str = ""
    findings: tuple[Finding, ...] = ()

    def array(self, index: int) -> NDArray[Any]:
        """One segment on the segmentation's own grid.

        Args:
            index: Index of the segment in `segments`.

        Returns:
            (D, H, W) uint8, 0 or 1, or float32, 0 to 1.
        """
        kind = np.float32 if self.kind == "fractional" else np.uint8
        full = np.zeros(self.shape, kind)
        for patch in self.patches:
            if patch.segment == index:
                high, wide = patch.values.shape
                rows, columns = patch.row + high, patch.column + wide
                full[patch.slice, patch.row : rows, patch.column : columns] = patch.values
        return full


def read_seg(path: str | Path, *, case_id: str) -> Segmentation:
    """Read a DICOM segmentation; one whose frames are compressed is decoded apart.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.

    Raises:
        CaseError: With `kind` one of `missing`, `zero-byte`, `not-dicom`, `truncated`,
            `unreadable`, `corrupt`, `other-object`, `whole-slide`, `bomb`, `codec`,
            `mixed-orientation`, `duplicate-frames`, `unsupported`.
    """
    header = _open(path, case_id, pixels=False)
    with damage(case_id, "segmentation"):
        packed = is_compressed(header.file_meta.TransferSyntaxUID)
    if packed:
        function = "data_adapters.dicom.seg:read_seg_here"
        result: Segmentation = isolated(function, str(path), case_id=case_id)
        return result
    return read_seg_here(str(path), case_id=case_id)


def read_seg_here(path: str, *, case_id: str) -> Segmentation:
    """Read a DICOM segmentation in this process; see `read_seg`."""
    dataset = _open(path, case_id)
    with damage(case_id, "segmentation"):
        _check(dataset, case_id)
        segments = read_segments(dataset)
        frames = _functional_groups(dataset, case_id)
        planes = [plane(dataset, frame) for frame in frames]
        geometry, slices, depth, findings = stack_planes(planes, case_id=case_id)
        sources = [source(frame) for frame in frames]
        if geometry is None:
            slices, depth = _slices_by_source(sources)
        kind = text(dataset, "SegmentationType").lower()
        patches, more = _patches(dataset, segments, frames, slices, sources, case_id)
        _refuse_twins(patches, case_id)
        return Segmentation(
            segments=segments,
            patches=tuple(patches),
            shape=(depth, int(dataset.Rows), int(dataset.Columns)),
            geometry=geometry,
            kind=kind,
            fractional=text(dataset, "SegmentationFractionalType"),
            overlapping=overlap(patches, (int(dataset.Rows), int(dataset.Columns))),
            series=referred_series(dataset),
            instances=referred_instances(dataset, frames),
            frame_of_reference=text(dataset, "FrameOfReferenceUID"),
            findings=(*findings, *more),
        )


def _open(path: str | Path, case_id: str, *, pixels: bool = True) -> FileDataset:
    classes = (SEGMENTATION, LABEL_MAP)
    return open_object(path, case_id=case_id, classes=classes, what="segmentation", pixels=pixels)


def _check(dataset: FileDataset, case_id: str) -> None:
    """Refuse what is no segmentation of a patient's images, or cannot be."""
    refuse_whole_slide(dataset, case_id)
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise CaseError(case_id, "unsupported", f"segmentation type {kind[:16]!r} is not known")
    if "PixelData" not in dataset:
        message = "the file ends before its pixels, or never had any: copy it again"
        raise CaseError(case_id, "truncated", message)
    swapped = not dataset.original_encoding[1] and dataset["PixelData"].VR == "OW"
    if swapped and int(dataset.BitsAllocated) == 1:
        message = "single bits in big endian words are written in either order: convert the file"
        raise CaseError(case_id, "unsupported", message)
    frames = int(dataset.get("NumberOfFrames") or 1)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if min(frames, rows, columns) < 1:
        message = f"the header declares {frames} frames of {columns} x {rows} pixels"
        raise CaseError(case_id, "corrupt", message)
    if frames * rows * columns > MAX_VOXELS:
        message = f"the header declares {frames * rows * columns} pixels; the limit is {MAX_VOXELS}"
        raise CaseError(case_id, "bomb", message)
    if not is_compressed(dataset.file_meta.TransferSyntaxUID):
        wanted = (frames * rows * columns * int(dataset.BitsAllocated) + 7) // 8
        if len(dataset.PixelData) < wanted:
            message = f"the file holds {len(dataset.PixelData)} of {wanted} bytes of pixels"
            raise CaseError(case_id, "truncated", message + ": copy it again")


def _functional_groups(dataset: Dataset, case_id: str) -> list[Dataset]:
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(frames) != int(dataset.get("NumberOfFrames") or 1):
        message = f"{len(frames)} frames are described of {dataset.get('NumberOfFrames') or 1}"
        raise CaseError(case_id, "corrupt", message)
    return frames


def _slices_by_source(sources: Sequence[Source | None]) -> tuple[list[int], int]:
    """Without positions: frames drawn on one image share a slice, others have their own."""
    known: dict[Any, int] = {}
    slices = [
        known.setdefault(("frame", n) if source is None else source, len(known))
        for n, source in enumerate(sources)
    ]
    return slices, len(known)


def _patches(
    dataset: FileDataset,
    segments: Sequence[Segment],
    frames: Sequence[Dataset],
    slices: Sequence[int],
    sources: Sequence[Source | None],
    case_id: str,
) -> tuple[list[Patch], list[Finding]]:
    index = {segment.number: k for k, segment in enumerate(segments)}
    labelmap = text(dataset, "SegmentationType") == "LABELMAP"
    patches, unknown = [], set()
    for n, values in enumerate(_frames(dataset, case_id)):
        if labelmap:
            parts = _labels_in(values, _padding(dataset))
        else:
            named = group(dataset, frames[n], "SegmentIdentificationSequence")
            parts = [(int(named.ReferencedSegmentNumber), _scaled(dataset, values))]
        for number, part in parts:
            if number not in index:
                unknown.add(number)
                continue
            patch = crop(part, index[number], slices[n], sources[n])
            patches += [patch] if patch else []
    if not unknown:
        return patches, []
    shown = ", ".join(str(number) for number in sorted(unknown)[:8])
    message = f"the segmentation holds values that no segment describes: {shown}"
    remedy = "find out what they mean; here they count as background"
    return patches, [Finding("error", "unknown-values", message, remedy, case_id)]


def _frames(dataset: FileDataset, case_id: str) -> Iterator[NDArray[Any]]:
    """Stored values frame by frame; a palette is not applied."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if int(dataset.BitsAllocated) == 1 and not is_compressed(syntax):
        yield from _bits(dataset)
        return
    count = 0
    try:
        for frame in iter_pixels(dataset, raw=True):
            count += 1
            yield frame
    except (NotImplementedError, RuntimeError):
        message = f"its {syntax.name} pixels cannot be decoded (damaged, or no codec for them)"
        raise CaseError(case_id, "codec", message) from None
    if count != int(dataset.get("NumberOfFrames") or 1):
        raise CaseError(case_id, "truncated", f"only {count} of its frames could be decoded")


def _bits(dataset: FileDataset) -> Iterator[NDArray[Any]]:
    """Frames of packed bits, which need not begin on a byte (PS3.5 8.1.1)."""
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    size = rows * columns
    for n in range(int(dataset.get("NumberOfFrames") or 1)):
        first, skip = divmod(n * size, 8)
        bits = np.unpackbits(packed[first : (n * size + size + 7) // 8], bitorder="little")
        yield bits[skip : skip + size].reshape(rows, columns)


def _padding(dataset: Dataset) -> int:
    value = dataset.get("PixelPaddingValue")
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little")
    return 0 if value is None else int(value)


def _labels_in(values: NDArray[Any], padding: int) -> list[tuple[int, NDArray[Any]]]:
    """Each label of a frame of a label map with its mask; padding and 0 are background."""
    small = values.dtype.kind == "u" and values.dtype.itemsize <= 2
    distinct = np.flatnonzero(np.bincount(values.ravel())) if small else np.unique(values)
    found = [int(v) for v in distinct]
    return [(v, (values == v).view(np.uint8)) for v in found if v not in (0, padding)]


def _scaled(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    if text(dataset, "SegmentationType") == "BINARY":
        return np.asarray(values != 0).view(np.uint8)
    top = int(dataset.MaximumFractionalValue)
    if top < 1 or int(values.max(initial=0)) > top:
        raise ValueError("fractions beyond their maximum")
    return np.asarray(values / np.float32(top), np.float32)


def crop(values: NDArray[Any], segment: int, place: int, source: Source | None) -> Patch | None:
    rows, columns = np.flatnonzero(values.any(1)), np.flatnonzero(values.any(0))
    if rows.size == 0:
        return None
    (top, bottom), (left, right) = rows[[0, -1]].tolist(), columns[[0, -1]].tolist()
    part = values[top : bottom + 1, left : right + 1].copy()
    return Patch(segment, place, top, left, part, source)


def _refuse_twins(patches: Sequence[Patch], case_id: str) -> None:
    """Refuse a segmentation that has a segment twice in one place (several times, perhaps)."""
    seen: set[tuple[int, int]] = set()
    for patch in patches:
        if (patch.segment, patch.slice) in seen:
            message = "a segment has two frames in one plane (several points in time?)"
            raise CaseError(case_id, "duplicate-frames", message)
        seen.add((patch.segment, patch.slice))


def overlap(patches: Sequence[Patch], shape: Sequence[int]) -> bool:
    """Whether a pixel belongs to two patches of one slice; `shape` is that of a slice."""
    by_slice: dict[int, list[Patch]] = {}
    for patch in patches:
        by_slice.setdefault(patch.slice, []).append(patch)
    for here in by_slice.values():
        taken = np.zeros(shape if len(here) > 1 else (0, 0), bool)
        for patch in here if len(here) > 1 else ():
            high, wide = patch.values.shape
            part = taken[patch.row : patch.row + high, patch.column : patch.column + wide]
            if (part & (patch.values != 0)).any():
                return True
            part |= patch.values != 0
    return False

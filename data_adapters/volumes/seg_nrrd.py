"""3D Slicer's segmentations, `.seg.nrrd`: named segments in one or several layers.

A segment is a value of one layer; segments in different layers may overlap. The array is cropped
to the segments, so that it seldom has the size of the image, but lies where its header says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.dicom.objects import Label
from data_adapters.dicom.painting import paint_regions
from data_adapters.dicom.placing import on_grid
from data_adapters.dicom.seg import Patch, Segmentation, crop, overlap
from data_adapters.dicom.seg_header import Segment
from data_adapters.errors import CaseError
from data_adapters.findings import Finding
from data_adapters.volumes.read import read_volume, read_volume_header
from data_adapters.volumes.text_header import read_head

SUFFIXES = (".seg.nrrd", ".seg.nhdr")
_KEY = re.compile(r"Segment(\d{1,4})_(ID|Name|LabelValue|Layer|Tags)")


@dataclass(frozen=True, slots=True)
class _Described:
    """A segment as the header describes it."""

    label: Label
    value: int
    layer: int


def is_seg_nrrd(path: str | Path) -> bool:
    """Whether a file is named like a segmentation of 3D Slicer."""
    return Path(path).name.lower().endswith(SUFFIXES)


def read_seg_nrrd(path: Path, *, case_id: str) -> Segmentation:
    """Read a segmentation of 3D Slicer.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors and findings carry.

    Returns:
        The segmentation on its own grid, segments in the file's order and numbered from 1.

    Raises:
        CaseError: As `read_volume` of a mask; `no-segments`: the header describes none;
            `unsupported`: it is a fractional one.
    """
    described = _described(path, case_id)
    volume = read_volume(path, case_id=case_id, as_mask=True)
    values = volume.image
    flat = len(volume.geometry.spacing) == 2
    layers = values[None] if flat else values
    layers = layers if layers.ndim == 4 else layers[..., None]
    strange = [one for one in described if not 0 <= one.layer < layers.shape[-1]]
    if strange:
        message = f"a segment lies in layer {strange[0].layer} of {layers.shape[-1]}"
        raise CaseError(case_id, "header", message)
    patches = tuple(_patches(described, layers))
    return Segmentation(
        segments=tuple(Segment(n, one.label) for n, one in enumerate(described, 1)),
        patches=patches,
        shape=(layers.shape[0], layers.shape[1], layers.shape[2]),
        geometry=None if flat else volume.geometry,
        kind="labelmap",
        overlapping=overlap(patches, layers.shape[1:3]),
        findings=_unknown(described, layers, case_id),
    )


def read_seg_nrrd_labels(path: Path, *, case_id: str) -> tuple[Label, ...]:
    """Names and concepts of the segments, from the header alone.

    Raises:
        CaseError: As `read_volume_header`, and `no-segments` or `unsupported`.
    """
    return tuple(one.label for one in _described(path, case_id))


def _described(path: Path, case_id: str) -> list[_Described]:
    header = read_volume_header(path, case_id=case_id)
    if header.format != "nrrd":
        raise CaseError(case_id, "no-segments", "the file is no NRRD file")
    pairs = _pairs(read_head(path))
    kind = pairs.get("Segmentation_SourceRepresentation") or pairs.get(
        "Segmentation_MasterRepresentation", ""
    )
    if "fractional" in kind.lower():
        message = "fractional segmentations of 3D Slicer are not read: export a binary label map"
        raise CaseError(case_id, "unsupported", message)
    found: dict[int, dict[str, str]] = {}
    for key, value in pairs.items():
        match = _KEY.fullmatch(key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    if not found:
        message = "the header names no segments: it is no segmentation of 3D Slicer"
        raise CaseError(case_id, "no-segments", message)
    try:
        return [_segment(n, place, found[n]) for place, n in enumerate(sorted(found))]
    except ValueError:
        message = "a layer or label value of the header is no whole number"
        raise CaseError(case_id, "header", message) from None


def _segment(number: int, place: int, facts: dict[str, str]) -> _Described:
    """One segment; before layers were written each had its own, with value 1."""
    name = " ".join((facts.get("Name") or f"segment {number + 1}").split())
    value = int(facts.get("LabelValue", 1))
    layer = int(facts.get("Layer", place))
    return _Described(Label(name, _concept(facts.get("Tags", ""))), value, layer)


def _concept(tags: str) -> str:
    """Property type, with its modifier and body part, of a terminology entry."""
    match = re.search(r"TerminologyEntry:([^|]*)", tags)
    pieces = match[1].split("~") if match else []
    codes = ["^".join(piece.split("^")[:2]).replace("^", ":") for piece in pieces]
    if len(codes) < 6 or not codes[2].strip(":"):
        return ""
    kind, modifier, region, place = codes[2], codes[3], codes[5], codes[6:7]
    parts = [kind]
    parts += [modifier] if modifier.strip(":") else []
    if region.strip(":"):
        parts.append("in " + region)
        parts += [code for code in place if code.strip(":")]
    return " ".join(parts)


def _pairs(head: bytes) -> dict[str, str]:
    """Key/value pairs of an NRRD header."""
    stop = re.search(rb"\r?\n\r?\n", head)
    lines = head[: stop.start() if stop else len(head)].decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":=") for line in lines if ":=" in line and not line.startswith("#"))
    return {key: value.replace("\\n", "\n").strip() for key, _, value in pairs}


def _patches(described: Sequence[_Described], layers: NDArray[Any]) -> Iterable[Patch]:
    for index, one in enumerate(described):
        layer = layers[..., one.layer]
        for place in range(len(layer)):
            patch = crop((layer[place] == one.value).view(np.uint8), index, place, None)
            if patch is not None:
                yield patch


def _unknown(
    described: Sequence[_Described], layers: NDArray[Any], case_id: str
) -> tuple[Finding, ...]:
    unknown: set[int] = set()
    for layer in range(layers.shape[-1]):
        known = {0, *(one.value for one in described if one.layer == layer)}
        unknown |= {int(v) for v in np.unique(layers[..., layer])} - known
    if not unknown:
        return ()
    shown = ", ".join(str(v) for v in sorted(unknown)[:8])
    message = f"the segmentation holds values that no segment describes: {shown}"
    remedy = "find out what they mean; here they count as background"
    return (Finding("error", "unknown-values", message, remedy, case_id),)


@dataclass(frozen=True)
class SlicerClasses:
    """Classes of a folder of segmentations of 3D Slicer, by the names of their segments.

    Attributes:
        names: Name k belongs to number k; name 0 is `background`.
    """

    names: tuple[str, ...]

    @classmethod
    def found_in(cls, files: Iterable[tuple[Path, str]]) -> SlicerClasses:
        """Classes of all segments, in the order of their places in the files, then of names.

        Args:
            files: (file, case id) of each segmentation; those that cannot be read tell nothing.
        """
        order: dict[str, tuple[int, str]] = {}
        for path, case_id in files:
            try:
                labels = read_seg_nrrd_labels(path, case_id=case_id)
            except CaseError:
                continue
            for place, label in enumerate(labels):
                entry, key = (place, label.name), label.name.casefold()
                order[key] = min(entry, order.get(key, entry))
        order.pop("background", None)
        return cls(("background", *(name for _, name in sorted(order.values()))))

    def read(
        self, path: Path, geometry: Geometry | None, shape: Sequence[int], *, case_id: str
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None, list[Finding]]:
        """A segmentation on an image's grid.

        Args:
            path: The segmentation.
            geometry: Where the image's voxels lie.
            shape: (D, H, W) of the image.
            case_id: Pseudonymous id that errors and findings carry.

        Returns:
            Mask, or masks where segments overlap, as `paint_regions` gives them; and findings.

        Raises:
            CaseError: As `read_seg_nrrd`, `on_grid` and `paint_regions`; `class`: a name is new.
        """
        numbers = {name.casefold(): n for n, name in enumerate(self.names)}
        regions, findings = on_grid(
            read_seg_nrrd(path, case_id=case_id), geometry, shape, case_id=case_id
        )
        painted = [(numbers.get(region.label.name.casefold(), -1), region) for region in regions]
        if any(number < 0 for number, _ in painted):
            message = "a segment has a name that the folder did not have when it was opened"
            raise CaseError(case_id, "class", message)
        mask, masks = paint_regions(painted, shape, len(self.names), case_id=case_id)
        return mask, masks, findings

"""What the frames of a multi-frame object show: the volumes they make, and where those lie."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from data_adapters.case import Geometry
from data_adapters.dicom.pixels import frame_count
from data_adapters.dicom.values import numbers, word
from data_adapters.geometry import triple

Array = NDArray[np.float64]

# Dimension Index Pointers that say where a frame lies, not what sets it apart.
_PLACE_POINTERS = frozenset((0x00200032, 0x00209057, 0x00201041, 0x00209301, 0x00209172))
_PER_FRAME, _SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"


@dataclass(frozen=True)
class Volume:
    """Frames that make one volume.

    Attributes:
        frames: Numbers of the frames, from 0, in the order of the slices.
        geometry: Where they lie; None where the file does not say.
        part: What sets the volume apart from the object's others, such as `b 1000`; empty where it
            is the only one.
        moments: The frames are moments in time, not places.
    """

    frames: tuple[int, ...]
    geometry: Geometry | None
    part: str = ""
    moments: bool = False


def volumes(dataset: Dataset) -> tuple[Volume, ...]:
    """Divide the frames of an object into volumes.

    Frames are divided by orientation, stack, echo, b-value and gradient, temporal position, trigger
    delay, frame type, pixel spacing, and by any other dimension index that tells frames at one
    place apart; they are ordered along the normal (PS3.3 C.7.6.16, C.7.6.17).

    Args:
        dataset: A header; its pixels are not needed.

    Returns:
        At least one volume; every frame lies in exactly one.
    """
    count = frame_count(dataset)
    if dataset.get(_PER_FRAME) and len(dataset[_PER_FRAME].value) == count:
        return _by_groups(dataset, count)
    if dataset.get("GridFrameOffsetVector") is not None:
        return (_dose(dataset, count),)
    if word(dataset, "Modality") == "NM":
        return _nuclear(dataset, count)
    return (Volume(tuple(range(count)), None, moments=count > 1),)


def group_item(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """The first item of a functional group's sequence, the frame's own or the shared one."""
    per_frame = dataset.get(_PER_FRAME)
    shared = dataset.get(_SHARED)
    for holder in (per_frame[frame] if per_frame else None, shared[0] if shared else None):
        sequence = None if holder is None else holder.get(keyword)
        if sequence:
            item: Dataset = sequence[0]
            return item
    return None


@dataclass(frozen=True)
class _Frame:
    """What one frame says about itself; `axes` are its cosines, rounded to be compared."""

    position: tuple[float, ...] | None
    axes: tuple[float, ...] | None
    cosines: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    key: tuple[tuple[str, str], ...]
    dimensions: tuple[int, ...]


def _frame(dataset: Dataset, frame: int) -> _Frame:
    def item(keyword: str) -> Dataset:
        return group_item(dataset, frame, keyword) or Dataset()

    measures, content = item("PixelMeasuresSequence"), item("FrameContentSequence")
    position = numbers(item("PlanePositionSequence"), "ImagePositionPatient")
    axes = numbers(item("PlaneOrientationSequence"), "ImageOrientationPatient")
    spacing = numbers(measures, "PixelSpacing")
    between = numbers(measures, "SpacingBetweenSlices") or numbers(measures, "SliceThickness")
    index = numbers(content, "DimensionIndexValues")
    return _Frame(
        position=tuple(position) if len(position) == 3 else None,
        axes=tuple(round(v, 4) + 0.0 for v in axes) if len(axes) == 6 else None,
        cosines=tuple(axes),
        spacing=tuple(spacing) if len(spacing) == 2 and min(spacing) > 0 else (),
        thickness=abs(between[0]) if between else 0.0,
        key=tuple(_parts(dataset, frame, content)),
        dimensions=tuple(int(v) for v in index),
    )


def _parts(dataset: Dataset, frame: int, content: Dataset) -> list[tuple[str, str]]:
    """What tells volumes of one object apart, as (name, value)."""

    def text(sequence: str, keyword: str) -> str:
        item = group_item(dataset, frame, sequence)
        value = None if item is None else item.get(keyword)
        return "" if value is None or value == "" else str(value)

    gradient = ""
    diffusion = group_item(dataset, frame, "MRDiffusionSequence")
    if diffusion is not None and diffusion.get("DiffusionGradientDirectionSequence"):
        direction = diffusion.DiffusionGradientDirectionSequence[0]
        values = numbers(direction, "DiffusionGradientOrientation")
        gradient = ",".join(f"{v:.3g}" for v in values)
    kinds = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
    found = (group_item(dataset, frame, kind) for kind in kinds)
    frame_type = next((item for item in found if item is not None), Dataset())
    words = frame_type.get("FrameType") or ()
    names = [str(v) for v in (words if not isinstance(words, str) else [words])][2:]
    return [
        ("stack", word(content, "StackID")),
        ("echo", text("MREchoSequence", "EffectiveEchoTime")),
        ("b", text("MRDiffusionSequence", "DiffusionBValue")),
        ("gradient", gradient),
        ("time", word(content, "TemporalPositionIndex")),
        ("delay", text("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")),
        ("type", " ".join([*names, word(frame_type, "ComplexImageComponent")]).strip()),
    ]


def _by_groups(dataset: Dataset, count: int) -> tuple[Volume, ...]:
    """Volumes of an object with functional groups."""
    frames = [_frame(dataset, i) for i in range(count)]
    if all(frame.position is None for frame in frames):
        return (Volume(tuple(range(count)), None, moments=count > 1),)
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, frame in enumerate(frames):
        places = (frame.position is None, frame.axes, frame.spacing)
        groups[(places, frame.key)].append(i)
    different = [
        k for k in range(len(frames[0].key)) if len({frame.key[k] for frame in frames}) > 1
    ]
    ranks = [_ranks({frame.key[k][1] for frame in frames}) for k in range(len(frames[0].key))]
    planes = list(dict.fromkeys(key[0] for key in groups))
    found = []
    for plane, key in sorted(
        groups, key=lambda g: (planes.index(g[0]), [ranks[k][g[1][k][1]] for k in different])
    ):
        names = [f"plane {planes.index(plane) + 1}"] if len(planes) > 1 else []
        names += [_name(key[k][0], key[k][1], ranks[k][key[k][1]]) for k in different]
        for extra, part in _without_doubles(dataset, frames, groups[(plane, key)]):
            found.append(_volume(frames, part, ", ".join([*names, *extra])))
    return tuple(found)


def _ranks(values: set[str]) -> dict[str, int]:
    """The place of each value, from 1: numbers by size, texts behind them."""

    def by_value(value: str) -> tuple[float, str]:
        try:
            return float(value), value
        except ValueError:
            return math.inf, value

    return {value: rank for rank, value in enumerate(sorted(values, key=by_value), start=1)}


def _name(name: str, value: str, rank: int) -> str:
    """What to call a volume: a number instead of whatever text the file holds."""
    if name != "b":
        return f"{name} {rank}"
    return f"b {float(value):g}" if value else "b unknown"


def _without_doubles(
    dataset: Dataset, frames: list[_Frame], members: list[int]
) -> list[tuple[list[str], list[int]]]:
    """Part frames at one place by a dimension index, or else by their order in the file."""
    if len({frames[i].position for i in members}) == len(members):
        return [([], members)]
    sequence = dataset.get("DimensionIndexSequence") or ()
    pointers = [int(item.DimensionIndexPointer) for item in sequence]
    keys: dict[int, tuple[int, ...]] = {
        i: tuple(
            value
            for pointer, value in zip(pointers, frames[i].dimensions, strict=False)
            if pointer not in _PLACE_POINTERS
        )
        for i in members
    }
    groups: dict[Any, list[int]] = defaultdict(list)
    seen: dict[Any, int] = defaultdict(int)
    for i in members:
        place = (keys[i], frames[i].position)
        groups[(keys[i], seen[place])].append(i)
        seen[place] += 1
    named = sorted(groups.items())
    return [([f"set {n + 1}"] if len(named) > 1 else [], part) for n, (_, part) in enumerate(named)]


def _volume(frames: list[_Frame], members: list[int], part: str) -> Volume:
    first = frames[members[0]]
    if first.position is None or first.axes is None or not first.spacing:
        return Volume(tuple(members), None, part)
    normal = np.cross(first.cosines[:3], first.cosines[3:])
    heights = {i: float(np.dot(frames[i].position or (), normal)) for i in members}
    ordered = sorted(members, key=lambda i: (heights[i], i))
    positions = np.array([frames[i].position for i in ordered], np.float64)
    spacing = (first.spacing[0], first.spacing[1])
    geometry = volume_geometry(positions, first.cosines, spacing, first.thickness)
    return Volume(tuple(ordered), geometry, part)


def volume_geometry(
    positions: Array, axes: Sequence[float], spacing: tuple[float, float], thickness: float
) -> Geometry | None:
    """Geometry of slices in the order of the normal.

    Args:
        positions: (D, 3) centres of their first voxels, in mm, LPS.
        axes: ImageOrientationPatient.
        spacing: (row, column) in mm.
        thickness: Step of a single slice, in mm; 0 where unknown (1 mm stands for it).

    Returns:
        The geometry, with `positions` where the slices are no regular stack; None where the axes
        are no axes.
    """
    along, down = np.asarray(axes[:3], np.float64), np.asarray(axes[3:], np.float64)
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    if min(lengths) < 0.5 or abs(float(along @ down)) > 0.1:
        return None
    along, down = along / lengths[0], down / lengths[1]
    normal = np.cross(along, down)
    normal = normal / np.linalg.norm(normal)
    heights = positions @ normal
    step = float(np.median(np.diff(heights))) if len(heights) > 1 else thickness or 1.0
    if step <= 0:
        return None
    ideal = positions[0] + np.outer(np.arange(len(positions)) * step, normal)
    regular = np.abs(positions - ideal).max() <= max(0.01, 0.01 * step)
    if regular and len(heights) > 1:
        step = float((heights[-1] - heights[0]) / (len(heights) - 1))
    return Geometry(
        (step, *spacing),
        triple(positions[0]),
        (triple(normal), triple(down), triple(along)),
        () if regular else tuple(triple(p) for p in positions),
    )


def _dose(dataset: Dataset, count: int) -> Volume:
    """A dose grid: offsets along the normal, relative to the first plane (PS3.3 C.8.8.3.2)."""
    offsets = np.asarray(numbers(dataset, "GridFrameOffsetVector"))
    axes = numbers(dataset, "ImageOrientationPatient")
    origin = numbers(dataset, "ImagePositionPatient")
    spacing = numbers(dataset, "PixelSpacing")
    plain = Volume(tuple(range(count)), None)
    if len(offsets) != count or (len(axes), len(origin), len(spacing)) != (6, 3, 2):
        return plain
    order = np.argsort(offsets, kind="stable")
    normal = np.cross(axes[:3], axes[3:])
    positions = np.asarray(origin) + np.outer((offsets - offsets[0])[order], normal)
    geometry = volume_geometry(positions, axes, (spacing[0], spacing[1]), 0.0)
    return Volume(tuple(int(i) for i in order), geometry)


def _nuclear(dataset: Dataset, count: int) -> tuple[Volume, ...]:
    """Nuclear medicine: vectors say what each frame is (PS3.3 C.8.4.8)."""
    names = ("EnergyWindow", "Detector", "Phase", "Rotation", "RRInterval", "TimeSlot")
    vectors = [(name, numbers(dataset, f"{name}Vector")) for name in names]
    used = [(name, vector) for name, vector in vectors if len(vector) == count]
    groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for i in range(count):
        groups[tuple(vector[i] for _, vector in used)].append(i)
    tomographic = len(numbers(dataset, "SliceVector")) == count
    found = []
    for key, members in groups.items():
        part = ", ".join(f"{name} {value:g}" for (name, _), value in zip(used, key, strict=True))
        geometry = None
        if tomographic:
            slices = numbers(dataset, "SliceVector")
            members = sorted(members, key=lambda i: slices[i])
            members, geometry = _nuclear_slices(dataset, members)
        moments = not tomographic and len(members) > 1
        found.append(Volume(tuple(members), geometry, part if len(groups) > 1 else "", moments))
    return tuple(found)


def _nuclear_slices(dataset: Dataset, members: list[int]) -> tuple[list[int], Geometry | None]:
    """Order and place of reconstructed slices: the first slice's position and a constant step."""
    detector = (dataset.get("DetectorInformationSequence") or [Dataset()])[0]
    axes = numbers(detector, "ImageOrientationPatient")
    origin = numbers(detector, "ImagePositionPatient")
    spacing, step = numbers(dataset, "PixelSpacing"), numbers(dataset, "SpacingBetweenSlices")
    if (len(axes), len(origin), len(spacing), len(step)) != (6, 3, 2, 1) or not step[0]:
        return members, None
    normal = np.cross(axes[:3], axes[3:])
    steps = np.outer(np.arange(len(members)) * step[0], normal)
    positions = np.asarray(origin) + steps
    if step[0] < 0:
        positions, members = positions[::-1], members[::-1]
    return members, volume_geometry(positions, axes, (spacing[0], spacing[1]), abs(step[0]))

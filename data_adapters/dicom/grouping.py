"""Which files make one image: series split where they mix, slices in the order of the patient.

Slices are ordered by ImagePositionPatient along the normal of ImageOrientationPatient (PS3.3
C.7.6.2.1.1), never by file name or InstanceNumber, and their distance is that of the positions.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from data_adapters.dicom.model import Instance, Stack
from data_adapters.dicom.stacking import (
    axes_of,
    height,
    is_placed,
    lay_out,
    normal_of,
    plane_of,
)
from data_adapters.findings import Finding

SEGMENTATIONS = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
SAME_DIRECTION = 1e-3
"""Largest difference of direction cosines within one stack (0.06 degrees)."""

Label = tuple[str, Hashable]


def group(instances: Iterable[Instance]) -> tuple[Stack, ...]:
    """Group files to images.

    One series (Study and Series UID) is one stack, unless it mixes what no image can mix: kinds
    of object, patients, frames of reference, orientations, matrices, pixel spacings, localizers,
    original and derived images, echoes, b-values. Image types, diffusion directions, acquisitions,
    temporal positions and acquisition times divide it only where positions come up more than once,
    because a single CT scan often has several acquisitions one below the other. A multi-frame
    object is its own image, and so is each file without position (a picture).

    Args:
        instances: Header facts; what holds no image (SR, RTSTRUCT) and segmentations are passed
            over.

    Returns:
        Stacks, by the name of their first file. A stack of kind `volume` whose geometry is None
        has several images at one position that nothing tells apart: a finding says so.
    """
    series: dict[Hashable, list[Instance]] = defaultdict(list)
    for one in instances:
        if (
            one.rows
            and one.columns
            and one.sop_class not in SEGMENTATIONS
            and one.modality != "SEG"
        ):
            series[(one.study_uid, one.series_uid) if one.series_uid else one.name].append(one)
    stacks = [stack for members in series.values() for stack in _series(members)]
    return tuple(sorted(stacks, key=lambda stack: min(one.name for one in stack.instances)))


def _series(members: list[Instance]) -> list[Stack]:
    kept, repeated = _without_copies(members)
    parts = _divide([((), kept)], _ALWAYS)
    found = [
        ((*labels, *more), final, extra)
        for labels, part in parts
        for more, final, extra in _resolve(part)
    ]
    names = _names([labels for labels, _, _ in found])
    stacks = [
        _stack(name, part, [*_repetitions(part, repeated), *extra])
        for name, (_, part, extra) in zip(names, found, strict=True)
    ]
    stacks.sort(key=lambda stack: min(one.name for one in stack.instances))
    shared = _mixing(parts)
    if len(found) > 1 and any(_is_placed(part) for _, part, _ in found):
        what = ", ".join(sorted({name for labels, _, _ in found for name, _ in labels}))
        message = f"the series holds {len(found)} images, which differ in {what}"
        shared.append(Finding("info", "split-series", message))
    first = stacks[0]
    stacks[0] = dataclasses.replace(first, findings=(*shared, *first.findings))
    return stacks


def _is_placed(part: Sequence[Instance]) -> bool:
    return is_placed(part[0])


@dataclasses.dataclass(slots=True)
class _Repeated:
    """SOP Instance UIDs that came more than once: copies left out, and other objects kept."""

    copies: Counter[str] = dataclasses.field(default_factory=Counter)
    clashes: Counter[str] = dataclasses.field(default_factory=Counter)


def _without_copies(members: list[Instance]) -> tuple[list[Instance], _Repeated]:
    """Drop files that are the same object twice (the lossy copy first), in the order of names."""
    first: dict[str, Instance] = {}
    kept: list[Instance] = []
    repeated = _Repeated()
    for one in sorted(members, key=lambda one: (one.lossy, one.name)):
        known = first.setdefault(one.sop_uid, one) if one.sop_uid else one
        if known is not one and _same_object(known, one):
            repeated.copies[one.sop_uid] += 1
            continue
        if known is not one:
            repeated.clashes[one.sop_uid] += 1
        kept.append(one)
    return sorted(kept, key=lambda one: one.name), repeated


def _repetitions(part: Sequence[Instance], repeated: _Repeated) -> list[Finding]:
    findings = []
    uids = {one.sop_uid for one in part}
    copies = sum(repeated.copies[uid] for uid in uids)
    clashes = sum(repeated.clashes[uid] for uid in uids)
    if copies:
        message = f"{copies} files are copies of others (same SOP Instance UID) and were left out"
        remedy = "remove the copies"
        findings.append(Finding("warning", "duplicate-instance", message, remedy))
    if clashes:
        message = "images share their SOP Instance UID with other images"
        remedy = "find out which files are wrong; UIDs were not made properly"
        findings.append(Finding("error", "duplicate-uid", message, remedy))
    return findings


def _same_object(first: Instance, second: Instance) -> bool:
    facts = [
        (one.position, one.orientation, one.instance_number, one.rows, one.columns, one.frames)
        for one in (first, second)
    ]
    return facts[0] == facts[1]


# What sets images of one series apart, in this order: name of the attribute, and its value.
Key = Callable[[Instance], Hashable]


def _kind(one: Instance) -> Hashable:
    if one.frames > 1 or one.grouped:
        return ("multiframe", one.name)
    if not is_placed(one):
        return ("picture", one.name)
    return ("slice",)


def _size(one: Instance) -> Hashable:
    spacing = tuple(float(f"{value:.4g}") for value in one.spacing or ())
    return one.rows, one.columns, one.samples, spacing


def _role(one: Instance) -> str:
    """`localizer`, `derived`, or empty for an original image."""
    values = {value.upper() for value in one.image_type}
    if "LOCALIZER" in values or "SCOUT" in values:
        return "localizer"
    return "derived" if one.image_type[:1] == ("DERIVED",) else ""


def _b_value(one: Instance) -> Hashable:
    return None if one.b_value is None else float(f"{one.b_value:.4g}")


def _in_plane(one: Instance) -> Hashable:
    """Where the first voxel lies in the plane of the image, to a tenth of a millimetre."""
    _, down, across = axes_of(one)
    return round(height(one, down), 1), round(height(one, across), 1)


_ALWAYS: tuple[tuple[str, Key], ...] = (
    ("kind", _kind),
    ("object", lambda one: (one.sop_class, one.modality)),
    ("patient", lambda one: one.patient_id),
    ("frame of reference", lambda one: one.frame_of_reference),
    ("role", _role),
    ("size", _size),
    ("echo", lambda one: one.echo),
    ("b-value", _b_value),
)
_WHERE_NEEDED: tuple[tuple[str, Key], ...] = (
    ("image type", lambda one: one.image_type),
    ("direction", lambda one: one.gradient),
    ("temporal position", lambda one: one.temporal),
    ("acquisition", lambda one: one.acquisition_number),
    ("acquisition time", lambda one: one.acquired),
    ("shift", _in_plane),
)

Part = tuple[tuple[Label, ...], list[Instance]]


def _divide(parts: list[Part], keys: Iterable[tuple[str, Key]]) -> list[Part]:
    """Divide by each key in turn; labels are added only where a key divides something."""
    for name, key in keys:
        values = {key(one) for _, part in parts for one in part}
        if len(values) > 1:
            parts = [piece for part in parts for piece in _by(part, name, key)]
        if name == "kind":
            parts = [piece for part in parts for piece in _by_orientation(part)]
    return parts


def _by(part: Part, name: str, key: Key) -> list[Part]:
    labels, members = part
    divided: dict[Hashable, list[Instance]] = defaultdict(list)
    for one in members:
        divided[key(one)].append(one)
    return [((*labels, (name, value)), some) for value, some in divided.items()]


def _by_orientation(part: Part) -> list[Part]:
    """Divide by direction cosines that differ by more than `SAME_DIRECTION`."""
    labels, members = part
    if not _is_placed(members):
        return [part]
    seen: dict[Hashable, int] = {}
    clusters: list[tuple[Sequence[float], list[Instance]]] = []
    for one in members:
        axes = one.orientation or ()
        if axes not in seen:
            near = (
                i
                for i, (known, _) in enumerate(clusters)
                if max(abs(a - b) for a, b in zip(axes, known, strict=True)) <= SAME_DIRECTION
            )
            seen[axes] = next(near, len(clusters))
            if seen[axes] == len(clusters):
                clusters.append((axes, []))
        clusters[seen[axes]][1].append(one)
    if len(clusters) == 1:
        return [part]
    return [
        ((*labels, ("orientation", number)), some)
        for number, (_, some) in enumerate(clusters, start=1)
    ]


def _most_at_one_place(members: Sequence[Instance]) -> int:
    """How many images lie at the most crowded position."""
    return max(Counter(_places(members)).values())


def _places(members: Sequence[Instance]) -> list[int]:
    """A number per image, the same for images at the same height along the normal."""
    normal = normal_of(members[0])
    thickness = members[0].slice_thickness or 0.0
    near = min(0.01, 0.01 * thickness) if thickness > 0 else 0.001
    heights = [height(one, normal) for one in members]
    order = sorted(range(len(members)), key=heights.__getitem__)
    places, place = [0] * len(members), 0
    for before, after in itertools.pairwise(order):
        place += heights[after] - heights[before] > near
        places[after] = place
    return places


Resolved = tuple[tuple[Label, ...], list[Instance], list[Finding]]


def _resolve(members: list[Instance]) -> list[Resolved]:
    """Divide a part in which positions come up more than once, so that in each they are single.

    The first attribute that makes as many stacks as there are images at a position is taken, else
    the first that makes positions single at all, unless it tears the stack to shreds.
    """
    if not _is_placed(members) or _kind(members[0]) != ("slice",):
        return [((), members, [])]
    crowd = _most_at_one_place(members)
    if crowd == 1:
        return [((), members, [])]
    places = len(set(_places(members)))
    second: list[Part] = []
    for keys in _trials():
        count = len({tuple(key(one) for _, key in keys) for one in members})
        shreds = count != crowd and places > 1 and count > len(members) / 2
        if count == 1 or shreds or (second and count != crowd):
            continue
        parts = _divide([((), members)], keys)
        if any(_most_at_one_place(some) > 1 for _, some in parts):
            continue
        if count == crowd:
            return [(labels, some, []) for labels, some in parts]
        second = parts
    if second:
        return [(labels, some, []) for labels, some in second]
    return _by_number(members, crowd)


def _trials() -> list[tuple[tuple[str, Key], ...]]:
    """Each attribute alone, then the first two, three, ... together."""
    alone = [(one,) for one in _WHERE_NEEDED]
    pairs = [(a, b) for i, a in enumerate(_WHERE_NEEDED) for b in _WHERE_NEEDED[i + 1 :]]
    longer = [_WHERE_NEEDED[:n] for n in range(3, len(_WHERE_NEEDED) + 1)]
    return [*alone, *pairs, *longer]


def _by_number(members: list[Instance], crowd: int) -> list[Resolved]:
    """Take the first, second, ... image of every position by InstanceNumber."""
    at: dict[int, list[Instance]] = defaultdict(list)
    for one, place in zip(members, _places(members), strict=True):
        at[place].append(one)
    numbers = [one.instance_number for one in members]
    if {len(some) for some in at.values()} == {crowd} and len({*numbers, None}) > len(members):
        for some in at.values():
            some.sort(key=lambda one: (one.instance_number or 0, one.name))
        message = f"each position has {crowd} images that only InstanceNumber tells apart"
        remedy = "check that the images of one stack belong together"
        finding = Finding("warning", "ordered-by-number", message, remedy)
        return [
            ((("volume", number),), [some[number] for some in at.values()], [finding])
            for number in range(crowd)
        ]
    extra = len(members) - len(at)
    message = f"{extra} of {len(members)} images lie at the position of another; nothing says why"
    remedy = "remove the images that do not belong to the stack"
    return [((), members, [Finding("error", "duplicate-position", message, remedy)])]


def _mixing(parts: list[Part]) -> list[Finding]:
    """Findings on what a series mixes."""
    placed = [part for part in parts if _is_placed(part[1]) and _role(part[1][0]) != "localizer"]
    findings = []
    orientations = {
        value for labels, _ in placed for name, value in labels if name == "orientation"
    }
    if len(orientations) > 1:
        message = f"the series mixes {len(orientations)} orientations"
        findings.append(Finding("warning", "mixed-orientation", message))
    sizes = {_size(some[0]) for _, some in placed}
    if len(sizes) > 1:
        message = f"the series mixes {len(sizes)} matrix sizes or pixel spacings"
        findings.append(Finding("warning", "mixed-size", message))
    return findings


def _names(labels: list[tuple[Label, ...]]) -> list[str]:
    """What to call each stack of a series: numbers instead of whatever text the files hold."""
    values: dict[str, set[Hashable]] = defaultdict(set)
    for some in labels:
        for name, value in some:
            values[name].add(value)
    ranks = {
        name: {value: rank for rank, value in enumerate(sorted(known, key=_by_value), start=1)}
        for name, known in values.items()
    }
    return [" ".join(_name(*label, ranks[label[0]][label[1]]) for label in some) for some in labels]


def _by_value(value: Hashable) -> tuple[float, str]:
    try:
        return float(str(value).split()[0]), str(value)
    except (ValueError, IndexError):
        return math.inf, str(value)


def _name(name: str, value: Hashable, rank: int) -> str:
    if name == "role":
        return str(value) or "original"
    if name == "b-value":
        return "b unknown" if value is None else f"b {value:g}"
    if name == "size" and isinstance(value, tuple):
        return f"size {value[0]}x{value[1]} {rank}"
    if name == "kind" and isinstance(value, tuple):
        return f"{value[0]} {rank}"
    return f"{name} {rank}"


def _stack(part: str, members: list[Instance], findings: list[Finding]) -> Stack:
    kind = _kind(members[0])
    if kind != ("slice",):
        assert isinstance(kind, tuple)
        return Stack((members[0],), plane_of(members[0]), str(kind[0]), part, tuple(findings))
    if len(members) == 1:
        return Stack(tuple(members), plane_of(members[0]), "picture", part, tuple(findings))
    if any(finding.code == "duplicate-position" for finding in findings):
        ordered = sorted(members, key=lambda one: (height(one, normal_of(members[0])), one.name))
        return Stack(tuple(ordered), None, "volume", part, tuple(findings))
    ordered, geometry, more = lay_out(members)
    return Stack(tuple(ordered), geometry, "volume", part, (*findings, *more))

"""Which annotation objects belong to which images of a delivery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from data_adapters.dicom.classes import Classes, number_classes, read_labels
from data_adapters.dicom.model import Instance, Stack
from data_adapters.dicom.multiframe import list_volumes
from data_adapters.dicom.objects import (
    ANNOTATIONS,
    LABEL_MAP,
    REPORTS,
    SEGMENTATION,
    Label,
    damage,
    items,
    open_object,
)
from data_adapters.dicom.rtstruct import read_rtstruct
from data_adapters.dicom.seg_header import referred_instances
from data_adapters.dicom.sr import read_sr
from data_adapters.dicom.stack_image import StackImage
from data_adapters.dicom.truth import Truth, read_truth
from data_adapters.errors import CaseError

ABSENT = (
    "the images that the annotation refers to are not here; data_adapters.dicom.truth.read_alone "
    "reads a segmentation on its own grid"
)


@dataclass(frozen=True)
class Attached:
    """Annotation objects by image.

    Attributes:
        objects: For each image, in order, the objects that refer to it; an object may refer to
            several.
        classes: Classes of all those objects.
        left_out: (name of the file, kind, message) of objects that cannot be read, or whose images
            are not here (`absent-images`).
    """

    objects: tuple[tuple[Instance, ...], ...]
    classes: Classes = field(default_factory=Classes)
    left_out: tuple[tuple[str, str, str], ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Names of the files that are attached or accounted for."""
        attached = (one.name for objects in self.objects for one in objects)
        return frozenset([*attached, *(name for name, _, _ in self.left_out)])

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for the report about what was attached; none where nothing was."""
        used = {one.name for objects in self.objects for one in objects}
        if not used:
            return ()
        bare = sum(not objects for objects in self.objects)
        return (
            f"{len(used)} annotation objects annotate {len(self.objects) - bare} images; "
            f"{bare} images have none",
        )

    def truth(self, i: int, stack: Stack, image: StackImage, volume: int, *, case_id: str) -> Truth:
        """Masks and lesions of an image; see `read_truth`.

        Args:
            i: Place of the image.
            stack: Its files.
            image: What was read of them.
            volume: Which volume of a multi-frame object it is.
            case_id: Pseudonymous id that errors and findings carry.
        """
        if not self.objects[i]:
            return Truth(None, None, (), self.classes.names, ())
        frames = None
        if stack.kind == "multiframe":
            volumes = list_volumes(stack.instances[0].path, case_id=case_id)
            frames = volumes[volume].frames
        return read_truth(
            self.objects[i],
            stack,
            image.image.shape[:-1],
            image.geometry,
            case_id=case_id,
            classes=self.classes,
            frames=frames,
        )


def attach(instances: Iterable[Instance], stacks: Sequence[Stack]) -> Attached:
    """Find the images of all annotation objects of a delivery, from headers.

    An object goes to the images whose SOP Instance UID it names; `Instance.referenced_series` says
    where to look first. A shared Frame of Reference UID alone ties nothing: unrelated series share
    one. An object that names a series and no instance goes to all images of that series.

    Args:
        instances: All files of the delivery.
        stacks: The images.
    """
    by_series, by_instance = _where(stacks)
    objects: list[list[Instance]] = [[] for _ in stacks]
    labelled: list[tuple[Instance, list[tuple[int, Label]]]] = []
    left_out: list[tuple[str, str, str]] = []
    for one in sorted(instances, key=lambda one: one.name):
        if one.sop_class not in ANNOTATIONS:
            continue
        try:
            labels = read_labels(one, case_id="")
            found = _images(one, by_series, by_instance)
        except CaseError as error:
            left_out.append((one.name, error.kind, error.message))
            continue
        if not found:
            left_out.append((one.name, "absent-images", ABSENT))
            continue
        labelled.append((one, labels))
        for place in found:
            objects[place].append(one)
    return Attached(
        tuple(tuple(group) for group in objects), number_classes(labelled), tuple(left_out)
    )


def _where(stacks: Sequence[Stack]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Images by Series and by SOP Instance UID."""
    by_series: dict[str, set[int]] = defaultdict(set)
    by_instance: dict[str, set[int]] = defaultdict(set)
    for place, stack in enumerate(stacks):
        for one in stack.instances:
            by_series[one.series_uid].add(place)
            by_instance[one.sop_uid].add(place)
    by_series.pop("", None)
    by_instance.pop("", None)
    return by_series, by_instance


def _images(
    one: Instance, by_series: dict[str, set[int]], by_instance: dict[str, set[int]]
) -> list[int]:
    """Places of the images of an object."""
    near = {place for uid in one.referenced_series for place in by_series.get(uid, ())}
    if len(near) == 1:
        return sorted(near)
    named = _instances(one)
    found = {place for uid in named for place in by_instance.get(uid, ())}
    return sorted(found or (set() if named else near))


def _instances(one: Instance) -> tuple[str, ...]:
    """SOP Instance UIDs that an object refers to, from its header."""
    if one.sop_class in REPORTS:
        return read_sr(one.path, case_id="").instances
    if one.sop_class in (SEGMENTATION, LABEL_MAP):
        dataset = open_object(
            one.path, case_id="", classes=ANNOTATIONS, what="segmentation", pixels=False
        )
        with damage("", "segmentation"):
            return referred_instances(dataset, items(dataset, "PerFrameFunctionalGroupsSequence"))
    return read_rtstruct(one.path, case_id="").instances

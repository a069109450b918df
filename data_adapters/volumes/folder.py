"""Folders of volumes: one file per case, several sequences per patient, masks beside."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import IndexRow, Skip, Task, local_path, register_adapter
from data_adapters.case import Case
from data_adapters.entries import is_folder, is_plain
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.files import Found, is_hidden, scan_folder
from data_adapters.findings import Finding, as_facts
from data_adapters.geometry import grid_distance
from data_adapters.image_folder import find_patients
from data_adapters.privacy import case_ids
from data_adapters.volumes.classes import MaskClasses, classes_option
from data_adapters.volumes.names import HEAD_BYTES, is_volume_name, volume_format
from data_adapters.volumes.naming import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    Group,
    common_channels,
    group_files,
    name_splitter,
    split_name,
)
from data_adapters.volumes.read import Volume, read_volume
from data_adapters.volumes.seg_nrrd import SlicerClasses, is_seg_nrrd

# Two headers of one grid differ by rounding; a tenth of a voxel is no rounding.
SAME_GRID_MM = 1e-3
SAME_GRID_VOXELS = 0.1
_LOOKED_AT = 40


def sniff(source: str) -> str | None:
    """None for a volume, or a folder of volumes that is no folder of classes; else why not."""
    path = local_path(source)
    if path.is_file():
        return None if _is_volume(path) else "not a NIfTI, NRRD or MetaImage file"
    if not path.is_dir():
        return "not a file or folder"
    if any(is_volume_name(entry.name) for entry in _visible(path)):
        return None
    if _image_and_mask_folders(path) or _case_folders(path):
        return None
    return "no volumes lie directly in it, and none grouped by case below it"


def _is_volume(path: Path) -> bool:
    if is_volume_name(path):
        return True
    if not is_plain(path):
        return False
    try:
        with path.open("rb") as file:
            return volume_format(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(
            (entry for entry in os.scandir(folder) if not is_hidden(entry.name)),
            key=lambda entry: entry.name,
        )
    except OSError:
        return []


def _image_and_mask_folders(root: Path) -> bool:
    inside = {
        entry.name.lower()
        for entry in _visible(root)
        if is_folder(entry) and any(is_volume_name(e.name) for e in _visible(Path(entry.path)))
    }
    return bool(inside & IMAGE_FOLDERS and inside & MASK_FOLDERS)


def _case_folders(root: Path) -> bool:
    """Whether each folder that holds volumes holds the sequences or the mask of one case."""
    seen = 0
    for looked, (_, _, names) in enumerate(os.walk(root)):
        if seen == _LOOKED_AT or looked == 10 * _LOOKED_AT:
            break
        stems = [Found(n, Path(n), 0, 0) for n in names if is_volume_name(n) and not is_hidden(n)]
        if not stems:
            continue
        cases, roles = zip(*(split_name(stem) for stem in stems), strict=True)
        if len(set(cases)) != 1 or len(stems) < 2 or len(set(roles)) != len(roles):
            return False
        seen += 1
    return seen > 0


@register_adapter("volumes", sniff)
class VolumeFolder:
    """NIfTI, NRRD and MetaImage volumes, searched to any depth, one or several files per case.

    Files whose names differ only in their endings are one case: sequences (`CASE_t1`, `CASE-flair`,
    ...) become its channels, in the order of the alphabet or of `channels`, and `CASE_seg`, `_mask`
    or `_label` its mask; so do `images/CASE` and `labels/CASE`. All files of a case must share one
    grid; its geometry is the first channel's. Only 3D Slicer's segmentations (`CASE.seg.nrrd`) may
    be cropped: they are put onto the grid, name the classes, and keep a channel each where they
    overlap.

    Args:
        source: The folder, or one volume.
        pattern: File name without suffix, such as `{case}_{channel}`, instead of common habits;
            goes with `channels`.
        channels: Names of the channels in their order, as names or one text with commas; by
            default those that most cases have. A case that lacks one is left out and recorded.
        mask: What stands in place of the channel in the names of masks; `seg` by default, with a
            pattern.
        classes: Names of the mask's values: a list (value k is name k), a mapping from value to
            name, or a text such as `background,liver` or `0=background,4=enhancing`. By default
            the values found in the masks, which are all read for it when first needed; their
            names are the values as stored, and the masks are numbered without gaps.
        patient: `folder`, or a regular expression with one group that finds the patient in the
            path; without it the patients are unknown.
        modality: `CT`, `MR`, ... where known.

    Raises:
        FormatError: No volume of any case is found.
        DataError: An option does not fit.
    """

    kind = "volumes"
    positive = None
    bans: tuple[str, ...] = ()

    def __init__(
        self,
        source: str | Path,
        *,
        pattern: str | None = None,
        channels: str | Sequence[str] | None = None,
        mask: str | None = None,
        classes: str | Sequence[str] | Mapping[int, str] | None = None,
        patient: str | None = None,
        modality: str | None = None,
    ) -> None:
        self.modality = modality
        self._root = local_path(source)
        self._classes = classes_option(classes)
        files, skipped, notes = _find(self._root)
        if pattern is not None and channels is None:
            raise DataError("pattern= goes with channels=, such as 't1,t2'")
        if mask is not None and pattern is None:
            raise DataError(f"mask={mask!r} goes with pattern=, such as '{{case}}_{{channel}}'")
        parse = split_name if pattern is None else name_splitter(pattern, mask or "seg")
        groups, unfit = group_files(files, parse)
        if unfit:
            notes.append(f"{unfit} volumes do not fit the pattern and were ignored")
        self.channels = _names(channels) or common_channels(groups)
        kept, left_out = _complete(groups, self.channels)
        if not kept:
            raise FormatError(f"no case with channels {list(self.channels)} in {str(source)!r}")
        self._groups = kept
        self.task: Task = "segmentation" if any(g.mask for g in kept) else "unlabelled"
        people, people_notes = find_patients(patient, [g.case for g in kept], [None] * len(kept))
        ids = case_ids([group.case for group in kept])
        self.index = tuple(IndexRow(i, who) for i, who in zip(ids, people, strict=True))
        self.skipped = tuple(skipped + left_out)
        self.notes = (*notes, *people_notes, *self._more_notes(groups))

    def _more_notes(self, groups: Sequence[Group]) -> list[str]:
        notes = []
        if len(self.channels) > 1:
            notes.append(f"the channels of a case are {', '.join(self.channels)}")
        without = sum(group.mask is None for group in self._groups)
        if without and self.task == "segmentation":
            notes.append(f"{without} of {len(self._groups)} cases have no mask")
        more = sum(bool(set(g.channels) - set(self.channels)) for g in groups)
        if more:
            notes.append(f"{more} cases have further channels, which were ignored")
        return notes

    @cached_property
    def classes(self) -> MaskClasses:
        """The values of the masks and their names.

        Raises:
            DataError: The masks hold too many values for a label map.
        """
        if self.task != "segmentation":
            return MaskClasses({})
        return self._classes or MaskClasses.found_in(
            (group.mask.path, row.case_id)
            for group, row in zip(self._groups, self.index, strict=True)
            if group.mask
        )

    @cached_property
    def slicer_classes(self) -> SlicerClasses | None:
        """Names of the segments where all masks are 3D Slicer's and `classes` is not given."""
        masks = [
            (group.mask.path, row.case_id)
            for group, row in zip(self._groups, self.index, strict=True)
            if group.mask
        ]
        if self._classes or not masks or not all(is_seg_nrrd(path) for path, _ in masks):
            return None
        return SlicerClasses.found_in(masks)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each mask value; empty without masks."""
        return (self.slicer_classes or self.classes).names

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._groups)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`.

        Raises:
            CaseError: As `read_volume`; `grid` where the files lie on different grids.
        """
        group, row = self._groups[operator.index(i)], self.index[operator.index(i)]
        parts = [read_volume(group.channels[c].path, case_id=row.case_id) for c in self.channels]
        notes = [note for part in parts for note in part.notes]
        for part in parts[1:]:
            notes += check_same_grid(parts[0], part, row.case_id)
        mask = masks = None
        found: list[Finding] = []
        if group.mask is not None and self.slicer_classes:
            mask, masks, found = self.slicer_classes.read(
                group.mask.path,
                parts[0].geometry,
                parts[0].image.shape[:-1],
                case_id=row.case_id,
            )
        elif group.mask is not None:
            truth = read_volume(group.mask.path, case_id=row.case_id, as_mask=True)
            notes += check_same_grid(parts[0], truth, row.case_id)
            mask = self.classes.numbered(truth.image, row.case_id)
        return Case(
            image=_joined([part.image for part in parts]),
            case_id=row.case_id,
            patient_id=row.patient_id,
            mask=mask,
            masks=masks,
            padding=_any([part.padding for part in parts]),
            geometry=parts[0].geometry,
            meta={
                "modality": self.modality,
                "reading": tuple(dict.fromkeys(notes)),
                "truth": as_facts(found),
            },
        )

    def identity(self) -> str:
        """Hex sha256 over the place, channels, classes, names, sizes and times of all files."""
        digest = hashlib.sha256(self.scope().encode("utf-8", "surrogateescape"))
        for i in range(len(self)):
            digest.update(self.file_key(i).encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()

    def scope(self) -> str:
        """Place of the data and the options of reading, to which `file_key` is relative."""
        return f"{self.kind}\n{self._root.resolve()}\n{self.channels}\n{self._classes}\n"

    def file_key(self, i: int) -> str:
        """Names, sizes and times of the files of case `i`."""
        group = self._groups[i]
        files = [group.channels[name] for name in self.channels]
        files += [group.mask] if group.mask else []
        return "|".join(f"{f.name}|{f.size}|{f.mtime_ns}" for f in files)

    def source_name(self, i: int) -> str:
        """Relative path of the case without the endings of its files."""
        name = self._groups[i].case
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _find(root: Path) -> tuple[list[Found], list[Skip], list[str]]:
    if not root.is_dir():
        status = root.stat()
        return [Found(root.name, root, status.st_size, status.st_mtime_ns)], [], []
    scan = scan_folder(root)
    files = [found for found in scan.files if is_volume_name(found.path)]
    notes = scan.notes()
    if len(files) < len(scan.files):
        notes.append(f"{len(scan.files) - len(files)} pictures beside the volumes were ignored")
    return files, scan.skips(), notes


def _names(channels: str | Sequence[str] | None) -> tuple[str, ...]:
    if channels is None:
        return ()
    words = channels.split(",") if isinstance(channels, str) else list(channels)
    names = tuple(str(word).strip() for word in words)
    if not names or "" in names or len(set(names)) < len(names):
        raise DataError(f"channels={channels!r}: wanted different names, such as 't1,t2'")
    return names


def _complete(groups: Sequence[Group], channels: tuple[str, ...]) -> tuple[list[Group], list[Skip]]:
    """The cases with every channel, and a record of each of the others."""
    kept, left_out = [], []
    for group in groups:
        missing = [name for name in channels if name not in group.channels]
        if group.repeated:
            left_out.append((group.case, "repeated", "two files claim to be the same channel"))
        elif not group.channels:
            left_out.append((group.case, "missing", "there is a mask, and no image"))
        elif missing:
            left_out.append((group.case, "missing", f"the case lacks {', '.join(missing)}"))
        else:
            kept.append(group)
    ids = case_ids([case for case, _, _ in left_out])
    return kept, [Skip(i, kind, text) for i, (_, kind, text) in zip(ids, left_out, strict=True)]


def check_same_grid(first: Volume, second: Volume, case_id: str) -> list[str]:
    """Slugs of small differences between the grids of two files of one case.

    Returns:
        `grid-noise` where the headers differ by more than rounding and less than a tenth of a
        voxel; else nothing.

    Raises:
        CaseError: `grid`: they differ by more.
    """
    shape = first.image.shape[:-1]
    there = second.image.shape[: len(shape)]
    if there != shape or second.image.ndim - len(shape) not in (0, 1):
        message = f"its files have grids of {shape} and {there} voxels: resample them first"
        raise CaseError(case_id, "grid", message)
    apart = grid_distance(first.geometry, second.geometry, shape)
    if apart <= SAME_GRID_MM:
        return []
    if apart <= SAME_GRID_VOXELS * min(first.geometry.spacing):
        return ["grid-noise"]
    message = f"its files lie up to {apart:.3g} mm apart: resample them to one grid first"
    raise CaseError(case_id, "grid", message)


def _joined(images: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    if len(images) == 1:
        return images[0]
    kinds = {image.dtype for image in images}
    dtype = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
    return np.concatenate([image.astype(dtype, copy=False) for image in images], axis=-1)


def _any(masks: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    known = [mask for mask in masks if mask is not None]
    return np.asarray(np.logical_or.reduce(known)) if known else None

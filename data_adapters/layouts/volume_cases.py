"""Cases of one or several volumes on one grid, with a mask: what Decathlon and nnU-Net share."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.adapter import IndexRow, Skip
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.files import Found
from data_adapters.findings import Finding
from data_adapters.indexing import pseudonyms
from data_adapters.layouts.common import (
    LayoutCases,
    expect,
    found_key,
    named_patients,
    read_json,
)
from data_adapters.layouts.mask_file import check_grid, read_mask
from data_adapters.layouts.mask_labels import MaskLabels
from data_adapters.pictures import read_picture_with_notes
from data_adapters.privacy import case_ids
from data_adapters.table_text import read_table
from data_adapters.volumes.names import VOLUME_SUFFIXES, volume_suffix

MODALITIES = {"mri": "MR", "mr": "MR", "ct": "CT", "pet": "PT", "us": "US"}
_GIVEN = ("patients.csv",)
_FOLDS = ("splits.json", "splits_final.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """The files of a case.

    Attributes:
        name: Name of the case, as tables of patients and folds know it.
        channels: Files of the channels in their order, at least one.
        mask: File of the mask; None when there is none.
        part: `test` where the data say so.
    """

    name: str
    channels: tuple[Found, ...]
    mask: Found | None = None
    part: str | None = None


def case_name(file: str, endings: Sequence[str] = VOLUME_SUFFIXES) -> str:
    """Name of a case: the file's name without folder and ending."""
    base = file.replace("\\", "/").rsplit("/", 1)[-1]
    fits = [ending for ending in endings if base.lower().endswith(ending.lower())]
    ending = max(fits, key=len, default=volume_suffix(base) or Path(base).suffix)
    return base[: len(base) - len(ending)] if ending else base


class VolumeCases(LayoutCases):
    """An adapter over entries; see `Decathlon` and `NnUNet`.

    Attributes: as in `LayoutCases`, and
        channels: Names of the channels.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        kind: str,
        root: Path,
        channels: tuple[str, ...],
        labels: MaskLabels | None,
        patients: str | None,
        patient: str | None,
        fold: int | None,
        modality: str | None,
        skipped: Iterable[Skip] = (),
        notes: Iterable[str] = (),
        findings: Iterable[Finding] = (),
    ) -> None:
        names = [entry.name for entry in entries]
        people, people_notes = _people(root, names, patients, patient)
        parts, fold_notes = _fold_parts(root, names, fold)
        ids = case_ids([entry.channels[0].name for entry in entries])
        rows = [
            IndexRow(case_id, person, part=part or entry.part)
            for case_id, person, part, entry in zip(ids, people, parts, entries, strict=True)
        ]
        meaning = "" if labels is None else labels.key()
        super().__init__(
            [entry.channels[0] for entry in entries],
            rows,
            kind=kind,
            root=str(root.resolve()),
            class_names=() if labels is None else labels.names,
            task="unlabelled" if labels is None else "segmentation",
            truth_keys=[
                "|".join([*map(found_key, (*e.channels[1:], e.mask)), meaning]) for e in entries
            ],
            modality=modality or _modality(channels),
            skipped=skipped,
            notes=[*notes, *people_notes, *fold_notes],
            findings=findings,
        )
        self.channels = channels
        self._entries = tuple(entries)
        self._labels = labels

    def __getitem__(self, i: int) -> Case:
        """Read case `i`: its channels on one grid, and its mask.

        Raises:
            CaseError: A file cannot be read; `grid` where files lie on different grids, `channels`
                where there are others than named, `mask-values` where a value has no meaning.
        """
        case = super().__getitem__(i)
        entry = self._entries[operator.index(i)]
        case = _with_channels(case, entry.channels[1:])
        if case.image.shape[-1] != len(self.channels):
            raise CaseError(
                case.case_id,
                "channels",
                f"the files hold {case.image.shape[-1]} channels, dataset.json names "
                f"{len(self.channels)}: correct one of them",
            )
        case = replace(case, meta={**case.meta, "channels": self.channels})
        if self._labels is None or entry.mask is None:
            return case
        values, geometry = read_mask(entry.mask.path, case.case_id)
        check_grid(case, values.shape, geometry)
        mask, masks = self._labels.apply(values, case.case_id)
        return replace(case, mask=mask, masks=masks)


def _key(entry: Entry, meaning: str) -> str:
    """What a case depends on beside its first file."""
    return "|".join([*map(found_key, (*entry.channels[1:], entry.mask)), meaning])


def _with_channels(case: Case, more: Sequence[Found]) -> Case:
    """The case with further channels behind its own."""
    if not more:
        return case
    images, notes, padding = [case.image], list(case.meta["reading"]), case.padding
    for found in more:
        part = read_picture_with_notes(found.path, case_id=case.case_id)
        check_grid(case, part.image.shape[:-1], part.geometry)
        images.append(part.image)
        notes += part.notes
        if part.padding is not None:
            padding = part.padding if padding is None else padding | part.padding
    kinds = {image.dtype for image in images}
    dtype = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
    image = np.concatenate([image.astype(dtype, copy=False) for image in images], axis=-1)
    meta = {**case.meta, "reading": tuple(dict.fromkeys(notes))}
    return replace(case, image=image, padding=padding, meta=meta)


def _modality(channels: Sequence[str]) -> str | None:
    """The modality that the channels' names agree on, if they name one."""
    known = {MODALITIES.get(name.lower()) for name in channels}
    return known.pop() if len(known) == 1 else None


def _people(
    root: Path, names: Sequence[str], patients: str | None, patient: str | None
) -> tuple[list[str | None], list[str]]:
    """Pseudonyms by a table of cases and patients, or by an expression, or nobody's."""
    if patients is not None and patient is not None:
        raise DataError("patients names a table and patient an expression: give one of them")
    if patient is not None:
        return named_patients(patient, names)
    given = [root / patients] if patients is not None else [root / name for name in _GIVEN]
    table = next((path for path in given if path.is_file()), None)
    if table is None:
        if patients is not None:
            raise DataError(f"patients={patients!r}: there is no such file")
        return [None] * len(names), []
    rows = read_table(table)
    case_at = rows.find(None, ("case", "case_id", "id", "name", "image"))
    who_at = rows.find(None, ("patient", "patient_id", "subject", "subject_id"))
    if case_at is None or who_at is None:
        raise FormatError(f"{table.name}: wanted columns case and patient")
    known: dict[str, str] = {}
    for row, place in zip(rows.rows, rows.places, strict=True):
        if known.setdefault(case_name(row[case_at]), row[who_at]) != row[who_at]:
            raise FormatError(f"{table.name}, {place}: a case has two patients")
    return pseudonyms([known.get(name, "") for name in names])


def _fold_parts(
    root: Path, names: Sequence[str], fold: int | None
) -> tuple[list[str | None], list[str]]:
    """Parts by one fold of `splits.json`, a list of {"train": [...], "val": [...]}."""
    path = next((root / name for name in _FOLDS if (root / name).is_file()), None)
    if path is None:
        if fold is not None:
            raise DataError(f"fold={fold}: there is no {' or '.join(_FOLDS)} beside the data")
        return [None] * len(names), []
    folds = expect(read_json(path), list, path.name)
    if fold is None:
        note = f"{path.name} holds {len(folds)} folds; none is used without the option fold"
        return [None] * len(names), [note]
    if not 0 <= fold < len(folds):
        raise DataError(f"fold={fold}: {path.name} has folds 0 to {len(folds) - 1}")
    part_of: dict[str, str] = {}
    entry: Mapping[str, Any] = expect(folds[fold], dict, f"{path.name}[{fold}]")
    for part, cases in entry.items():
        if part not in ("train", "val", "test"):
            raise FormatError(f"{path.name}[{fold}]: {part!r} is none of train, val and test")
        for name in expect(cases, list, f"{path.name}[{fold}].{part}"):
            name = expect(name, str, f"{path.name}[{fold}].{part}")
            if part_of.setdefault(case_name(name), part) != part:
                raise FormatError(f"{path.name}[{fold}]: a case is in two parts")
    missing = sum(name not in part_of for name in names)
    notes = [f"{missing} cases are in no part of fold {fold}"] if missing else []
    return [part_of.get(name) for name in names], notes

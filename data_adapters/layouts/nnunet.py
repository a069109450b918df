"""nnU-Net's raw data: one file per channel, `CASE_0000.nii.gz`, and `dataset.json`.

Isensee et al. 2021, Nature Methods 18:203; documentation/dataset_format.md of nnU-Net v2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_adapters.adapter import register_adapter
from data_adapters.errors import DataError, FormatError
from data_adapters.files import Found, is_hidden
from data_adapters.findings import Finding
from data_adapters.layouts.common import expect, locate, read_json, require_some, skips_of
from data_adapters.layouts.decathlon import FILE, task_folder
from data_adapters.layouts.mask_labels import channel_names, parse_labels
from data_adapters.layouts.volume_cases import Entry, VolumeCases, case_name

_IMAGES, _MASKS = "imagesTr", "labelsTr"
_TEST_IMAGES, _TEST_MASKS = "imagesTs", "labelsTs"
_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})")


def sniff(source: str) -> str | None:
    """None when the source is a raw data set of nnU-Net, else why it does not fit."""
    root = task_folder(source)
    if root is None:
        return f"no folder with a {FILE}"
    try:
        whole = read_json(root / FILE)
    except DataError as error:
        return str(error)
    if not isinstance(whole, dict) or not ("channel_names" in whole or "modality" in whole):
        return f"its {FILE} names no channels"
    if "dataset" in whole or _has_numbered(root / _IMAGES):
        return None
    return f"no files like CASE_0000.nii.gz in {_IMAGES}"


def _has_numbered(folder: Path) -> bool:
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except OSError:
        return False
    return any(_NUMBERED.fullmatch(case_name(name)) for name in names)


@register_adapter("nnunet", sniff)
class NnUNet(VolumeCases):
    """Channels of a case joined in their order on one grid, with its mask.

    Version 2 (`channel_names`, `labels` by name, regions, `ignore`, `file_ending`, an optional
    `dataset` with the files of each case) and version 1 (`modality`, `labels` by value). Regions
    that share voxels become channels of `Case.masks`; voxels of the `ignore` label are unknown: -1
    in `Case.mask`, NaN in `Case.masks`. Cases of `imagesTs` with masks in `labelsTs` are the test
    part.

    Args:
        source: The data set's folder, or its `dataset.json`.
        patients: Table of cases and patients, relative to the folder or absolute; by default
            `patients.csv` where there is one.
        patient: Instead, a regular expression with one group that finds the patient in the name of
            a case.
        fold: Number of the fold of `splits_final.json` whose train and val cases are the parts.
        labelled: False for all images without masks.
        modality: `CT`, `MR`, ...; by default as the channels' names agree.

    Raises:
        FormatError: `dataset.json` is damaged, or no case is complete.
        DataError: An option does not fit.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        patients: str | None = None,
        patient: str | None = None,
        fold: int | None = None,
        labelled: bool = True,
        modality: str | None = None,
    ) -> None:
        root = task_folder(source)
        if root is None:
            raise FormatError(f"no {FILE} in {str(source)!r}")
        whole = expect(read_json(root / FILE), dict, FILE)
        key = "channel_names" if "channel_names" in whole else "modality"
        channels = channel_names(whole.get(key), f"{FILE}: {key}")
        labels = parse_labels(whole.get("labels"), f"{FILE}: labels")
        ending = expect(whole.get("file_ending", ".nii.gz"), str, f"{FILE}: file_ending")
        cases = _listed(root, whole, ending)
        entries: list[Entry] = []
        absent: list[tuple[str, str]] = []
        for case in cases:
            _add(case, len(channels), labelled, entries, absent)
        require_some(entries, absent, FILE)
        findings = _counts(whole, cases)
        super().__init__(
            entries,
            kind="nnunet",
            root=root,
            channels=channels,
            labels=labels if labelled else None,
            patients=patients,
            patient=patient,
            fold=fold,
            modality=modality,
            skipped=skips_of(absent),
            notes=[finding.message for finding in findings],
            findings=findings,
        )


class _Files:
    """The files of a case while they are gathered: channel number -> file, mask, and part."""

    def __init__(self, name: str, part: str | None = None) -> None:
        self.name = name
        self.part = part
        self.channels: dict[int, Found] = {}
        self.mask: Found | None = None
        self.fault = ""


def _listed(root: Path, whole: Mapping[str, Any], ending: str) -> list[_Files]:
    """The cases: as `dataset` lists them, else as the folders hold them."""
    if "dataset" in whole:
        entries = expect(whole["dataset"], dict, f"{FILE}: dataset")
        cases = [_from_list(root, name, entry) for name, entry in entries.items()]
    else:
        cases = _from_folder(root, _IMAGES, _MASKS, ending, None)
    return cases + _from_folder(root, _TEST_IMAGES, _TEST_MASKS, ending, "test")


def _from_list(root: Path, name: str, entry: Any) -> _Files:
    where = f"{FILE}: dataset"
    entry = expect(entry, dict, where)
    case = _Files(name)
    for k, image in enumerate(expect(entry.get("images"), list, f"{where}.images")):
        found, kind = locate(root, expect(image, str, f"{where}.images"))
        if found is None:
            case.fault = kind
        else:
            case.channels[k] = found
    case.mask, kind = locate(root, expect(entry.get("label"), str, f"{where}.label"))
    if case.mask is None:
        case.fault = case.fault or ("unlabelled" if kind == "missing" else kind)
    return case


def _from_folder(
    root: Path, images: str, masks: str, ending: str, part: str | None
) -> list[_Files]:
    cases: dict[str, _Files] = {}
    for name in _names(root / images, ending):
        match = _NUMBERED.fullmatch(name[: len(name) - len(ending)])
        if match is None:
            continue
        case = cases.setdefault(match["case"], _Files(match["case"], part))
        found, kind = locate(root, f"{images}/{name}")
        if found is None:
            case.fault = kind
        else:
            case.channels[int(match["channel"])] = found
    for name, case in cases.items():
        case.mask, kind = locate(root, f"{masks}/{name}{ending}")
        if case.mask is None:
            case.fault = case.fault or ("unlabelled" if kind == "missing" else kind)
    return [cases[name] for name in sorted(cases)]


def _names(folder: Path, ending: str) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return []
    return [name for name in names if name.endswith(ending) and not is_hidden(name)]


def _add(
    case: _Files,
    channels: int,
    labelled: bool,
    entries: list[Entry],
    absent: list[tuple[str, str]],
) -> None:
    """Add a case whose channels are numbered from 0 without gaps, or why it is none."""
    numbers = sorted(case.channels)
    # One file may hold all channels, as a colour picture does.
    whole = numbers == list(range(channels)) or (numbers == [0] and channels > 1)
    fault = case.fault if labelled or case.fault != "unlabelled" else ""
    if fault or not whole:
        absent.append((case.name, fault or "channels"))
        return
    files = tuple(case.channels[k] for k in numbers)
    entries.append(Entry(case.name, files, case.mask if labelled else None, case.part))


def _counts(whole: Mapping[str, Any], cases: list[_Files]) -> list[Finding]:
    said, n = whole.get("numTraining"), sum(case.part is None for case in cases)
    if said is None or said == n:
        return []
    stated = said if isinstance(said, int) else "something else"
    text = f"{FILE} states numTraining {stated} and {n} cases are there"
    return [Finding("warning", "count-mismatch", text, "see whether the delivery is complete")]

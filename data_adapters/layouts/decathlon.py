"""Medical Segmentation Decathlon: `dataset.json` with lists of images and masks.

Antonelli et al. 2022, Nature Communications 13:4128 (arXiv:2106.05735).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_adapters.adapter import local_path, register_adapter
from data_adapters.errors import DataError, FormatError
from data_adapters.files import Found, is_hidden
from data_adapters.findings import Finding
from data_adapters.layouts.common import expect, locate, read_json, require_some, skips_of
from data_adapters.layouts.mask_labels import channel_names, parse_labels
from data_adapters.layouts.volume_cases import Entry, VolumeCases, case_name

FILE = "dataset.json"


def sniff(source: str) -> str | None:
    """None when the source is a Decathlon task, else why it does not fit."""
    root = task_folder(source)
    if root is None:
        return f"no folder with a {FILE}"
    try:
        whole = read_json(root / FILE)
    except DataError as error:
        return str(error)
    if not isinstance(whole, dict) or not isinstance(whole.get("training"), list):
        return f"its {FILE} lists no training cases"
    first = whole["training"][0] if whole["training"] else None
    image = first.get("image") if isinstance(first, dict) else None
    if isinstance(image, str) and _channel_file(root, image):
        return f"the images are named as nnU-Net wants them, not as its {FILE} lists them"
    return None


def task_folder(source: str | Path) -> Path | None:
    """The folder that holds `dataset.json`: the source, or that of the file given as source."""
    path = local_path(source)
    if path.is_file() and path.name == FILE:
        return path.parent
    return path if path.is_dir() and (path / FILE).is_file() else None


def _channel_file(root: Path, image: str) -> bool:
    """Whether a listed image is absent and stands there with nnU-Net's channel number."""
    if locate(root, image)[0] is not None:
        return False
    stem = case_name(image)
    ending = image[image.rfind(stem) + len(stem) :] if stem else ""
    name = image[: len(image) - len(ending)] + "_0000" + ending
    return locate(root, name)[0] is not None


@register_adapter("decathlon", sniff)
class Decathlon(VolumeCases):
    """A task of the Decathlon: images (several sequences as the fourth axis) and masks.

    The training cases are the adapter's; the test cases have no masks and come along only with
    `labelled=False`. Files beginning with a dot are passed over. `patients.csv` with columns case
    and patient, and `splits.json` with folds, are read where they lie beside `dataset.json`.

    Args:
        source: The task's folder, or its `dataset.json`.
        patients: Table of cases and patients, relative to the folder or absolute.
        patient: Instead, a regular expression with one group that finds the patient in the name of
            a case.
        fold: Number of the fold of `splits.json` whose train and val cases are the parts.
        labelled: False for all images without masks.
        modality: `CT`, `MR`, ...; by default as `dataset.json` says.

    Raises:
        FormatError: `dataset.json` is damaged, or no listed case is there.
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
        channels = channel_names(whole.get("modality"), f"{FILE}: modality")
        labels = parse_labels(whole.get("labels"), f"{FILE}: labels")
        training = expect(whole.get("training"), list, f"{FILE}: training")
        entries: list[Entry] = []
        absent: list[tuple[str, str]] = []
        for i, one in enumerate(training):
            image, mask = _pair(one, f"{FILE}: training[{i}]")
            _add(root, image, mask if labelled else None, labelled, entries, absent)
        tests = expect(whole.get("test", []), list, f"{FILE}: test")
        for i, one in enumerate(tests if not labelled else []):
            where = f"{FILE}: test[{i}]"
            image = expect(one.get("image") if isinstance(one, dict) else one, str, where)
            _add(root, image, None, False, entries, absent, part="test")
        require_some(entries, absent, FILE)
        _refuse_repeats(entries)
        findings, notes = _counts(whole, len(training), len(tests))
        unlisted = _unlisted(root, entries, absent)
        if unlisted:
            notes.append(f"{unlisted} files of imagesTr are not listed and were ignored")
        super().__init__(
            entries,
            kind="decathlon",
            root=root,
            channels=channels,
            labels=labels if labelled else None,
            patients=patients,
            patient=patient,
            fold=fold,
            modality=modality,
            skipped=skips_of(absent),
            notes=notes,
            findings=findings,
        )


def _pair(one: Any, where: str) -> tuple[str, str]:
    one = expect(one, dict, where)
    return (
        expect(one.get("image"), str, f"{where}.image"),
        expect(one.get("label"), str, f"{where}.label"),
    )


def _add(
    root: Path,
    image: str,
    mask: str | None,
    labelled: bool,
    entries: list[Entry],
    absent: list[tuple[str, str]],
    part: str | None = None,
) -> None:
    """Add a listed case, or why it cannot be one."""
    found, kind = locate(root, image)
    truth: Found | None = None
    if found is not None and labelled:
        truth, kind = locate(root, mask or "")
        kind = "unlabelled" if kind == "missing" else kind
    if found is None or (labelled and truth is None):
        absent.append((image, kind))
    elif not is_hidden(found.path.name):
        entries.append(Entry(case_name(found.name), (found,), truth, part))


def _refuse_repeats(entries: list[Entry]) -> None:
    names = [entry.channels[0].name for entry in entries]
    twice = len(names) - len(set(names))
    if twice:
        raise FormatError(f"{FILE} lists {twice} images more than once: keep one of each")


def _counts(whole: Mapping[str, Any], training: int, tests: int) -> tuple[list[Finding], list[str]]:
    """Findings where the stated numbers are not the listed ones."""
    findings, notes = [], []
    for key, n in (("numTraining", training), ("numTest", tests)):
        said = whole.get(key)
        if said is not None and said != n:
            stated = said if isinstance(said, int) else "something else"
            text = f"{FILE} states {key} {stated} and lists {n} cases"
            findings.append(
                Finding("warning", "count-mismatch", text, "see whether the delivery is complete")
            )
            notes.append(text)
    if tests:
        notes.append(f"{tests} test cases without masks are left out (labelled=False has them)")
    return findings, notes


def _unlisted(root: Path, entries: list[Entry], absent: list[tuple[str, str]]) -> int:
    """How many visible files of `imagesTr` the list does not name."""
    folder = root / "imagesTr"
    if not folder.is_dir():
        return 0
    known = {entry.channels[0].path.name for entry in entries}
    known |= {Path(name).name for name, _ in absent}
    return sum(not is_hidden(p.name) and p.name not in known for p in folder.iterdir())

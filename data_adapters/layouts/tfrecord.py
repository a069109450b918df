"""TFRecord files of `tf.train.Example` or `SequenceExample`, read by a feature map."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.adapter import IndexRow, Skip, Task, local_path, register_adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError, FormatError, option_hint
from data_adapters.files import Found, is_hidden
from data_adapters.findings import Finding
from data_adapters.indexing import check_positive, class_name_notes, class_order, pseudonyms
from data_adapters.layouts.coco_file import part_of
from data_adapters.layouts.common import LayoutCases, fault_note
from data_adapters.layouts.feature_map import FeatureMap, load_map
from data_adapters.layouts.record_file import RecordFile
from data_adapters.layouts.record_values import names_of, read_image, read_label, read_text
from data_adapters.layouts.wire import parse_example
from data_adapters.privacy import case_ids

USUAL_MAP = "features.yaml"
_NAME = re.compile(r".+\.(tfrecords?|tfrec)([.-][0-9A-Za-z.-]+)?", re.IGNORECASE)


def sniff(source: str) -> str | None:
    """None when the source is a TFRecord file or a folder of them, else why it does not fit."""
    path = local_path(source)
    if path.is_file():
        return None if _NAME.fullmatch(path.name) else "its name does not end in .tfrecord"
    if not path.is_dir():
        return "neither a file nor a folder"
    return None if _files(path) else "no .tfrecord files in it"


def _files(path: Path) -> list[Path]:
    """The record files: the file itself, or those in the folder and in those of its parts."""
    if path.is_file():
        return [path]
    try:
        folders = [p for p in sorted(path.iterdir()) if p.is_dir() and part_of(p.name)]
        inside = [p for folder in (path, *folders) for p in sorted(folder.iterdir())]
    except OSError:
        return []
    return [p for p in inside if p.is_file() and not is_hidden(p.name) and _NAME.fullmatch(p.name)]


@dataclass(frozen=True, slots=True)
class _Row:
    """A record that is a case."""

    file: int
    record: int
    name: str
    part: str | None
    patient: str | None
    label: str | int | tuple[float, ...] | None


@register_adapter("tfrecord", sniff)
class TFRecords(LayoutCases):
    """Records as cases, read at random by their place in the file, without TensorFlow.

    The feature map says which feature is what:

        image: image/encoded             # PNG, JPEG, ...; or instead one of
        image: {raw: pixels, shape: [height, width, 1], dtype: uint8}   # numbers or features
        image: {vectors: [mean_rgb, mean_audio]}     # (1, n, 1): numbers behind each other
        image: {frames: [rgb, audio], range: [-2, 2]}    # (T, n, 1): a SequenceExample's steps
        label: image/class/label         # or {key: ..., names: [...]}
        labels: {key: labels, names: 3862, form: indices}    # or form: vector
        id: image/filename
        patient: patient

    `youtube8m-video` and `youtube8m-frame` are known by name. Words train, val and test in the
    names of files (or their folders) are the parts. Whole files may be compressed with gzip or
    zlib; they are then unpacked in memory. A record whose data do not fit its checksum is an error
    of its case; where a length is damaged the rest of the file is lost, which `findings` reports.

    Args:
        source: A file, or a folder of files.
        features: The feature map: a mapping, the path of a YAML file, or a known name; by default
            `features.yaml` beside the files.
        positive: Name of the positive class of a two-class task.
        modality: `CT`, `XR-chest`, ... where known.

    Raises:
        DataError: There is no feature map, or no record of the files can be used.
        FormatError: A file or the feature map is damaged.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        features: Mapping[str, Any] | str | None = None,
        positive: str | None = None,
        modality: str | None = None,
    ) -> None:
        place = local_path(source)
        root = place if place.is_dir() else place.parent
        paths = _files(place)
        if not paths:
            raise FormatError(f"no .tfrecord files in {str(source)!r}")
        self._record_files = [RecordFile(path) for path in paths]
        if features is None and not (root / USUAL_MAP).is_file():
            raise DataError(_no_map(self._record_files))
        self._map = load_map(features if features is not None else USUAL_MAP, root)
        names = [path.relative_to(root).as_posix() for path in paths]
        rows, skipped, findings = _rows(self._record_files, names, self._map)
        if not rows:
            raise DataError(f"no record of {', '.join(names[:3])} can be used")
        rows, notes = _named(rows, names)
        self._rows = tuple(rows)
        task, classes = _task(self._map, rows)
        people, people_notes = pseudonyms([row.patient for row in rows])
        ids = case_ids([row.name for row in rows])
        index = [
            IndexRow(case_id, who, *_truth(row.label, task, classes), row.part)
            for case_id, who, row in zip(ids, people, rows, strict=True)
        ]
        found = []
        for row in rows:
            status = paths[row.file].stat()
            found.append(Found(row.name, paths[row.file], status.st_size, status.st_mtime_ns))
        super().__init__(
            found,
            index,
            kind="tfrecord",
            root=str(root.resolve()),
            class_names=classes,
            task=task,
            truth_keys=[f"{names[row.file]}#{row.record}|{self._map.image}" for row in rows],
            modality=modality,
            skipped=skipped,
            notes=[*class_name_notes(classes), *notes, *people_notes, *fault_note(findings)],
            findings=findings,
        )
        self.positive = check_positive(positive, classes, task)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`.

        Raises:
            CaseError: The record is damaged (`corrupt`), lacks the image (`no-image`), or does not
                fit the feature map (`shape`, `feature`).
        """
        place = range(len(self))[operator.index(i)]
        row, entry = self._rows[place], self.index[place]
        data = self._record_files[row.file].checked(row.record, entry.case_id)
        try:
            image, notes = read_image(parse_example(data), self._map.image, entry.case_id)
        except FormatError as error:
            raise CaseError(entry.case_id, "feature", str(error)) from None
        return Case(
            image=image,
            case_id=entry.case_id,
            patient_id=entry.patient_id,
            label=entry.label,
            labels=None if entry.labels is None else np.asarray(entry.labels, np.float32),
            meta={"modality": self.modality, "reading": notes},
        )


def _rows(
    files: Sequence[RecordFile], names: Sequence[str], features: FeatureMap
) -> tuple[list[_Row], list[Skip], list[Finding]]:
    """Facts of every record that can be parsed; records of the others; damaged files."""
    rows: list[_Row] = []
    bad: list[tuple[str, str]] = []
    findings: list[Finding] = []
    for k, (file, name) in enumerate(zip(files, names, strict=True)):
        part = part_of(Path(name).name) or (
            part_of(Path(name).parent.name) if "/" in name else None
        )
        for record in range(len(file.records.spans)):
            where = f"{name}#{record}"
            try:
                example = parse_example(file.data(record))
                label = None if features.label is None else read_label(example, features.label)
                id_ = read_text(example, features.id)
                patient = read_text(example, features.patient)
            except FormatError as error:
                bad.append((where, str(error)))
                continue
            if features.patient is not None and patient is None:
                patient = ""
            rows.append(_Row(k, record, id_ or where, part, patient, label))
        if file.records.fault:
            text = f"after {len(file.records.spans)} records {file.records.fault}; the rest is lost"
            findings.append(
                Finding("error", "truncated-records", text, "copy the file anew", source=name)
            )
    ids = case_ids([where for where, _ in bad])
    skips = [Skip(i, "corrupt", text) for i, (_, text) in zip(ids, bad, strict=True)]
    return rows, skips, findings


def _named(rows: list[_Row], names: Sequence[str]) -> tuple[list[_Row], list[str]]:
    """Rows with different names: by their ids, or by their places where ids repeat."""
    if len({row.name for row in rows}) == len(rows):
        return rows, []
    placed = [
        _Row(r.file, r.record, f"{names[r.file]}#{r.record}", r.part, r.patient, r.label)
        for r in rows
    ]
    return placed, ["ids stand on several records and do not name the cases"]


def _task(features: FeatureMap, rows: Sequence[_Row]) -> tuple[Task, tuple[str, ...]]:
    label = features.label
    if label is None:
        return "unlabelled", ()
    if label.form != "class":
        return "multilabel", label.names
    found = {row.label for row in rows if row.label is not None}
    if not found:
        raise DataError(f"no record has the label {label.key!r}")
    if not label.names:
        return "single", class_order(str(one) for one in found)
    for one in found:
        known = one in label.names if isinstance(one, str) else 0 <= int(one) < len(label.names)  # type: ignore[arg-type]
        if not known:
            raise DataError(f"a record has a class that is none of the {len(label.names)} named")
    return "single", label.names


def _truth(
    label: str | int | tuple[float, ...] | None, task: Task, classes: tuple[str, ...]
) -> tuple[int | None, tuple[float, ...] | None]:
    """Class index and label vector of an index row."""
    if task == "multilabel":
        unknown = (float("nan"),) * len(classes)
        return None, label if isinstance(label, tuple) else unknown
    if label is None or isinstance(label, tuple):
        return None, None
    if isinstance(label, int) and str(label) not in classes:
        return label, None
    return classes.index(str(label)), None


def _no_map(files: Sequence[RecordFile]) -> str:
    hint = option_hint("features", "features.yaml").split(" (")[0]
    for file in files:
        for record in range(min(len(file.records.spans), 1)):
            try:
                names = names_of(parse_example(file.data(record)))
            except FormatError:
                continue
            shown = ", ".join(f"{name} ({kind})" for name, kind in sorted(names.items())[:20])
            return f"nothing says what the features are: give {hint}; the first record has {shown}"
    return f"nothing says what the features are: give {hint}"

"""TFDS data sets that are prepared on this machine, by `tfds:NAME/CONFIG:SPLIT`."""

from __future__ import annotations

import hashlib
import operator
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import IndexRow, Skip, register_adapter
from data_adapters.case import Case, Lesion
from data_adapters.errors import CaseError, DataError
from data_adapters.findings import Finding
from data_adapters.indexing import check_positive, class_name_notes, pseudonyms
from data_adapters.layouts.coco_file import part_of
from data_adapters.layouts.common import box_findings, fault_note, usable_box
from data_adapters.layouts.tfds_features import Roles, choose
from data_adapters.layouts.tfds_source import PREFIX, Source, find_folder, parse_address
from data_adapters.pictures import picture_of
from data_adapters.privacy import case_ids

_KEPT = ("uint8", "uint16", "float32")
# What reading a record of a damaged file raises.
_DAMAGE = (ValueError, KeyError, IndexError, TypeError, OSError, RuntimeError)


def sniff(source: str) -> str | None:
    """None for an address of TFDS; nothing is imported."""
    return None if source.startswith(PREFIX) else f"no address {PREFIX}NAME/CONFIG:SPLIT"


@register_adapter("tfds", sniff)
class Tfds:
    """A data set of TensorFlow Datasets, prepared as `array_record`, read at random.

    Nothing is downloaded. Without a split all are opened, and those named like train, validation
    and test are the parts. Image and truth follow the data set's supervised keys, else its
    features: objects with boxes, a mask, a list of classes, one class. Pictures are decoded by
    radzoo, not by TFDS. Boxes (ymin, xmin, ymax, xmax in shares of the picture) become pixels;
    those without area or outside stand in `findings`.

    Args:
        source: `tfds:NAME`, `tfds:NAME/CONFIG`, `tfds:NAME:SPLIT`, `tfds:NAME:1.0.0:SPLIT`, ...
        data_dir: Folder of the prepared data sets; by default TFDS_DATA_DIR or TFDS's own.
        task: `single`, `multilabel`, `segmentation`, `detection` or `unlabelled`.
        image: Name of the image's feature.
        truth: Name of the truth's feature.
        classes: Names of a mask's values from 1 on, as names or one text with commas.
        patient: Name of a feature with the patient.
        positive: Name of the positive class of a two-class task.
        modality: `CT`, `XR-chest`, ... where known.

    Raises:
        DataError: The data set is not prepared here, TFDS is not installed, or an option does not
            fit; the message names the way out.
    """

    kind = "tfds"
    bans: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()

    def __init__(
        self,
        source: str,
        *,
        data_dir: str | None = None,
        task: str | None = None,
        image: str | None = None,
        truth: str | None = None,
        classes: str | Sequence[str] | None = None,
        patient: str | None = None,
        positive: str | None = None,
        modality: str | None = None,
    ) -> None:
        address = parse_address(str(source))
        self._source = Source(address, find_folder(address, data_dir))
        names = classes.split(",") if isinstance(classes, str) else classes
        self._roles = choose(
            self._source.features,
            self._source.supervised,
            image=image,
            truth=truth,
            task=task,
            classes=None if names is None else [name.strip() for name in names],
        )
        if patient is not None and patient not in self._source.features:
            raise DataError(f"patient={patient!r}: no such feature")
        self._data = self._source.open(self._roles.encoded)
        self._lock = threading.Lock()
        self._places = [(s, k) for s, data in self._data.items() for k in range(len(data))]
        if not self._places:
            raise DataError(f"{address.title!r} holds no record")
        self.task = self._roles.task
        self.class_names = self._roles.names
        if self.task == "segmentation":
            self.class_names = ("background", *self._roles.names)
        self.positive = check_positive(positive, self.class_names, self.task)
        self.modality = modality
        ids = case_ids([self.source_name(i) for i in range(len(self))])
        self.index, self.findings, notes = self._scan(ids, patient)
        self.notes = (*class_name_notes(self.class_names), *notes, *fault_note(self.findings))

    def _scan(
        self, ids: list[str], patient: str | None
    ) -> tuple[tuple[IndexRow, ...], tuple[Finding, ...], list[str]]:
        """Index rows and findings; records are read where labels, boxes or patients are wanted."""
        rows: list[IndexRow] = []
        people: list[str | None] = []
        findings: list[Finding] = []
        look = patient is not None or self.task in ("single", "multilabel", "detection")
        for i, case_id in enumerate(ids):
            record: dict[str, Any] = {}
            if look:
                try:
                    record = self._record(i, case_id)
                except CaseError as error:
                    findings.append(Finding("error", error.kind, error.message, "", case_id))
            people.append(_text(record.get(patient, "")) if patient is not None else None)
            label, labels = _truth(record, self._roles)
            if self.task == "detection" and record:
                _, faults = _lesions(record, self._roles, (1, 1))
                findings += box_findings(faults, case_id, self.source_name(i))
            rows.append(IndexRow(case_id, None, label, labels, part_of(self._places[i][0])))
        who, notes = pseudonyms(people)
        index = tuple(replace(row, patient_id=one) for row, one in zip(rows, who, strict=True))
        return index, tuple(findings), notes

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._places)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`.

        Raises:
            CaseError: The record is damaged (`corrupt`) or its picture cannot be decoded; `grid` or
                `mask-values` where a mask does not fit.
        """
        place = range(len(self))[operator.index(i)]
        row, roles = self.index[place], self._roles
        record = self._record(place, row.case_id)
        image, notes = _image(record[roles.image], row.case_id)
        case = Case(
            image=image,
            case_id=row.case_id,
            patient_id=row.patient_id,
            label=row.label,
            labels=None if row.labels is None else np.asarray(row.labels, np.float32),
            meta={"modality": self.modality, "reading": notes},
        )
        if self.task == "detection":
            height, width = image.shape[:2]
            return replace(case, lesions=_lesions(record, roles, (height, width))[0])
        if self.task == "segmentation" and roles.truth is not None:
            return replace(case, mask=_mask(record[roles.truth], case, len(self.class_names)))
        return case

    def _record(self, i: int, case_id: str) -> dict[str, Any]:
        split, k = self._places[i]
        try:
            with self._lock:
                record: dict[str, Any] = self._data[split][k]
        except _DAMAGE:
            raise CaseError(case_id, "corrupt", "the record is damaged or cannot be read") from None
        return record

    def identity(self) -> str:
        """Hex sha256 over the place, names, sizes and times of the data set's files."""
        digest = hashlib.sha256(self.scope().encode("utf-8", "surrogateescape"))
        for path in sorted(self._source.folder.iterdir()):
            status = path.stat()
            digest.update(f"{path.name}|{status.st_size}|{status.st_mtime_ns}\n".encode())
        digest.update(repr((self._roles, self._source.splits)).encode())
        return digest.hexdigest()

    def scope(self) -> str:
        """Place of the data, to which `file_key` is relative."""
        return f"{self.kind}\n{self._source.folder.resolve()}"

    def file_key(self, i: int) -> str:
        """Split and number of case `i`, and when the data set was written."""
        written = (self._source.folder / "dataset_info.json").stat().st_mtime_ns
        return f"{self.source_name(i)}|{written}|{self._roles.image}|{self._roles.truth}"

    def source_name(self, i: int) -> str:
        """`NAME/CONFIG:SPLIT#NUMBER` of case `i`."""
        split, k = self._places[i]
        return f"{self._source.address.title}:{split}#{k}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _truth(record: dict[str, Any], roles: Roles) -> tuple[int | None, tuple[float, ...] | None]:
    """Class index and label vector; -1 is TFDS's unknown."""
    if roles.task == "single":
        value = int(record[roles.truth or ""]) if record else -1
        return (value if 0 <= value < len(roles.names) else None), None
    if roles.task != "multilabel":
        return None, None
    if not record:
        return None, (float("nan"),) * len(roles.names)
    present = {int(v) for v in np.ravel(record[roles.truth or ""])}
    return None, tuple(float(k in present) for k in range(len(roles.names)))


def _image(value: Any, case_id: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    if isinstance(value, bytes):
        picture = picture_of(value, case_id=case_id)
        return picture.image, picture.notes
    array = np.asarray(value)
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "uif" or not array.size:
        raise CaseError(case_id, "shape", f"the image has shape {array.shape}; no picture")
    array = array if array.ndim > 2 else array[..., None]
    kept = array if array.dtype.name in _KEPT else array.astype(np.float32)
    if kept.dtype.kind == "f" and not np.isfinite(kept).all():
        raise CaseError(case_id, "not-finite", "the picture holds values that are not finite")
    return np.ascontiguousarray(kept), ()


def _mask(value: Any, case: Case, classes: int) -> NDArray[Any]:
    values, _ = _image(value, case.case_id)
    if values.shape != (*case.image.shape[:-1], 1) or values.dtype.kind != "u":
        text = f"the mask has shape {values.shape} for a picture of {case.image.shape}"
        raise CaseError(case.case_id, "grid", text)
    if int(values.max()) >= classes:
        text = f"the mask holds {int(values.max())}, the classes end at {classes - 1}"
        raise CaseError(case.case_id, "mask-values", text)
    return values[..., 0].astype(np.int16)


def _lesions(
    record: dict[str, Any], roles: Roles, shape: tuple[int, int]
) -> tuple[tuple[Lesion, ...], list[str]]:
    """Boxes in pixels of a picture of this size, and their faults."""
    objects = record[roles.truth or ""]
    boxes = np.reshape(np.asarray(objects[roles.box], np.float64), (-1, 4))
    kinds = np.zeros(len(boxes), int) if roles.kind is None else np.ravel(objects[roles.kind])
    lesions, faults = [], []
    height, width = shape
    for box, kind in zip(boxes, kinds, strict=True):
        scaled = box * (height, width, height, width)
        kept, fault = usable_box([float(v) for v in scaled], shape)
        faults.append(fault)
        if kept is not None and 0 <= int(kind) < len(roles.names):
            lesions.append(Lesion(int(kind), box=kept))
    return tuple(lesions), faults

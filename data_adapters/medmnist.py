"""MedMNIST archives: `{train,val,test}_{images,labels}` in one npz, in 2D and 3D."""

from __future__ import annotations

import hashlib
import math
import operator
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters import npz
from data_adapters.adapter import (
    PARTS,
    IndexRow,
    Skip,
    Task,
    labelled_rows,
    local_path,
    register_adapter,
)
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError, FormatError, nearest
from data_adapters.indexing import check_positive
from data_adapters.medmnist_sets import SETS, MedMnistSet, set_of_file


def sniff(source: str) -> str | None:
    """None when the source is an npz file with images by part, else why it does not fit."""
    path = local_path(source)
    if not path.is_file():
        return "not a file"
    if path.suffix.lower() != ".npz":
        return "its name does not end in .npz"
    try:
        names = npz.member_names(path)
    except FormatError:
        return None  # opening it says what is wrong with the file
    if not any(f"{part}_images" in names for part in PARTS):
        return f"no train_images, val_images or test_images in it (found: {', '.join(names[:8])})"
    return None


@register_adapter("medmnist", sniff)
class MedMnist:
    """Cases of a MedMNIST archive, or of any npz with arrays named in the same way.

    Images are (N, H, W), (N, H, W, 1 or 3), or (N, D, H, W), a last axis of 1 or 3 being channels;
    labels are (N,) or (N, 1) for classes and (N, K) of 0 and 1 for a multi-label task (NaN is
    unknown). Any part may be missing, and so may the labels of a part. Class names, positive
    class and modality are the published ones where the file name begins like a data set's.

    Args:
        source: The npz file.
        positive: Name of the positive class of a two-class task.
        modality: `CT`, `XR-chest`, `US`, ... where known.
        dataset: Name of the published data set, where the file name does not tell.

    Raises:
        FormatError: The file is damaged, or its arrays do not fit together.
        DataError: An option does not fit.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        positive: str | None = None,
        modality: str | None = None,
        dataset: str | None = None,
    ) -> None:
        self.kind = "medmnist"
        self.skipped: tuple[Skip, ...] = ()
        self._path = local_path(source)
        self._lock = threading.Lock()
        self._arrays: dict[str, np.ndarray] = {}
        names = npz.member_names(self._path)
        entries = {
            part: npz.member(self._path, f"{part}_images")
            for part in PARTS
            if f"{part}_images" in names
        }
        self._channels = _check_images(entries, self._path.name, names)
        self._images = {part: entry for part, entry in entries.items() if entry.shape[0]}
        labels = {
            part: npz.load(self._path, npz.member(self._path, f"{part}_labels"))
            for part in self._images
            if f"{part}_labels" in names
        }
        known = _published(dataset, self._path.stem)
        truth = _Truth(self._path.name, self._images, labels, known)
        self.task: Task = truth.task
        self.class_names = truth.class_names
        if positive is None and truth.published is not None and truth.task == "single":
            positive = truth.published.positive
        self.positive = check_positive(positive, self.class_names, self.task)
        facts = truth.published
        self.modality = modality or (facts.modality if facts else None)
        self.bans = facts.bans if facts else ()
        self._places = [(p, j) for p, entry in self._images.items() for j in range(entry.shape[0])]
        self.index = tuple(
            IndexRow(f"{part}-{j:05d}", None, *truth.of(part, j), part) for part, j in self._places
        )
        self.notes = (*truth.notes, *_notes(self.index, self.task, entries, names))

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._places)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`.

        Raises:
            CaseError: Its values are not finite.
            FormatError: The archive turns out to be damaged.
        """
        row = self.index[operator.index(i)]
        part, j = self._places[operator.index(i)]
        image = _pixels(self._array(part)[j])
        if image.dtype.kind == "f" and not bool(np.isfinite(image).all()):
            raise CaseError(row.case_id, "not-finite", "the image holds values that are not finite")
        return Case(
            image=image if self._channels else image[..., None],
            case_id=row.case_id,
            label=row.label,
            labels=None if row.labels is None else np.asarray(row.labels, np.float32),
            meta={"modality": self.modality},
        )

    def _array(self, part: str) -> np.ndarray:
        with self._lock:
            if part not in self._arrays:
                self._arrays[part] = npz.load(self._path, self._images[part])
            return self._arrays[part]

    def identity(self) -> str:
        """Hex sha256 over the names, sizes and checksums of the image arrays."""
        entries = [(e.name, e.size, e.crc) for e in self._images.values()]
        return hashlib.sha256(repr((self.kind, entries)).encode()).hexdigest()

    def file_key(self, i: int) -> str:
        """Case id and checksum of the array that holds case `i`."""
        part, j = self._places[i]
        return f"{part}-{j:05d}|{self._images[part].crc:08x}"

    def source_name(self, i: int) -> str:
        """File name and case id of case `i`."""
        return f"{self._path.name}#{self.index[i].case_id}"


class _Truth:
    """The labels of all parts, checked and brought to one form."""

    def __init__(
        self,
        name: str,
        images: dict[str, npz.Member],
        labels: dict[str, np.ndarray],
        known: MedMnistSet | None,
    ) -> None:
        self._values = {
            part: _label_values(array, images[part].shape[0], f"'{part}_labels' in {name}")
            for part, array in labels.items()
        }
        self.notes: list[str] = []
        widths = {array.shape[1] for array in self._values.values()}
        if len(widths) > 1:
            raise FormatError(f"the labels in {name} have {sorted(widths)} columns in its parts")
        width = widths.pop() if widths else 0
        self.task: Task = "unlabelled" if not width else "single" if width == 1 else "multilabel"
        if self.task == "single":
            self._numbers = _whole_numbers(self._values, name)
        fits = known is not None and self._fits(known, width)
        self.published = known if fits or self.task == "unlabelled" else None
        if known is not None and self.published is None:
            self.notes.append(f"the labels are not those published for {known.name}")
        self.class_names = self._names(width)

    def _fits(self, known: MedMnistSet, width: int) -> bool:
        if self.task == "multilabel":
            return known.multilabel and width == len(known.classes)
        highest = max(self._numbers, default=0) if self.task == "single" else 0
        return not known.multilabel and highest < len(known.classes)

    def _names(self, width: int) -> tuple[str, ...]:
        if self.task == "unlabelled":
            return ()
        if self.published is not None:
            return self.published.classes
        if self.task == "single":
            return tuple(str(number) for number in self._numbers)
        return tuple(str(k) for k in range(width))

    def of(self, part: str, j: int) -> tuple[int | None, tuple[float, ...] | None]:
        """(class index, label vector) of one case."""
        if self.task == "unlabelled":
            return None, None
        if part not in self._values:
            blank = (math.nan,) * len(self.class_names)
            return None, blank if self.task == "multilabel" else None
        values = self._values[part][j]
        if self.task == "multilabel":
            return None, tuple(float(value) for value in values)
        if math.isnan(values[0]):
            return None, None
        number = int(values[0])
        return (number if self.published is not None else self._numbers.index(number)), None


def _check_images(images: dict[str, npz.Member], name: str, names: Sequence[str]) -> bool:
    """Check that the image arrays fit together; whether their last axis is channels."""
    if not images:
        raise FormatError(
            f"{name} holds no train_images, val_images or test_images; "
            f"found: {', '.join(names[:8]) or 'nothing'}"
        )
    kinds = set()
    filled = [entry for entry in images.values() if entry.shape[:1] != (0,)]
    if not filled:
        raise FormatError(f"{name} holds no images: every part is empty")
    for entry in filled:
        where = f"{entry.name!r} in {name}"
        if entry.dtype.kind not in "buif":
            raise FormatError(f"{where} holds {entry.dtype}; wanted numbers")
        shape = entry.shape
        channels = len(shape) in (4, 5) and shape[-1] in (1, 3)
        if len(shape) - channels not in (3, 4) or 0 in shape[1:]:
            raise FormatError(
                f"{where} has shape {shape}; wanted (N,H,W), (N,H,W,3), (N,D,H,W) or (N,D,H,W,3)"
            )
        kinds.add((len(shape) - channels, shape[-1] if channels else 1))
    if len(kinds) > 1:
        shapes = ", ".join(f"{e.name} {e.shape}" for e in filled)
        raise FormatError(f"the parts in {name} have images of different kinds: {shapes}")
    return len(filled[0].shape) in (4, 5) and filled[0].shape[-1] in (1, 3)


def _published(dataset: str | None, stem: str) -> MedMnistSet | None:
    if dataset is None:
        return set_of_file(stem)
    for known in SETS:
        if known.name == dataset.lower():
            return known
    names = [known.name for known in SETS]
    raise DataError(f"unknown MedMNIST data set {dataset!r}{nearest(dataset, names)}")


def _label_values(array: np.ndarray, count: int, where: str) -> np.ndarray:
    """Labels as float64 (N, K), checked against the number of images."""
    if array.dtype.kind not in "buif":
        raise FormatError(f"{where} holds {array.dtype}; wanted numbers")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise FormatError(f"{where} has shape {array.shape}; wanted (N,), (N,1) or (N,K)")
    if array.shape[0] != count:
        raise FormatError(f"{where} has {array.shape[0]} rows for {count} images")
    values = array.astype(np.float64).reshape(count, -1)
    if values.shape[1] > 1:
        bad = ~(np.isnan(values) | (values == 0) | (values == 1))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise FormatError(
                f"{where} holds {values[row, column]:g} at [{row}, {column}]; the labels of a "
                "multi-label task are 0, 1, or NaN where unknown"
            )
    return values


def _whole_numbers(values: dict[str, np.ndarray], name: str) -> tuple[int, ...]:
    """The different class numbers of all parts, by value."""
    numbers: set[int] = set()
    for part, array in values.items():
        known = array[~np.isnan(array)]
        bad = known[(known < 0) | (known != np.floor(known)) | ~np.isfinite(known)]
        if bad.size:
            raise FormatError(
                f"'{part}_labels' in {name} holds {bad[0]:g}; a class is a whole number from 0"
            )
        numbers.update(int(value) for value in np.unique(known))
    return tuple(sorted(numbers))


def _pixels(stored: np.ndarray) -> np.ndarray:
    """A copy of one stored image as uint8, uint16 or float32."""
    if stored.dtype == np.bool_:
        return np.array(stored, np.uint8, order="C")
    kept: Any = stored.dtype.newbyteorder("=")
    if kept not in (np.uint8, np.uint16, np.float32):
        kept = np.float32
    return np.array(stored, kept, order="C")


def _notes(
    index: Sequence[IndexRow], task: Task, images: dict[str, npz.Member], names: Sequence[str]
) -> list[str]:
    notes = []
    without = len(labelled_rows(index)[1]) if task != "unlabelled" else 0
    if without:
        notes.append(f"{without} of {len(index)} cases have no label")
    notes += [f"{part} holds no images" for part, entry in images.items() if not entry.shape[0]]
    wanted = {f"{part}_{what}" for part in images for what in ("images", "labels")}
    further = [name for name in names if name not in wanted]
    if further:
        notes.append(f"arrays that were ignored: {', '.join(further)}")
    return notes

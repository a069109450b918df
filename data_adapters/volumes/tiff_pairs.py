"""Pairs of TIFF stacks, images and labels, as the ISBI 2012 challenge gives them."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from data_adapters.adapter import IndexRow, Skip, Task, local_path, register_adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError, FormatError
from data_adapters.files import Found, scan_folder
from data_adapters.pictures import read_picture_with_notes
from data_adapters.privacy import case_ids, patient_pseudonym
from data_adapters.volumes.classes import MaskClasses, classes_option, distinct

_SUFFIXES = (".tif", ".tiff")
_WORD = re.compile(
    r"(?P<before>.*?)(?P<mark>^|[_\-. ])"
    r"(?:(?P<mask>labels?|masks?|seg|segmentation|gt)|(?P<image>volumes?|images?|stack|raw))"
    r"(?P<after>(?:[_\-. ].*)?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Pair:
    """An image stack and, where there is one, its labels."""

    name: str
    image: Found
    mask: Found | None


def sniff(source: str) -> str | None:
    """None for a folder with a TIFF stack of several pages and labels of its name beside it."""
    path = local_path(source)
    if not path.is_dir():
        return "not a folder"
    try:
        names = [p for p in sorted(path.iterdir()) if p.suffix.lower() in _SUFFIXES]
    except OSError as error:
        return f"the folder cannot be read ({error.strerror})"
    files = [Found(p.name, p, 1, 0) for p in names]
    pairs = [pair for pair in pair_files(files)[0] if pair.mask is not None]
    if not pairs:
        return "no TIFF stack with labels beside it (wanted NAME-volume.tif and NAME-labels.tif)"
    return None if page_count(pairs[0].image.path) > 1 else "its TIFF files have one page each"


def pair_files(files: Sequence[Found]) -> tuple[list[Pair], int]:
    """Stacks with their labels by name, and how many files are labels without a stack or unfit."""
    images: dict[str, Found] = {}
    masks: dict[str, Found] = {}
    unfit = 0
    for found in files:
        folder, _, base = found.name.rpartition("/")
        match = _WORD.fullmatch(Path(base).stem)
        if match is None:
            unfit += 1
            continue
        name = "/".join(p for p in (folder, match["before"] + match["after"]) if p)
        role = masks if match["mask"] else images
        unfit += name in role
        role.setdefault(name, found)
    pairs = [Pair(name, images[name], masks.get(name)) for name in sorted(images)]
    return pairs, unfit + len(set(masks) - set(images))


def page_count(path: Path) -> int:
    """Pages of a TIFF file by its headers; 0 where it cannot be read."""
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, OverflowError):
        return 0


@register_adapter("tiff_stack", sniff)
class TiffStack:
    """TIFF stacks paired by name: `train-volume.tif` with `train-labels.tif`, and the like.

    A stack is one case (D, H, W, C); with `slices` each page is a case (H, W, C). The slices of
    one stack have one patient where there are several stacks; in a single stack the patient is
    unknown, and neighbouring slices look alike, which no split by patient can see.

    Args:
        source: The folder, searched to any depth.
        slices: One case per page instead of one per stack.
        classes: Names of the labels' values, as in `volumes`; by default the values found.
        modality: `EM`, ... where known.

    Raises:
        FormatError: There is no stack.
        DataError: `classes` does not fit.
    """

    kind = "tiff_stack"
    positive = None
    bans: tuple[str, ...] = ()

    def __init__(
        self,
        source: str | Path,
        *,
        slices: bool = False,
        classes: str | Sequence[str] | Mapping[int, str] | None = None,
        modality: str | None = None,
    ) -> None:
        self.modality = modality
        self._root, self._slices = local_path(source), slices
        self._classes = classes_option(classes)
        scan = scan_folder(self._root)
        files = [f for f in scan.files if f.path.suffix.lower() in _SUFFIXES]
        self._pairs, unfit = pair_files(files)
        self._last: tuple[int, Case] | None = None
        if not self._pairs:
            raise FormatError(f"no stack named like NAME-volume.tif in {str(source)!r}")
        self._places, skipped = self._find_places()
        names = [self.source_name(i) for i in range(len(self._places))]
        several = slices and len(self._pairs) > 1
        self.index = tuple(
            IndexRow(case_id, patient_pseudonym(self._pairs[p].name) if several else None)
            for case_id, (p, _) in zip(case_ids(names), self._places, strict=True)
        )
        with_mask = any(pair.mask for pair in self._pairs)
        self.task: Task = "segmentation" if with_mask else "unlabelled"
        self.skipped = tuple(scan.skips() + skipped)
        notes = scan.notes()
        if unfit:
            notes.append(f"{unfit} TIFF files are no stack and no labels of one and were ignored")
        if slices and not several:
            notes.append("all cases are slices of one stack: neighbours look alike")
        self.notes = tuple(notes)

    def _find_places(self) -> tuple[list[tuple[int, int]], list[Skip]]:
        """(pair, page) of each case, and a record of each stack that cannot be looked into."""
        if not self._slices:
            return [(p, 0) for p in range(len(self._pairs))], []
        places, skipped = [], []
        for p, pair in enumerate(self._pairs):
            count = page_count(pair.image.path)
            places += [(p, page) for page in range(count)]
            if not count:
                (case_id,) = case_ids([pair.name or "stack"])
                skipped.append(Skip(case_id, "corrupt", "the stack's pages cannot be counted"))
        if not places:
            raise FormatError("no stack holds a page that can be read")
        return places, skipped

    @cached_property
    def classes(self) -> MaskClasses:
        """The values of the labels and their names.

        Raises:
            DataError: The labels hold too many values for a label map.
        """
        if self.task != "segmentation":
            return MaskClasses({})
        seen: set[int] = set()
        for pair in self._pairs if self._classes is None else ():
            if pair.mask:
                try:
                    seen |= {int(v) for v in distinct(_labels(pair.mask, "classes"))}
                except CaseError:
                    continue
        return self._classes or MaskClasses.of(seen)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each mask value; empty without labels."""
        return self.classes.names

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._places)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`.

        Raises:
            CaseError: As `read_picture`; `grid` where stack and labels differ in size, and
                `mask-values` where the labels are no label map.
        """
        row, (p, page) = self.index[operator.index(i)], self._places[operator.index(i)]
        last = self._last
        if last is None or last[0] != p:
            last = (p, self._read(self._pairs[p], row.case_id))
        if not self._slices:
            return last[1]
        self._last = last  # its neighbours are usually asked for next
        return self._slice(last[1], page, row)

    def _read(self, pair: Pair, case_id: str) -> Case:
        stack = read_picture_with_notes(pair.image.path, case_id=case_id)
        mask = None
        if pair.mask is not None:
            labels = _labels(pair.mask, case_id)
            grid = stack.image.shape[:-1]
            if labels.shape != grid:
                message = f"stack and labels have {grid} and {labels.shape} pixels"
                raise CaseError(case_id, "grid", message)
            mask = self.classes.numbered(labels, case_id)
        meta = {"modality": self.modality, "reading": stack.notes}
        return Case(stack.image, case_id, mask=mask, geometry=stack.geometry, meta=meta)

    def _slice(self, stack: Case, page: int, row: IndexRow) -> Case:
        if stack.image.ndim != 4:
            stack_image, mask = stack.image, stack.mask
        elif page < len(stack.image):
            stack_image = stack.image[page].copy()
            mask = None if stack.mask is None else stack.mask[page].copy()
        else:
            raise CaseError(row.case_id, "grid", "the stack has several pages per slice")
        return Case(stack_image, row.case_id, row.patient_id, mask=mask, meta=stack.meta)

    def identity(self) -> str:
        """Hex sha256 over the place, options, names, sizes and times of all files."""
        text = f"{self.kind}\n{self._root.resolve()}\n{self._slices}\n{self._classes}\n"
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
        for i in range(len(self)):
            digest.update(self.file_key(i).encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()

    def file_key(self, i: int) -> str:
        """Names, sizes and times of the files of case `i`, and its page."""
        p, page = self._places[i]
        files = [f for f in (self._pairs[p].image, self._pairs[p].mask) if f]
        return f"{page}|" + "|".join(f"{f.name}|{f.size}|{f.mtime_ns}" for f in files)

    def source_name(self, i: int) -> str:
        """Relative path of the stack, with the number of the page where pages are cases."""
        p, page = self._places[i]
        stored = self._pairs[p].image.name.encode("utf-8", "surrogateescape")
        name = stored.decode("utf-8", "replace")
        return f"{name}:{page}" if self._slices else name


def _labels(found: Found, case_id: str) -> np.ndarray:
    """Whole numbers without a channel axis."""
    labels = read_picture_with_notes(found.path, case_id=case_id).image
    if labels.shape[-1] != 1 or labels.dtype.kind == "f":
        raise CaseError(case_id, "mask-values", "the labels are no map of whole numbers")
    return labels[..., 0]

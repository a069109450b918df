"""One look at one case: what is wrong with it, and the few numbers kept to compare it with others.

A case is read once; nothing of its pixels stays in memory but a thumb and a handful of numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import Adapter
from data_adapters.case import Case, check_case
from data_adapters.dicom.model import Instance
from data_adapters.dicom.stacking import irregularities
from data_adapters.errors import CaseError, DataError
from data_adapters.findings import Finding
from data_adapters.hashing import fingerprint
from data_adapters.lint.boxes import box_findings
from data_adapters.lint.codes import CODES, REMEDIES, UNREADABLE, finding
from data_adapters.lint.headers import header_findings
from data_adapters.lint.masks import class_voxels, mask_findings
from data_adapters.lint.modality import known_modality
from data_adapters.lint.reading import reading_findings

SAMPLE = 1 << 18
"""About how many values of a case its percentiles are taken from: evenly spaced in the array."""
_SLAB = 1 << 20
MOSTLY = 0.5
"""Share of padding above which a case is reported."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What is kept of a case.

    Attributes:
        row: Position in the adapter.
        case_id: Pseudonymous id.
        modality: DICOM's code or the user's word; None when unknown or no known code.
        shape: Of the image, channels last; empty where it could not be read.
        spacing: mm, in the order of the axes; empty when unknown.
        regular: Whether the slices are a regular stack.
        dtype: Type of the image.
        quantiles: 1st, 50th and 99th percentile of what was measured; NaN where nothing was.
        limits: Lowest and highest measured value.
        binary: Whether no other values were met than those two.
        sha256: Digest of the pixels; empty for a constant image or where none could be read.
        phash: uint64 (8,), or None.
        thumb: uint8 (32, 32), or None.
        truth: Digest of mask and lesions; empty where there are none.
        voxels: Class index -> voxels of the mask.
        boxes: Class index -> lesions.
        findings: What is wrong with the case by itself.
        files: Headers of its DICOM files.
    """

    row: int
    case_id: str
    modality: str | None = None
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    regular: bool = True
    dtype: str = ""
    quantiles: tuple[float, float, float] = (float("nan"),) * 3
    limits: tuple[float, float] = (float("nan"),) * 2
    binary: bool = False
    sha256: str = ""
    phash: NDArray[np.uint64] | None = None
    thumb: NDArray[np.uint8] | None = None
    truth: str = ""
    voxels: dict[int, int] = field(default_factory=dict)
    boxes: dict[int, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    files: Sequence[Instance] = ()

    @property
    def read(self) -> bool:
        """Whether the case could be read."""
        return bool(self.shape)


def examine(adapter: Adapter, row: int) -> Facts:
    """Read case `row` and look at it by itself.

    Args:
        adapter: Any adapter.
        row: Position of the case.

    Returns:
        Its facts; a case that cannot be read has a finding that says why, and no shape.
    """
    case_id = adapter.index[row].case_id
    files = case_headers(adapter, row)
    try:
        facts = _facts(adapter, row, adapter[row])
    except CaseError as error:
        facts = Facts(row, case_id, findings=(unreadable(case_id, error.kind, error.message),))
    except DataError as error:
        found = finding("invalid-case", str(error), case_id=case_id)
        facts = Facts(row, case_id, findings=(found,))
    findings = (*facts.findings, *header_findings(case_id, files))
    return replace(facts, findings=findings, files=files)


def case_headers(adapter: Adapter, row: int) -> Sequence[Instance]:
    """Headers of the DICOM files that make up a case; empty where an adapter reads none.

    Args:
        adapter: Any adapter; one of DICOM files has `instances(row)`.
        row: Position of the case.
    """
    method = getattr(adapter, "instances", None)
    return () if method is None else cast("Sequence[Instance]", method(row))


def unreadable(case_id: str, kind: str, message: str) -> Finding:
    """The finding for a case that cannot be read, its code the error's kind."""
    if kind in CODES:
        return finding(kind, message, case_id=case_id)
    return Finding("error", kind, message, REMEDIES.get(kind, UNREADABLE), case_id=case_id)


def _facts(adapter: Adapter, row: int, case: Case) -> Facts:
    findings = list(_contract(case))
    image = np.asarray(case.image)
    modality = known_modality(case.meta.get("modality") or adapter.modality, adapter.modality)
    quantiles, limits, binary = _statistics(image, None if findings else case.padding)
    constant = bool(limits[0] == limits[1])
    marks = None if constant or image.size == 0 else fingerprint(image)
    if not findings:
        findings += _image_findings(case, limits, constant)
    names = adapter.class_names
    findings += reading_findings(case)
    findings += mask_findings(case, names, adapter.task)
    findings += box_findings(case, names)
    geometry = case.geometry
    if geometry is not None:
        found = (replace(one, case_id=case.case_id) for one in irregularities(geometry))
        findings += found
    return Facts(
        row=row,
        case_id=case.case_id,
        modality=modality,
        shape=tuple(image.shape),
        spacing=() if geometry is None else tuple(geometry.spacing),
        regular=geometry is None or not geometry.positions,
        dtype=str(image.dtype),
        quantiles=quantiles,
        limits=limits,
        binary=binary,
        sha256="" if marks is None else marks.sha256,
        phash=None if marks is None else marks.phash,
        thumb=None if marks is None else marks.thumb,
        truth=_truth(case),
        voxels=class_voxels(case),
        boxes=_count(lesion.label for lesion in case.lesions),
        findings=tuple(findings),
    )


def _contract(case: Case) -> Iterator[Finding]:
    """What breaks the contract of every case: values that are not finite, wrong axes or types."""
    image = np.asarray(case.image)
    if image.dtype.kind == "f" and image.size:
        bad = int(image.size - np.isfinite(image).sum())
        if bad:
            text = f"{bad} of {image.size} values are not finite"
            yield finding("not-finite", text, case_id=case.case_id)
            return
    try:
        check_case(Case(image=image, case_id=case.case_id, padding=case.padding))
    except DataError as error:
        yield finding("invalid-case", str(error), case_id=case.case_id)


def _image_findings(case: Case, limits: tuple[float, float], constant: bool) -> Iterator[Finding]:
    share = 0.0 if case.padding is None else float(case.padding.mean())
    if share > MOSTLY:
        text = f"{share:.0%} of the image is padding"
        yield finding("mostly-padding", text, case_id=case.case_id)
    if constant and share < 1.0:
        yield finding(
            "constant-image", f"every measured pixel is {limits[0]:g}", case_id=case.case_id
        )


def _stride(shape: tuple[int, ...]) -> int:
    """Step through the values of an array that does not keep to some columns or channels."""
    step = max(1, -(-math.prod(shape) // SAMPLE))
    while math.gcd(step, math.prod(shape[1:])) > 1:
        step += 1
    return step


def _statistics(
    image: NDArray[Any], padding: NDArray[np.bool_] | None
) -> tuple[tuple[float, float, float], tuple[float, float], bool]:
    """Percentiles of at most about `SAMPLE` values, the limits, and whether there are only two.

    Of what is finite and no padding, slab by slab along the first axis.
    """
    image = np.atleast_1d(image)
    step = _stride(image.shape)
    rows = max(1, _SLAB // max(1, image[0].size)) if len(image) else 1
    low, high, few = np.inf, -np.inf, []
    for start in range(0, len(image), rows):
        values = image[start : start + rows]
        if padding is None:
            values = values.reshape(-1)
        else:
            known = ~padding[start : start + rows]
            values = np.concatenate([values[..., c][known] for c in range(values.shape[-1])])
        if values.dtype.kind == "f" and not bool(np.isfinite(values).all()):
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            few.append(values[::step])
    if not few:
        nan = float("nan")
        return (nan, nan, nan), (nan, nan), False
    sample = np.concatenate(few)
    first, middle, last = (float(v) for v in np.percentile(sample, (1, 50, 99)))
    return (first, middle, last), (low, high), bool(((sample == low) | (sample == high)).all())


def _truth(case: Case) -> str:
    """Digest of mask and lesions; empty where there are none."""
    known: list[bytes] = []
    for part in (case.mask, case.masks):
        if part is not None:
            array = np.asarray(part)
            wide = array.astype("<f4" if array.dtype.kind == "f" else "<i8")
            known.append(repr(array.shape).encode() + wide.tobytes())
    if case.lesions:
        known.append(repr(sorted(map(_lesion_key, case.lesions))).encode())
    if not known:
        return ""
    digest = hashlib.sha256()
    for piece in known:
        digest.update(piece)
    return digest.hexdigest()


def _lesion_key(lesion: Any) -> tuple[Any, ...]:
    box = tuple(round(float(v), 3) for v in lesion.box or ())
    centre = tuple(round(float(v), 3) for v in lesion.centre or ())
    return lesion.label, box, centre, round(float(lesion.radius or 0.0), 3)


def _count(labels: Iterator[int] | Sequence[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for label in labels:
        counts[int(label)] = counts.get(int(label), 0) + 1
    return counts

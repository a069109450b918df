"""Damaged annotation objects end in a typed error or a valid result, never in another exception."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_adapters.case import Geometry
from data_adapters.dicom.placing import on_grid
from data_adapters.dicom.rtstruct import draw, read_rtstruct
from data_adapters.dicom.seg import read_seg_here
from data_adapters.dicom.sr import locate, read_sr
from data_adapters.errors import CaseError
from data_adapters.geometry import to_world
from data_adapters.volumes.seg_nrrd import read_seg_nrrd
from tests.data_adapters.dicom.annotations import (
    ct_series,
    random_geometry,
    region,
    region_3d,
    report,
    rtstruct,
    save,
    seg,
)
from tests.data_adapters.volumes.test_seg_nrrd import write

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CASE = "c0123456789"
SHAPE = (6, 20, 22)
ROUNDS = 30


def _read_seg(path: Path, geometry: Geometry) -> None:
    on_grid(read_seg_here(str(path), case_id=CASE), geometry, SHAPE, case_id=CASE)


def _read_nrrd(path: Path, geometry: Geometry) -> None:
    on_grid(read_seg_nrrd(path, case_id=CASE), geometry, SHAPE, case_id=CASE)


def _read_rtstruct(path: Path, geometry: Geometry) -> None:
    draw(read_rtstruct(path, case_id=CASE), geometry, SHAPE, case_id=CASE)


def _read_sr(path: Path, geometry: Geometry) -> None:
    read = read_sr(path, case_id=CASE)
    known = {(uid, 0): 0 for uid in read.instances}
    found, _ = locate(read, geometry, SHAPE, sources=known, case_id=CASE)
    for _, extent in found:
        extent.lesion(0, 3)


def _write(kind: str, folder: Path, geometry: Geometry) -> Path:
    rng = np.random.default_rng(0)
    images, masks = ct_series(geometry, SHAPE), (rng.random((*SHAPE, 2)) < 0.3).astype(np.uint8)
    path = folder / ("whole.seg.nrrd" if kind == "nrrd" else "whole.dcm")
    if kind == "nrrd":
        named = [{"Name": k, "LabelValue": 1, "Layer": k} for k in range(2)]
        return write(path, masks, geometry, named)
    square = to_world(geometry, [[1, 3, 3], [1, 3, 9], [1, 9, 9], [1, 9, 3]])
    if kind == "rtstruct":
        closed = ("CLOSED_PLANAR", square, images[1])
        return save(rtstruct(images, {"a": [closed], "b": [("POINT", square[:1], None)]}), path)
    if kind == "report":
        flat = region("POLYLINE", [[4, 6], [9, 6], [9, 14], [4, 6]], images[2])
        groups = [("a", flat), ("b", region_3d("POINT", square[:1], images[0]))]
        return save(report(images, groups), path)
    made = {
        "binary": lambda: seg(images, masks, "BINARY"),
        "fractional": lambda: seg(images, masks[..., :1] * 0.5, "FRACTIONAL"),
        "labelmap": lambda: seg(images, masks[..., 0] * np.uint8(2), "LABELMAP"),
    }
    return save(made[kind](), path)


READERS: dict[str, Callable[[Path, Geometry], None]] = {
    "binary": _read_seg,
    "fractional": _read_seg,
    "labelmap": _read_seg,
    "rtstruct": _read_rtstruct,
    "report": _read_sr,
    "nrrd": _read_nrrd,
}


def _damaged(whole: bytes, draw_: random.Random) -> bytes:
    """Bytes cut short, changed, or with a length forged."""
    if draw_.random() < 0.2:
        return whole[: draw_.randrange(len(whole))]
    changed = bytearray(whole)
    for _ in range(draw_.choice([1, 2, 6])):
        place = draw_.randrange(len(changed) - 4)
        if draw_.random() < 0.4:
            changed[place : place + 4] = draw_.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"])
        else:
            changed[place] = draw_.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", READERS)
def test_damage_is_refused_or_harmless(kind: str, tmp_path: Path) -> None:
    geometry = random_geometry(np.random.default_rng(1))
    path = _write(kind, tmp_path, geometry)
    READERS[kind](path, geometry)
    whole, chance = path.read_bytes(), random.Random(kind)
    counts: Counter[str] = Counter()
    messages: list[str] = []
    for _ in range(ROUNDS):
        path.write_bytes(_damaged(whole, chance))
        try:
            READERS[kind](path, geometry)
        except CaseError as error:
            counts[error.kind] += 1
            messages.append(str(error))
        else:
            counts["read"] += 1
    assert counts.total() == ROUNDS
    assert counts["read"] < ROUNDS
    assert not any(secret in text for text in messages for secret in (str(tmp_path), "PHANTOM"))

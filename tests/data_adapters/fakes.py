"""A small adapter for tests, whose cases are arrays or errors."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import IndexRow, Skip, Task
from data_adapters.case import Case, Geometry
from data_adapters.errors import CaseError


class FakeAdapter:
    """Cases from a list: an array is an image, a string the kind of a `CaseError`."""

    kind = "fake"
    class_names = ("no", "yes")
    task: Task = "single"
    positive: str | None = None
    modality: str | None = None
    bans: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, cases: Sequence[NDArray[Any] | str], *, name: str = "") -> None:
        self.cases = list(cases)
        self.name = name
        self.index = tuple(IndexRow(f"c{i:03d}", label=i % 2) for i in range(len(self.cases)))
        self.read: list[int] = []
        self.stop_at: int | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, i: int) -> Case:
        if i == self.stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.read.append(i)
        entry = self.cases[i]
        if isinstance(entry, str):
            raise CaseError(f"c{i:03d}", entry, f"the file is {entry}")
        return Case(image=entry, case_id=f"c{i:03d}")

    def identity(self) -> str:
        text = self.name + "".join(map(self.file_key, range(len(self))))
        return hashlib.sha256(text.encode()).hexdigest()

    def file_key(self, i: int) -> str:
        entry = self.cases[i]
        return entry if isinstance(entry, str) else f"{entry.shape}{entry.dtype}{entry.sum()}"

    def source_name(self, i: int) -> str:
        return f"case {i}"


def pictures(count: int, *, seed: int = 0, side: int = 12) -> list[NDArray[Any] | str]:
    """Random uint8 pictures (side, side, 1)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (side, side, 1), np.uint8) for _ in range(count)]


class Volumes(FakeAdapter):
    """Cases given whole, or the kind of a `CaseError`."""

    def __init__(self, cases: Sequence[Case | str]) -> None:
        super().__init__([c if isinstance(c, str) else c.image for c in cases])
        self.full = list(cases)

    def __getitem__(self, i: int) -> Case:
        entry = self.full[i]
        super().__getitem__(i)
        assert isinstance(entry, Case)
        return replace(entry, case_id=self.index[i].case_id)

    def scope(self) -> str:
        return "fake"


def volume(seed: int, shape: tuple[int, ...] = (40, 70, 35, 1), **parts: Any) -> Case:
    """A random volume in whole units, with mask, padding and geometry."""
    rng = np.random.default_rng(seed)
    image = rng.integers(-1024, 3000, shape).astype(np.float32)
    grid = shape[:-1]
    return Case(
        image=image,
        case_id="x",
        mask=rng.integers(0, 3, grid).astype(np.int32),
        padding=rng.random(grid) < 0.1,
        geometry=Geometry((2.5, 0.7, 0.7), (1.0, -2.0, 3.5), ((0, 0, 1), (0, 1, 0), (1, 0, 0))),
        **parts,
    )

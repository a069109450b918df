"""A small adapter for tests, whose cases are arrays or errors."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import IndexRow, Skip, Task
from data_adapters.case import Case
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

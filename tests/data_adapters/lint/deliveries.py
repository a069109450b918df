"""A clean delivery in memory, and ways of spoiling exactly one thing about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import IndexRow, Skip, Task
from data_adapters.case import Case, Geometry, Lesion
from data_adapters.dicom.model import Instance
from data_adapters.errors import CaseError
from data_adapters.findings import Finding

SIDE = 24


@dataclass
class Delivery:
    """An adapter over cases in a list, to be spoilt before it is linted."""

    cases: list[Case]
    rows: list[IndexRow]
    files: list[tuple[Instance, ...]]
    class_names: tuple[str, ...] = ("no", "yes")
    task: Task = "single"
    modality: str | None = None
    kind: str = "delivery"
    positive: str | None = None
    bans: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def index(self) -> tuple[IndexRow, ...]:
        return tuple(self.rows)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, i: int) -> Case:
        if i in self.broken:
            raise CaseError(self.rows[i].case_id, self.broken[i], "the file is spoilt")
        return self.cases[i]

    def instances(self, i: int) -> Sequence[Instance]:
        return self.files[i]

    def identity(self) -> str:
        return hashlib.sha256("".join(map(self.file_key, range(len(self)))).encode()).hexdigest()

    def file_key(self, i: int) -> str:
        return f"{i}|{self.cases[i].image.shape}|{float(np.nansum(self.cases[i].image))}"

    def source_name(self, i: int) -> str:
        return f"Doe^John/{i}.dcm"

    def change(self, i: int, **changes: Any) -> None:
        """Replace fields of case `i`."""
        self.cases[i] = replace(self.cases[i], **changes)

    def change_row(self, i: int, **changes: Any) -> None:
        """Replace fields of row `i`."""
        self.rows[i] = replace(self.rows[i], **changes)

    def change_file(self, i: int, **changes: Any) -> None:
        """Replace fields of the header of case `i`."""
        self.files[i] = (replace(self.files[i][0], **changes),)


def picture(seed: int, *, shape: tuple[int, ...] = (SIDE, SIDE, 1)) -> NDArray[np.float32]:
    """Noise around -20, unlike that of any other seed; a CT of water, if it were one."""
    noise = np.random.default_rng((7, seed)).normal(-20.0, 60.0, shape)
    return np.rint(noise).astype(np.float32)


def clean(task: Task = "single", *, volumes: bool = False) -> Delivery:
    """Two dozen MR cases of as many patients, of which lint has nothing to say."""
    shape = (6, SIDE, SIDE, 1) if volumes else (SIDE, SIDE, 1)
    cases, rows, files = [], [], []
    for i in range(24):
        case_id, patient = f"c{i:03d}", f"p{i:03d}"
        image = picture(i, shape=shape)
        spacing = (2.0, 1.0, 1.0) if volumes else (1.0, 1.0)
        truth = _truth(task, i, image.shape[:-1])
        cases.append(
            Case(
                image=image,
                case_id=case_id,
                patient_id=patient,
                geometry=Geometry(spacing),
                meta={"modality": "MR"},
                **truth,
            )
        )
        label = i % 2 if task == "single" else None
        rows.append(IndexRow(case_id, patient, label, study_id=f"s{i}", series_id=f"e{i}"))
        files.append((header(i),))
    names = {"segmentation": ("background", "organ"), "detection": ("lesion",)}
    return Delivery(cases, rows, files, class_names=names.get(task, ("no", "yes")), task=task)


def _truth(task: Task, i: int, grid: tuple[int, ...]) -> dict[str, Any]:
    if task == "single":
        return {"label": i % 2}
    if task == "segmentation":
        mask = np.zeros(grid, np.uint8)
        mask[..., 5:12, 5:12] = 1
        return {"mask": mask}
    box = (*(1.0 for _ in grid), *(float(min(size, 9)) for size in grid))
    return {"lesions": (Lesion(0, box=box),)}


def header(i: int) -> Instance:
    """The header of a clean MR slice."""
    return Instance(
        path=f"{i}.dcm",
        name=f"{i}.dcm",
        size=1000,
        mtime_ns=1,
        sop_class="1.2.840.10008.5.1.4.1.1.4",
        sop_uid=f"1.2.{i}",
        study_uid=f"1.3.{i}",
        series_uid=f"1.4.{i}",
        modality="MR",
        patient_id=f"MRN{i}",
        image_type=("ORIGINAL", "PRIMARY"),
        rows=SIDE,
        columns=SIDE,
        photometric="MONOCHROME2",
        position=(0.0, 0.0, 0.0),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        spacing=(1.0, 1.0),
    )


Spoil = Callable[[Delivery], None]

"""A finished run made by hand, without a network: what the pages need of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_adapters.adapter import IndexRow, Skip
from data_adapters.case import Case, Geometry
from data_adapters.leakage_result import LeakageResult
from data_adapters.splits import Splits
from recipes.config import load_config
from recipes.evaluation.masks import case_rows, score_case, summarise
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fingerprint import Fingerprint, Intensity
from recipes.segmentation.plan import Network, Plan
from recipes.segmentation.report.inputs import Finished
from recipes.segmentation.scoring import Scored
from tests.recipes.report_inputs import NASTY

SECRET = "/mnt/doe_jane/scans/case.nii.gz"
"""A path that no page may show."""
CLASSES = ("background", NASTY, "missed")


@dataclass
class Cases:
    """An adapter of volumes with a block of each class."""

    count: int = 5
    burned_in: str | None = None
    kind: str = "table"

    @property
    def index(self) -> tuple[IndexRow, ...]:
        """Cases of three patients."""
        return tuple(IndexRow(f"c{i}", patient_id=f"p{i % 3}") for i in range(self.count))

    def __getitem__(self, i: int) -> Case:
        rng = np.random.default_rng(i)
        mask = np.zeros((6, 12, 10), np.int16)
        mask[1:4, 2:7, 2:6] = 1
        mask[4, 8:11, 7:9] = 2
        image = rng.normal(size=(*mask.shape, 1)).astype(np.float32) + 3 * mask[..., None]
        meta = {} if self.burned_in is None else {"burned_in": self.burned_in}
        return Case(image, f"c{i}", mask=mask, geometry=Geometry((2.0, 1.0, 1.0)), meta=meta)


@dataclass
class Found:
    """Predictions that are further off from case to case; the second class is never found."""

    adapter: Cases
    part: str = "test"
    rows: tuple[int, ...] = (0, 1, 2, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, i: int) -> tuple[np.ndarray, Case]:
        """Mask and case."""
        case = self.adapter[self.rows[i]]
        assert case.mask is not None
        return case.mask, case

    def labels(self, i: int) -> np.ndarray:
        """The block, moved."""
        mask = self.truth(i)[0]
        return np.roll(np.where(mask == 1, 1, 0), i, axis=2).astype(np.uint8)


@dataclass
class Parts:
    """As much of `Prepared` as the pages need."""

    adapter: Cases
    plan: Plan
    fingerprint: Fingerprint
    leakage: LeakageResult
    skipped: tuple[Skip, ...] = (Skip("c9", "unreadable", f"cannot read {SECRET}"),)
    notes: tuple[str, ...] = ("a note of the data",)
    held: dict[str, list[int]] = field(
        default_factory=lambda: {"train": [4], "val": [], "test": [0, 1, 2, 3]}
    )

    def rows(self, part: str) -> list[int]:
        """Rows of a part."""
        return self.held[part]

    def groups(self, rows: list[int]) -> list[str | None]:
        """Patients."""
        return [self.adapter.index[i].patient_id for i in rows]


def finished(
    *,
    pictures: str = "yes",
    burned_in: str | None = None,
    part: str = "test",
    marked: bool = False,
    changes: tuple[str, ...] = (),
    facts: dict[str, Any] | None = None,
) -> Finished:
    """A run on blocks: one class found more or less, one never."""
    adapter = Cases(burned_in=burned_in)
    config = load_config(
        SegmentationConfig,
        changes=["seed=17", f"report.pictures={pictures}", "evaluate.n_boot=100", *changes],
    )
    predicted = Found(adapter, part=part)
    return Finished(
        config=config,
        prepared=_parts(adapter, marked),  # type: ignore[arg-type]
        scored=[_scored(predicted)],
        history=[
            {"member": 0, "epoch": e, "loss": 1 / e, "val_dice": 1 - 0.5 / e, "best": e == 3,
             f"val_dice_{NASTY}": 0.9, "val_dice_missed": 0.0}
            for e in (1, 2, 3)
        ],
        facts={
            "schedule": {"rounds": 3, "total": 600, "steps": 200, "step_seconds": 0.1},
            "devices": {"devices": ["CPU:0"], "precision": "float32", "notes": []},
            "augment": {"bans": ["flip_lr"], "swaps": [[1, 2]], "rotate_deg": 30.0, "noise": 0.0},
            "parameters": 12345,
            "mirrors": [0, 2],
            "postprocess": [{"step": "largest_component", "label": 2}],
            "stopped": {"0": 3},
            **(facts or {}),
        },
        seconds={"data": 1.0, "training": 200.0, "evaluation": 9.0},
    )  # fmt: skip


def _scored(predicted: Found) -> Scored:
    cases = []
    for i in range(len(predicted)):
        truth, case = predicted.truth(i)
        cases.append(
            score_case(
                truth,
                predicted.labels(i),
                class_names=CLASSES,
                spacing=(2.0, 1.0, 1.0),
                case_id=case.case_id,
                patient_id=predicted.adapter.index[predicted.rows[i]].patient_id,
            )
        )
    metrics = summarise(cases, n_boot=100)
    return Scored(predicted.part, predicted, tuple(case_rows(cases)), metrics)  # type: ignore[arg-type]


def _parts(adapter: Cases, marked: bool) -> Parts:
    plan = Plan(
        dims=3,
        chain=({"step": "normalize", "how": "zscore"},),
        patch=(8, 12, 12),
        batch=2,
        channels=1,
        classes=CLASSES,
        network=Network(kind="unet", widths=(8, 16), strides=((1, 1, 1), (2, 2, 2))),
        reasons=(f"as {SECRET} says",),
    )
    found = Fingerprint(
        n=1,
        axes=3,
        channels=1,
        stored=(1,),
        modality="MR",
        class_names=CLASSES,
        shapes=((6, 12, 10),),
        spacings=((2.0, 1.0, 1.0),),
        orientation=None,
        sided=None,
        intensity=(Intensity(0, 1, 2, 1, 1),),
        volumes={NASTY: (0.12,), "missed": (0.012,)},
        present={NASTY: 1.0, "missed": 1.0},
        integer8=False,
        skipped={},
    )
    splits = Splits(parts=("test",) * 4 + ("train",), unit="patient", official=False)
    leakage = LeakageResult(splits, "allow" if marked else "stop", marked=marked)
    return Parts(adapter, plan, found, leakage)

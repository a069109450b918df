"""From an adapter to parts, a plan and a store of preprocessed cases."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters import adapter as adapters
from data_adapters.errors import DataError
from data_adapters.folds import choose_splits, frozen_splits, make_folds
from data_adapters.home import home
from data_adapters.leakage import LeakageResult, check_patients
from data_adapters.split_table import SplitRow, read_splits, split_rows
from data_adapters.splits import Splits
from data_adapters.store import Store, build_store
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.gate import beside_pretraining, check_pretraining, pretrained_on
from recipes.segmentation.config import DataConfig, SegmentationConfig
from recipes.segmentation.derived import Merged, values_of
from recipes.segmentation.fingerprint import Fingerprint, take_fingerprint
from recipes.segmentation.plan import Plan, pretrained_inputs
from recipes.segmentation.rules import Machine, make_plan

PARTS = ("train", "val", "test")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Data cut into parts, planned for and preprocessed; rows are those of the adapter.

    Attributes:
        adapter: Where the cases come from.
        store: The cases after the plan's chain.
        plan: The plan.
        fingerprint: What it was made from; None where the plan was given and nothing was looked at.
        leakage: What the patient gate found; its splits are the run's.
        skipped: Cases left out, with the reason.
        notes: Sentences for the report.
        data_hash: Hash of ids, contents and parts.
    """

    adapter: adapters.Adapter
    store: Store
    plan: Plan
    fingerprint: Fingerprint
    leakage: LeakageResult
    skipped: tuple[adapters.Skip, ...]
    notes: tuple[str, ...]
    data_hash: str

    def rows(self, part: str) -> list[int]:
        """Readable rows of a part, ascending."""
        readable = set(self.store.usable())
        without = {skip.case_id for skip in self.skipped}
        index = self.adapter.index
        return [
            i
            for i, name in enumerate(self.leakage.splits.parts)
            if name == part and i in readable and index[i].case_id not in without
        ]

    def groups(self, rows: list[int]) -> list[str | None]:
        """Patient of every row, None where unknown."""
        return [self.adapter.index[i].patient_id for i in rows]

    def ids(self, rows: list[int]) -> list[str]:
        """Case ids of rows."""
        return [self.adapter.index[i].case_id for i in rows]

    def split_table(self) -> list[SplitRow]:
        """The lines of splits.csv."""
        return split_rows(self.adapter.index, self.leakage.splits, notes=self.leakage.case_notes())


def open_data(source: str, config: DataConfig) -> adapters.Adapter:
    """Open data with masks; a fold of the data's own ``splits.json`` where there is one.

    Raises:
        data_adapters.errors.DataError: Nothing can read it.
        RecipeError: The data have no masks, or not the classes to merge.
    """
    options: dict[str, Any] = {k: v for k, v in config.columns.model_dump().items() if v}
    if config.modality is not None:
        options["modality"] = config.modality
    if config.slices:
        options["slices"] = True
    adapter = adapters.open(source, **options)
    adapter = own_fold(adapter, source, config.fold, options) or adapter
    if adapter.task == "detection" and adapter.kind in ("coco", "voc"):
        adapter = adapters.open(source, task="segmentation", **options)
    if adapter.task != "segmentation":
        raise RecipeError(
            f"the truth of these data ({adapter.kind}) is {adapter.task}, and segmentation wants "
            "masks: a Decathlon or nnU-Net folder, DICOM with SEG or RTSTRUCT, COCO polygons, or a "
            "table of path and mask"
        )
    if config.merge:
        values = values_of(adapter.class_names, config.merge, key="data.merge")
        return Merged(adapter, values)
    return adapter


def own_fold(
    adapter: adapters.Adapter, source: str, fold: int | None, options: dict[str, Any]
) -> adapters.Adapter | None:
    """The data cut by a fold of their own (``splits.json``); None where they bring none.

    Args:
        adapter: The data, opened.
        source: Where from.
        fold: Which; None is no fold.
        options: What they were opened with.
    """
    path = adapters.local_path(source)
    folder = path if path.is_dir() else path.parent
    there = any((folder / name).is_file() for name in ("splits.json", "splits_final.json"))
    if fold is None or adapter.kind not in ("decathlon", "nnunet") or not there:
        return None
    return adapters.open(source, fold=fold, **options)


def choose_parts(adapter: adapters.Adapter, config: DataConfig, *, seed: int) -> Splits:
    """The parts of a run: a table's, the data's own, a fold's, or a fresh split by patient.

    Raises:
        data_adapters.errors.SplitError: The cut is impossible, or the table is of other data.
    """
    index = adapter.index
    if config.splits is not None:
        return frozen_splits(index, read_splits(Path(config.splits)))
    given = {row.part for row in index}
    if config.fold is not None and not {"train", "val"} <= given:
        if config.fold >= config.folds:
            raise ConfigError(f"data.fold={config.fold} of {config.folds} folds: they count from 0")
        folds = make_folds(index, seed=seed, count=config.folds, task=adapter.task)
        return folds.splits(config.fold, held_out="val")
    return choose_splits(
        index,
        seed=seed,
        fractions=config.fractions,
        class_names=adapter.class_names,
        task=adapter.task,
    )


def prepare(
    adapter: adapters.Adapter,
    config: SegmentationConfig,
    machine: Machine,
    *,
    plan: Plan | None = None,
    seen: adapters.Adapter | None = None,
    amend: Callable[[Plan], Plan] = lambda plan: plan,
    looking: Progress = lambda done, total: None,
    storing: Progress = lambda done, total: None,
) -> Prepared:
    """Cut into parts, take the fingerprint of the training part, plan, preprocess.

    Args:
        adapter: The opened data.
        config: The run's configuration.
        machine: What there is to compute with.
        plan: A plan made before (a resumed run): it is kept.
        seen: What the fingerprint is taken from, row for row the same cases; None: the adapter.
        amend: Changes the plan that the rules make.
        looking: Called with (done, total) while the fingerprint is taken.
        storing: Called with (done, total) while cases are preprocessed.

    Raises:
        RecipeError: Nothing can be trained or validated on.
        data_adapters.errors.DataError: Parts are impossible or leak, or no case can be read.
    """
    cut = choose_parts(adapter, config.data, seed=config.seed)
    leakage = _gate(adapter, cut, config.data)
    splits = leakage.splits
    train = [i for i, part in enumerate(splits.parts) if part == "train"]
    found, skipped = take_fingerprint(
        seen or adapter, train, modality=config.data.modality, progress=looking
    )
    plan = plan or amend(make_plan(found, config, machine))
    leakage = check_weights(adapter, cut, config.data, plan.network.weights, looking) or leakage
    notes = (*adapter.notes, *leakage.splits.notes, *pretrained_inputs(plan))
    store = build_store(adapter, list(plan.chain), home=home(), progress=storing)
    everything = (*adapter.skipped, *store.skipped, *skipped)
    known = {skip.case_id: skip for skip in everything}
    without = [i for i in store.usable() if splits.parts[i] and not _has_mask(store, i)]
    for i in without:
        case_id = adapter.index[i].case_id
        known.setdefault(case_id, adapters.Skip(case_id, "no-mask", "the case has no mask"))
    prepared = Prepared(
        adapter=adapter,
        store=store,
        plan=plan,
        fingerprint=found,
        leakage=leakage,
        skipped=tuple(known.values()),
        notes=notes,
        data_hash=_data_hash(adapter, store, splits),
    )
    for part in ("train", "val"):
        if not prepared.rows(part):
            raise RecipeError(f"the {part} part holds no case that can be read and has a mask")
    return prepared


def _gate(
    adapter: adapters.Adapter, cut: Splits, config: DataConfig, **beside: Any
) -> LeakageResult:
    return check_patients(
        adapter.index, cut, policy=config.leakage, class_names=adapter.class_names, **beside
    )


def check_weights(
    adapter: adapters.Adapter,
    cut: Splits,
    config: DataConfig,
    weights: str | None,
    progress: Progress,
) -> LeakageResult | None:
    """The leakage gate with the cases that weights were pretrained on.

    Args:
        adapter: The cases.
        cut: Their parts.
        config: The policy.
        weights: ``imagenet``, ``none``, or a file.
        progress: Called with (done, total) while cases are read.

    Returns:
        What the gate found; None for weights of which nothing is listed.

    Raises:
        RecipeError: They have seen validation or test cases.
        data_adapters.errors.LeakageError: Likewise, under the policy ``stop``.
    """
    seen = pretrained_on(weights) if weights else None
    if seen is None:
        return None
    tested = [i for i, part in enumerate(cut.parts) if part in PARTS[1:]]
    digests = beside_pretraining(seen, adapter, tested, progress)
    leakage = _gate(adapter, cut, config, others=[seen], beside=digests)
    check_pretraining(leakage)
    return leakage


def image_of(store: Store, row: int) -> npt.NDArray[np.float32]:
    """A whole preprocessed image, ``(D, H, W, C)`` or ``(H, W, C)`` float32."""
    shape = store.shape(row)
    box = store.patch(row, (0,) * (len(shape) - 1), shape[:-1])
    return np.asarray(box, np.float32)


def mask_of(store: Store, row: int) -> npt.NDArray[Any]:
    """A whole preprocessed mask on the image's grid."""
    shape = store.shape(row)[:-1]
    return store.patch(row, (0,) * len(shape), shape, array="mask")


def _has_mask(store: Store, row: int) -> bool:
    try:
        return "mask" in store.arrays(row)
    except DataError:
        return False


def _data_hash(adapter: adapters.Adapter, store: Store, splits: Splits) -> str:
    total = hashlib.sha256()
    for i, (row, part) in enumerate(zip(adapter.index, splits.parts, strict=True)):
        total.update(f"{row.case_id}|{row.patient_id}|{part}|{store.file_key(i)}\n".encode())
    return total.hexdigest()

"""Cascades: one network finds the organ or its coarse shape, a second one works from there.

``region``: the first network segments the organ on coarse voxels, the second all classes inside a
box around it (liver, then tumours inside it; Christ et al., MICCAI 2016, arXiv:1610.02177).
``resolution``: the first segments all classes on coarse voxels, the second on fine ones with the
first's classes as further channels (Isensee et al., 2021, doi:10.1038/s41592-020-01008-z).

Both are trained in one run and used as one model: the second stage is the run's own, the first
lies in its folder ``first``. Validation and test cases are led by what the first network predicts,
as new cases will be. In training, boxes come from the truth; coarse classes come from the first
network, which has seen those cases: its errors there are smaller than on new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError
from data_adapters.transforms.guides import Region
from recipes.engine.checkpoint import disk_error
from recipes.errors import ConfigError
from recipes.segmentation.config import CascadeConfig, SegmentationConfig
from recipes.segmentation.derived import Derived, Merged, values_of
from recipes.segmentation.plan import Plan
from recipes.segmentation.segmenter import Segmenter, guide_of, guided

Progress = Callable[[int, int], None]


class InRegion(Derived):
    """Cases cut to the box around their true organ: what a second plan is made from."""

    def __init__(self, inner: Adapter, values: tuple[int, ...], margin: float) -> None:
        """Remember the organ's mask values and the room around it in mm."""
        super().__init__(inner, f"in region {values} {margin}")
        self.values = values
        self.step = Region(margin=margin)

    def changed(self, i: int, case: Case) -> Case:
        """The case inside the box; whole where it has no organ."""
        if case.mask is None:
            return case
        return self.step.apply(guided(case, true_box(case.mask, self.values), "region", ()))[0]


class Guided(Derived):
    """Cases with the guides of a first stage, read from the run folder."""

    def __init__(
        self, inner: Adapter, folder: Path, kind: str, names: Sequence[str], key: str
    ) -> None:
        """Remember where the guides lie, and which first stage they are of."""
        super().__init__(inner, f"guided {kind} {key}")
        self.folder, self.guide_kind, self.names = folder, kind, tuple(names)

    def changed(self, i: int, case: Case) -> Case:
        """The case with its guide.

        Raises:
            CaseError: The guide is gone or damaged.
        """
        try:
            guide = read_guide(self.folder, i)
        except (OSError, ValueError, KeyError):
            raise CaseError(case.case_id, "no-guide", "its first-stage result is gone") from None
        return guided(case, guide, self.guide_kind, self.names)


def true_box(mask: npt.NDArray[Any], values: tuple[int, ...]) -> npt.NDArray[Any]:
    """The guide ``region`` that the truth gives."""
    return guide_of(np.isin(mask, values), "region")


def organ_names(names: Sequence[str], cascade: CascadeConfig) -> tuple[str, ...]:
    """Classes of the organ."""
    return tuple(names[1:]) if cascade.organ == "auto" else cascade.organ


def organ_values(names: Sequence[str], cascade: CascadeConfig) -> tuple[int, ...]:
    """Mask values of the organ.

    Raises:
        ConfigError: A name is no class of the data, or there is none.
    """
    return values_of(names, organ_names(names, cascade), key="cascade.organ")


def first_adapter(adapter: Adapter, cascade: CascadeConfig) -> Adapter:
    """What the first network learns from.

    Raises:
        ConfigError: The organ names no class of the data.
    """
    if cascade.kind == "resolution":
        return adapter
    return Merged(adapter, organ_values(adapter.class_names, cascade))


def seen_adapter(adapter: Adapter, cascade: CascadeConfig) -> Adapter:
    """What the plan of the second network is made from; needs no first network."""
    if cascade.kind == "resolution":
        return adapter
    values = organ_values(adapter.class_names, cascade)
    return InRegion(adapter, values, cascade.margin)


def first_config(config: SegmentationConfig, names: Sequence[str]) -> SegmentationConfig:
    """Configuration of the first stage: coarser voxels, its share of time, one network.

    Args:
        config: The run's.
        names: Classes of the data, background first.

    Raises:
        ConfigError: A plan's file is given, which is one network's.
    """
    cascade, train = config.cascade, config.train
    if config.plan.file is not None:
        raise ConfigError(
            "plan.file is the plan of one network, and cascade.kind asks for two; leave one out, "
            "and give wishes such as plan.patch (the second network) or cascade.factor"
        )
    steps = cascade.steps
    if steps == "auto" and train.steps != "auto":
        steps = max(1, round(train.steps * cascade.share))
    rounds = train.rounds if cascade.rounds == "auto" else cascade.rounds
    data: dict[str, Any] = {"lint": "off"}
    if cascade.kind == "region":
        data |= {"pairs": (), "merge": organ_names(names, cascade)}
    plan = {
        "budget_minutes": config.plan.budget_minutes * cascade.share,
        "coarser": cascade.factor * config.plan.coarser,
        "patch": "auto",
        "batch": "auto",
    }
    return config.model_copy(
        update={
            "cascade": CascadeConfig(),
            "data": config.data.model_copy(update=data),
            "plan": config.plan.model_copy(update=plan),
            "model": config.model.model_copy(update={"members": 1}),
            "train": train.model_copy(update={"steps": steps, "rounds": rounds}),
            "evaluate": config.evaluate.model_copy(update={"membranes": False}),
        }
    )


def second_config(config: SegmentationConfig) -> SegmentationConfig:
    """Configuration that the second stage is planned and trained by: what is left of the time."""
    cascade, train = config.cascade, config.train
    left = {"budget_minutes": config.plan.budget_minutes * (1 - cascade.share)}
    steps = train.steps
    if steps != "auto" and cascade.steps == "auto":
        steps = max(1, steps - round(steps * cascade.share))
    return config.model_copy(
        update={
            "plan": config.plan.model_copy(update=left),
            "train": train.model_copy(update={"steps": steps}),
        }
    )


def check_resolution(adapter: Adapter) -> None:
    """Refuse ``resolution`` for cases that have no coarser voxels.

    Raises:
        ConfigError: They are pictures, or their voxel size is unknown.
    """
    for i in range(len(adapter)):
        try:
            case = adapter[i]
        except CaseError:
            continue
        if case.image.ndim != 4 or case.geometry is None:
            raise ConfigError(
                "cascade.kind=resolution wants volumes whose voxel size is known; give region, or "
                "leave the cascade out"
            )
        return


def second_plan(plan: Plan, cascade: CascadeConfig) -> Plan:
    """The plan of the second stage: led by the first one."""
    reasons = (*plan.reasons, _reason(cascade))
    if cascade.kind == "region":
        step = {"step": "region", "margin": cascade.margin}
        return plan.model_copy(update={"chain": (step, *plan.chain), "reasons": reasons})
    low, high = plan.network.input_range if plan.network.kind == "backbone" else (0.0, 1.0)
    prior = {"step": "prior", "low": low, "high": high}
    more = (len(plan.classes) - 1) * (2 * plan.neighbours + 1)
    return plan.model_copy(
        update={
            "chain": (*plan.chain, prior),
            "channels": plan.channels + more,
            "reasons": reasons,
        }
    )


def _reason(cascade: CascadeConfig) -> str:
    if cascade.kind == "region":
        return (
            f"inside a box around the organ that the first network finds, {cascade.margin:g} mm "
            "wider on every side"
        )
    return (
        f"the classes that the first network finds on voxels {cascade.factor:g} times as coarse "
        "are further channels"
    )


def write_guides(
    first: Segmenter,
    adapter: Adapter,
    folder: Path,
    *,
    cascade: CascadeConfig,
    train: set[int],
    progress: Progress,
) -> int:
    """Lead every case by the first stage; what is there is kept.

    Args:
        first: The finished first stage.
        adapter: The cases, all classes.
        folder: Where guides go, one file per row.
        cascade: Kind and organ.
        train: Rows of the training part: their boxes come from the truth.
        progress: Called with (done, total).

    Returns:
        Cases outside training in which the first stage found nothing.
    """
    without = 0
    values = organ_values(adapter.class_names, cascade)
    for i in range(len(adapter)):
        path = guide_path(folder, i)
        if not path.is_file():
            try:
                case = adapter[i]
                if cascade.kind == "region" and i in train and case.mask is not None:
                    guide = true_box(case.mask, values)
                else:
                    guide = guide_of(first.segment(case), cascade.kind)
            except DataError:
                # The store skips a case that cannot be read, with its reason.
                progress(i + 1, len(adapter))
                continue
            _write(path, guide)
        if i not in train:
            guide = read_guide(folder, i)
            without += not (len(guide) if cascade.kind == "region" else guide.any())
        progress(i + 1, len(adapter))
    return without


def guide_path(folder: Path, row: int) -> Path:
    """File of a row's guide."""
    return folder / f"{row:06d}.npz"


def read_guide(folder: Path, row: int) -> npt.NDArray[Any]:
    """A guide as `write_guides` left it."""
    with np.load(guide_path(folder, row), allow_pickle=False) as content:
        return np.asarray(content["guide"])


def _write(path: Path, guide: npt.NDArray[Any]) -> None:
    partial = path.with_suffix(".partial.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(partial, guide=guide)
        partial.replace(path)
    except OSError as error:
        raise disk_error(error, path.name) from error

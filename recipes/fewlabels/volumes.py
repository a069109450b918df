"""Patches of volumes for masked pretraining, prepared as a segmentation of the same data is.

Spacing, orientation, scaling of values, patch and augmentation come from the rules of
`recipes.segmentation`, applied to cases whose masks, if they have any, are blanked; cases lie
preprocessed in a store, of which only patches are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from data_adapters.adapter import Adapter, IndexRow
from data_adapters.case import Case
from data_adapters.home import home
from data_adapters.patches import PatchStream
from data_adapters.store import Store, build_store
from recipes.config import digest, load_config
from recipes.engine.devices import choose_devices
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.gate import native_digest
from recipes.fewlabels.learners import hidden_patches
from recipes.fewlabels.material import (
    WATCHED,
    Example,
    Floats,
    example,
    learnt_rows,
    showable,
    spaced,
)
from recipes.progress import Reporter
from recipes.segmentation.augmenting import choose_policy
from recipes.segmentation.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    PlanConfig,
    SegmentationConfig,
)
from recipes.segmentation.derived import Derived
from recipes.segmentation.fingerprint import Fingerprint, take_fingerprint
from recipes.segmentation.plan import PLAN_FILE, Plan, write_plan
from recipes.segmentation.rules import Machine, make_plan, this_machine
from recipes.segmentation.spacing import resampled
from recipes.segmentation.train import value_unit
from zoo.backbones import check_input
from zoo.registry import get_spec

BLOCK = 8
"""Voxels a side of a hidden block, about."""
MOST_CUTS = 16
WATCHED_BYTES = 2e8
"""Memory for the patches whose features are looked at."""
_HIDE = 5
"""Keeps the draws of hidden blocks apart from the stream's."""


class Blanked(Derived):
    """The same cases with nothing marked in them; digests of their pixels are kept on the way."""

    def __init__(self, inner: Adapter, lift: Sequence[str]) -> None:
        """Take over the cases.

        Args:
            inner: Where they come from; their masks are not looked at.
            lift: Bans of theirs that do not hold here.
        """
        super().__init__(inner, "blanked")
        self.class_names = ("background", "case")
        self.task = "segmentation"
        self.bans = tuple(ban for ban in inner.bans if ban not in lift)
        self.digests: dict[int, str] = {}

    def changed(self, i: int, case: Case) -> Case:
        """The case with an empty mask."""
        if i not in self.digests:
            self.digests[i] = native_digest(case)
        blank = np.zeros(case.image.shape[:-1], np.uint8)
        return replace(case, mask=blank, masks=None, lesions=(), label=None, labels=None)


class VolumeBatches(keras.utils.PyDataset):
    """One epoch: patches and what is hidden of them, each a function of (seed, epoch, index)."""

    def __init__(
        self, stream: PatchStream, *, epoch: int, blocks: Sequence[int], share: float
    ) -> None:
        """Keep what the batches are made of.

        Args:
            stream: Cuts the patches; its masks are below 0 beyond a case.
            epoch: From 1.
            blocks: Blocks along each side.
            share: Of them that is hidden.
        """
        super().__init__(workers=1)
        self.stream, self.number = stream, epoch
        self.blocks, self.share = blocks, share

    def __len__(self) -> int:
        """Batches in the epoch."""
        return len(self.stream)

    def __getitem__(self, index: int) -> tuple[tuple[Any, Any], Any]:
        """Batch ``index``: patches, what is hidden of them, and zeros where Keras wants targets."""
        patches, masks = self.stream.batch(self.number - 1, index)
        first = index * len(patches)
        hidden = [
            hidden_patches(
                np.random.default_rng([self.stream.seed, self.number, first + k, _HIDE]),
                mask.shape,
                patches=self.blocks,
                share=self.share,
            )
            for k, mask in enumerate(masks)
        ]
        inside = (masks >= 0)[..., None]  # beyond the case there is nothing to rebuild
        return (patches, np.stack(hidden) * inside), np.zeros((len(patches), 1), "float32")


class PatchMaterial:
    """Patches of volumes; attributes are those of `Material`, and:

    Attributes:
        plan: How cases become patches, as of a segmentation.
    """

    def __init__(
        self, adapter: Adapter, config: PretrainConfig, reporter: Reporter, *, folder: Path
    ) -> None:
        """Look at every case, plan, and store the cases preprocessed; what is stored stays.

        Args:
            adapter: Volumes.
            config: The configuration.
            reporter: Progress.
            folder: Where the plan is kept, so that a resumed run has the same.

        Raises:
            RecipeError: No case can be read, or a wish does not fit the data.
            data_adapters.errors.DataError: The data cannot be read.
            zoo.errors.ZooError: The backbone cannot be built on such patches.
        """
        self.config = config
        blank = Blanked(adapter, config.views.lift)
        self.adapter: Adapter = blank
        learnt = learnt_rows(adapter)
        if not learnt:
            raise RecipeError("all cases belong to a val or test part; there is nothing to learn")
        with reporter.task("looking at cases", len(learnt)) as step:
            self.found, unreadable = take_fingerprint(
                blank, learnt, modality=config.data.modality, progress=step
            )
        self.plan = _kept_plan(folder, self.found, config)
        spec = get_spec(config.model.backbone)
        self.shape = (*self.plan.patch, self.plan.channels)
        check_input(spec, self.shape, dims=3)
        with reporter.task("storing cases", len(adapter)) as step:
            self.store: Store = build_store(
                blank, list(self.plan.chain), home=home(), progress=step
            )
        usable, bad = set(self.store.usable()), {skip.case_id for skip in unreadable}
        self.rows = [i for i in learnt if i in usable and blank.index[i].case_id not in bad]
        if not self.rows:
            raise RecipeError("no case can be preprocessed; `radzoo data lint` says why")
        self.n_skipped = len(learnt) - len(self.rows)
        self.hash = digest([[blank.index[i].case_id, self.store.file_key(i)] for i in self.rows])
        self.limits = self.plan.network.input_range
        self.batch = self.plan.batch
        self.cuts = _cuts(self.found, self.plan, config)
        self.steps = max(1, len(self.rows) * self.cuts // self.batch)
        self.blocks = _blocks(self.plan.patch, config)
        self.policy = choose_policy(blank, _segmentation(config), volumes=True)
        self.bans = () if self.policy is None else self.policy.bans
        self.stream = PatchStream(
            self.store,
            self.rows,
            patch_size=self.plan.patch,
            batch_size=self.batch,
            steps=self.steps,
            seed=config.seed,
            policy=self.policy,
            foreground=0.0,
            void_outside=True,
            unit=value_unit(self.plan),
        )

    def epoch(self, epoch: int) -> keras.utils.PyDataset:
        """As of `Material`."""
        return VolumeBatches(
            self.stream, epoch=epoch, blocks=self.blocks, share=self.config.views.hidden
        )

    def watched(self) -> Floats:
        """As of `Material`: the middle of cases."""
        most = int(WATCHED_BYTES / (4 * math.prod(self.shape)))
        rows = spaced(self.rows, min(WATCHED, max(8, most)))
        return np.stack([self._middle(row) for row in rows])

    def examples(self) -> list[Example]:
        """As of `Material`: the middle of cases."""
        return [
            example(
                self.adapter,
                row,
                self._middle(row),
                self.config,
                self.blocks,
                colours=False,
            )
            for row in showable(self.adapter, self.rows, self.config)
        ]

    def seen(self) -> list[tuple[IndexRow, str]]:
        """As of `Material`."""
        blank = self.adapter
        assert isinstance(blank, Blanked)
        return [(blank.index[i], blank.digests[i]) for i in self.rows]

    def facts(self) -> dict[str, Any]:
        """As of `Material`."""
        return {
            "volumes": "patches",
            "spacing": None if self.plan.spacing is None else list(self.plan.spacing),
            "patches_in_epoch": self.steps * self.batch,
            "batch_size": self.batch,
            "blocks": list(self.blocks),
            "reasons": list(self.plan.reasons),
        }

    def _middle(self, row: int) -> Floats:
        sides = self.store.shape(row)[:-1]
        start = [(n - side) // 2 for n, side in zip(sides, self.plan.patch, strict=True)]
        return np.asarray(self.store.patch(row, start, self.plan.patch), np.float32)


def _segmentation(config: PretrainConfig) -> SegmentationConfig:
    """What a segmentation by the same backbone would be told."""
    data, train = config.data, config.train
    return SegmentationConfig(
        seed=config.seed,
        data=DataConfig(modality=data.modality),
        plan=PlanConfig(dims=3, spacing=data.spacing, patch=data.patch, batch=train.batch_size),
        model=ModelConfig(
            network="backbone", backbone=config.model.backbone, weights=config.model.weights
        ),
        augment=AugmentConfig(strength=config.views.strength, bans=config.views.bans),
    )


def _kept_plan(folder: Path, found: Fingerprint, config: PretrainConfig) -> Plan:
    """The plan of this run: the one in its folder, else made now and put there."""
    path = folder / PLAN_FILE
    if path.is_file():
        return load_config(Plan, file=path)
    gpu = choose_devices("auto", "float32").kind == "GPU"
    plan = patch_plan(found, config, this_machine(gpu=gpu))
    write_plan(plan, path)
    return plan


def patch_plan(found: Fingerprint, config: PretrainConfig, machine: Machine) -> Plan:
    """Spacing, steps and patch of a pretraining: those of a segmentation by the same rules.

    Args:
        found: Fingerprint of the cases, of which nothing is marked.
        config: What it is told.
        machine: What there is to compute with.

    Raises:
        ConfigError: A wish does not fit the data.
    """
    if found.axes != 3:
        raise ConfigError("data.volumes=patches: the cases are pictures; leave it out")
    if config.data.plan is not None:
        return _like(Path(config.data.plan), found, config)
    plan = make_plan(found, _segmentation(config), machine)
    if config.data.range == "auto":
        return plan
    if plan.channels > 1:
        raise ConfigError(
            f"data.range is for one channel, and the cases have {plan.channels}; leave it out"
        )
    low, high = config.data.range
    window = {"step": "windows", "windows": [[(low + high) / 2, high - low]]}
    steps = [step for step in plan.chain if step["step"] not in ("windows", "normalize")]
    content = plan.model_dump()
    content["chain"] = (*steps, window)
    content["network"]["input_range"] = (0.0, 1.0)
    content["reasons"] = (*plan.reasons, f"values {low:g} to {high:g} to 0-1 instead, as asked")
    return Plan.model_validate(content)


def _like(path: Path, found: Fingerprint, config: PretrainConfig) -> Plan:
    """The inputs of another plan for this backbone.

    Raises:
        ConfigError: It is for another kind of network or data.
    """
    other = load_config(Plan, file=path)
    if other.dims != 3 or other.network.kind != "backbone":
        raise ConfigError(
            f"data.plan={path.name!r} is {other.dims:g}D for a network of kind "
            f"{other.network.kind}; give one in 3D made with model.network=backbone"
        )
    if other.channels != found.channels:
        raise ConfigError(
            f"data.plan={path.name!r} wants {other.channels} channels, the cases have "
            f"{found.channels}"
        )
    content = other.model_dump()
    content["classes"] = found.class_names
    content["network"] |= {"backbone": config.model.backbone, "weights": config.model.weights}
    if config.train.batch_size != "auto":
        content["batch"] = config.train.batch_size
    content["reasons"] = ("inputs as in the plan that was given",)
    return Plan.model_validate(content)


def _cuts(found: Fingerprint, plan: Plan, config: PretrainConfig) -> int:
    """Patches of a volume in an epoch."""
    if config.data.cuts != "auto":
        return config.data.cuts
    shape, _ = resampled(found, plan.spacing)
    return max(1, min(MOST_CUTS, round(math.prod(shape) / math.prod(plan.patch))))


def _blocks(patch: Sequence[int], config: PretrainConfig) -> tuple[int, ...]:
    """Blocks along each side of a patch."""
    wish = config.views.patches
    if wish == "auto":
        return tuple(max(2, side // BLOCK) for side in patch)
    if wish > min(patch):
        raise ConfigError(
            f"views.patches={wish} is more than the {min(patch)} voxels of a patch's side"
        )
    return (wish,) * len(patch)

"""Transfer learning in two phases: the head on frozen features, then stages from the top."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import zoo
from data_adapters.augment import Augmenter
from data_adapters.augment_policy import AugmentPolicy, tta_views
from data_adapters.pipeline import TrainStream, eval_stream
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared
from recipes.classification.monitor import Accuracy, FeatureBatches, accuracy, macro_auc
from recipes.classification.schedule import HEAD_BATCH, Settings
from recipes.engine.checkpoint import PhaseCheckpoint, PhaseState
from recipes.engine.devices import Devices
from recipes.engine.loop import Hooks, PhasePlan, run_phase
from recipes.engine.losses import class_weights, log_loss, make_loss, prior_offsets
from recipes.engine.modelfile import correct_prior
from recipes.fewlabels.phase import SemiPhase, with_teacher
from recipes.fewlabels.semi import SemiSupervised
from zoo.devices import to_float32
from zoo.finetune import FineTunePolicy, Guard, merge_adapters
from zoo.heads import create_model, fit_standardization, split_head

EVAL_BATCH = 64
MIRRORED = ("flip_lr", "flip_ud")


@dataclass
class Trained:
    """What training leaves behind.

    Attributes:
        members: Models with their best weights, logits at the true prevalence.
        history: One record per member, phase and epoch.
        stopped: Phases that early stopping ended, as ``"member/phase" -> epoch``.
        facts: Figures for the report (features computed once, frozen variables verified).
    """

    members: list[keras.Model] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """What the frozen backbone makes of the data, computed once.

    Attributes:
        train: ``(views * n, features)`` of the training rows, once plain and once for each
            mirrored view that the bans allow.
        targets: ``(views * n, k)``.
        val: ``(n_val, features)``, plain.
        seconds: How long that took.
    """

    train: npt.NDArray[Any]
    targets: npt.NDArray[np.float32]
    val: npt.NDArray[Any]
    seconds: float


class Trainer:
    """Trains the members of one run, one after the other."""

    def __init__(
        self,
        prepared: Prepared,
        config: ClassificationConfig,
        settings: Settings,
        *,
        folder: Path,
        policy: AugmentPolicy,
        hooks: Callable[[int, str, int], Hooks],
        devices: Devices,
    ) -> None:
        """Keep what every member shares.

        Args:
            prepared: Data, parts and targets.
            config: The run's configuration.
            settings: The configuration's ``auto`` values, resolved.
            folder: Folder of the checkpoints.
            policy: Augmentation.
            hooks: (member, phase, epochs) to progress callbacks.
            devices: Where it computes, and in which precision.
        """
        self.prepared = prepared
        self.config = config
        self.settings = settings
        self.folder = folder
        self.policy = policy
        self.hooks = hooks
        self.devices = devices
        self.spec = zoo.get_spec(config.model.backbone)
        self.train_rows = prepared.rows("train")
        self.val_rows = prepared.rows("val")
        self.weights = class_weights(
            prepared.targets[self.train_rows], task=prepared.kind, balance=config.train.balance
        )
        self.offsets = prior_offsets(self.weights)
        self.trained = Trained()
        self._pooled: Features | None = None

    def run(self) -> Trained:
        """Train every member and return them with their history."""
        self.devices.check_batch(self.config.train.batch_size)
        for member in range(self.settings.members):
            with self.devices.scope():
                model = self._member(member)
            if not self.devices.plain:
                model = to_float32(model)
            correct_prior(model, self.offsets)
            self.trained.members.append(model)
        return self.trained

    def _member(self, member: int) -> keras.Model:
        seed = self.config.seed + 1000 * member
        keras.utils.set_random_seed(seed)
        model = create_model(
            self.config.model.backbone,
            input_shape=self.prepared.input_shape,
            classes=len(self.prepared.class_names),
            weights=self.settings.weights,
            dropout=self.settings.dropout,
            input_range=self.prepared.input_range,
            pooling=self.settings.pooling,
            levels=self.settings.levels,
            hidden=self.settings.hidden,
            standardize=self.settings.hidden > 0,
        )
        if self.settings.weights is not None and self.settings.hidden:
            fit_standardization(model, self._features(split_head(model)[0]).train)
        if self.settings.head_epochs:
            self._head_phase(model, member, seed)
        if self.settings.finetune_epochs:
            self._finetune_phase(model, member, seed)
            merge_adapters(model)
        return model

    def _head_phase(self, model: keras.Model, member: int, seed: int) -> None:
        policy = self.settings.head_policy
        policy.apply(model, self.spec)
        guard = policy.guard(model)
        plan = self._plan(
            member, "head", self.settings.head_epochs, self.settings.head_patience, seed
        )
        if self.config.train.head.augment:
            steps = self._steps(self.config.train.batch_size)
            self._compile(model, self._optimizer(policy, model, plan, steps))
            data = self._stream(seed).epoch
            self._run(model, plan, data, steps, lambda: self._validate(model), after=guard.verify)
        else:
            extractor, head = split_head(model)
            pooled = self._features(extractor)
            steps = -(-len(pooled.train) // HEAD_BATCH)
            self._compile(head, self._optimizer(policy, model, plan, steps))
            state = self._run(
                head,
                plan,
                lambda epoch: FeatureBatches(pooled.train, pooled.targets, seed=seed, epoch=epoch),
                steps,
                lambda: self._figures(head.predict(pooled.val, batch_size=512, verbose=0)),
                after=guard.verify,
            )
            self._note_saving(pooled, state)
        self._note_verified(guard)

    def _finetune_phase(self, model: keras.Model, member: int, seed: int) -> None:
        policy = self.settings.policy
        if policy.adapters is not None:
            policy = replace(policy, adapters=replace(policy.adapters, seed=seed))
        if self.prepared.unlabelled is not None:
            policy = with_teacher(policy, self.config.semi)
        self.trained.facts["trainable"] = policy.apply(model, self.spec).to_dict()
        guards = [policy.guard(model)]
        plan = self._plan(
            member, "finetune", self.settings.finetune_epochs, self.settings.patience, seed
        )
        stream = self._stream(seed)
        learner, data, steps = model, stream.epoch, self._steps(self.config.train.batch_size)
        if self.prepared.unlabelled is not None:
            semi = SemiPhase(self.prepared, self.config, self.policy, stream, seed=seed)
            data, steps = semi.epoch, semi.steps
            learner = semi.wrap(
                model, self._loss(), self.offsets, self.train_rows, steps=plan.epochs * steps
            )
        optimizer = self._optimizer(policy, model, plan, steps)
        self._compile(learner, optimizer)

        def unfreeze(epoch: int) -> None:
            if policy.schedule:
                policy.apply(model, self.spec, epoch=epoch - 1)
                self._compile(learner, optimizer)
                guards.append(policy.guard(model))

        self._run(
            learner,
            plan,
            data,
            steps,
            lambda: self._validate(model),
            before=unfreeze,
            after=lambda: guards[-1].verify(),
        )
        self._note_verified(guards[0])

    def _note_verified(self, guard: Guard) -> None:
        facts = self.trained.facts
        facts["frozen_verified"] = max(facts.get("frozen_verified", 0), len(guard))

    def _plan(self, member: int, phase: str, epochs: int, patience: int, seed: int) -> PhasePlan:
        monitor = self.config.train.monitor
        return PhasePlan(member, phase, epochs, patience, monitor, seed)

    def _run(
        self,
        model: keras.Model,
        plan: PhasePlan,
        data: Callable[[int], Any],
        steps: int,
        validate: Callable[[], dict[str, float]],
        *,
        before: Callable[[int], None] = lambda epoch: None,
        after: Callable[[], None] = lambda: None,
    ) -> PhaseState:
        checkpoint = PhaseCheckpoint(
            self.folder / f"member-{plan.member}-{plan.phase}",
            fingerprint=f"{self.prepared.data_hash}-{self.settings.digest}",
        )
        state = run_phase(
            model,
            plan=plan,
            data=lambda epoch: self.devices.share(data(epoch)),
            steps=steps,
            validate=validate,
            checkpoint=checkpoint,
            hooks=self.hooks(plan.member, plan.phase, plan.epochs),
            before_epoch=before,
            after_epoch=after,
        )
        self.trained.history += state.history
        if state.stopped:
            self.trained.stopped[f"{plan.member}/{plan.phase}"] = state.epoch
        return state

    def _optimizer(
        self, policy: FineTunePolicy, model: keras.Model, plan: PhasePlan, steps: int
    ) -> keras.Optimizer:
        return policy.optimizer(model, self.spec, steps=plan.epochs * steps, steps_per_epoch=steps)

    def _compile(self, model: keras.Model, optimizer: keras.Optimizer) -> None:
        own: dict[str, Any] = {}
        if not isinstance(model, SemiSupervised):  # which has a loss and metrics of its own
            metrics = [Accuracy(self.prepared.kind, self.offsets, name="accuracy")]
            own = {"loss": self._loss(), "metrics": metrics}
        model.compile(
            optimizer=optimizer, jit_compile=self.devices.jit_compile, auto_scale_loss=False, **own
        )

    def _loss(self) -> Callable[[Any, Any], Any]:
        return make_loss(
            self.weights,
            task=self.prepared.kind,
            label_smoothing=self.config.train.label_smoothing,
        )

    def _stream(self, seed: int) -> TrainStream:
        augmenter = None
        if self.config.augment.strength != "none":
            augmenter = Augmenter(self.policy, self.prepared.input_range)
        return TrainStream(
            self.prepared.decoded.images,
            self.prepared.cache_rows(self.train_rows),
            self.prepared.targets[self.train_rows],
            batch_size=self.config.train.batch_size,
            augmenter=augmenter,
            seed=seed,
            mixup=self.config.train.mixup,
        )

    def _steps(self, batch: int) -> int:
        return -(-len(self.train_rows) // batch)

    def _validate(self, model: keras.Model) -> dict[str, float]:
        rows = self.prepared.cache_rows(self.val_rows)
        stream = eval_stream(self.prepared.decoded.images, rows, batch_size=EVAL_BATCH)
        return self._figures(model.predict(stream, verbose=0))

    def _figures(self, logits: npt.NDArray[Any]) -> dict[str, float]:
        targets = self.prepared.targets[self.val_rows]
        corrected = logits - self.offsets
        return {
            "val_loss": log_loss(targets, corrected, task=self.prepared.kind),
            "val_accuracy": accuracy(targets, corrected, task=self.prepared.kind),
            "val_auc": macro_auc(targets, corrected, task=self.prepared.kind),
        }

    def _features(self, model: keras.Model) -> Features:
        """Pooled features of the training and validation rows.

        Every member starts from the same pretrained backbone (from scratch there is no head
        phase), so the features of the first member serve them all.
        """
        if self._pooled is not None:
            return self._pooled
        start = time.perf_counter()
        mirrored = [view for view in tta_views(self.policy) if view["view"] in MIRRORED]
        train = [self._pool(model, self.train_rows, view) for view in [None, *mirrored]]
        self._pooled = Features(
            train=np.concatenate(train),
            targets=np.concatenate([self.prepared.targets[self.train_rows]] * len(train)),
            val=self._pool(model, self.val_rows, None),
            seconds=time.perf_counter() - start,
        )
        return self._pooled

    def _pool(
        self, model: keras.Model, rows: npt.NDArray[np.int64], view: dict[str, Any] | None
    ) -> npt.NDArray[Any]:
        stream = eval_stream(
            self.prepared.decoded.images,
            self.prepared.cache_rows(rows),
            batch_size=EVAL_BATCH,
            view=view,
        )
        return np.asarray(model.predict(stream, verbose=0))

    def _note_saving(self, pooled: Features, state: PhaseState) -> None:
        epochs = len(state.history)
        if "features" in self.trained.facts:
            epochs += self.trained.facts["features"]["head_epochs"]
        self.trained.facts["features"] = {
            "seconds_once": round(pooled.seconds, 2),
            "head_epochs": epochs,
            "seconds_saved": round(pooled.seconds * max(0, epochs - 1), 1),
        }

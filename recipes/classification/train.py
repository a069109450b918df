"""Transfer learning in two phases: the head on frozen features, then stages from the top."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
from recipes.classification.schedule import HEAD_BATCH, Settings
from recipes.engine.checkpoint import PhaseCheckpoint, PhaseState
from recipes.engine.loop import Hooks, PhasePlan, run_phase
from recipes.engine.losses import (
    class_weights,
    log_loss,
    make_loss,
    prior_offsets,
    probabilities,
)
from recipes.engine.modelfile import correct_prior
from zoo.finetune import (
    LayerwiseAdamW,
    frozen_snapshot,
    rate_multipliers,
    set_trainable,
    verify_frozen,
)
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
    ) -> None:
        """Keep what every member shares.

        Args:
            prepared: Data, parts and targets.
            config: The run's configuration.
            settings: The configuration's ``auto`` values, resolved.
            folder: Folder of the checkpoints.
            policy: Augmentation.
            hooks: (member, phase, epochs) to progress callbacks.
        """
        self.prepared = prepared
        self.config = config
        self.settings = settings
        self.folder = folder
        self.policy = policy
        self.hooks = hooks
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
        for member in range(self.settings.members):
            self.trained.members.append(self._member(member))
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
        correct_prior(model, self.offsets)
        return model

    def _head_phase(self, model: keras.Model, member: int, seed: int) -> None:
        set_trainable(model, self.spec, stages=0)
        frozen = frozen_snapshot(model)
        config = self.config.train.head
        plan = self._plan(
            member, "head", self.settings.head_epochs, self.settings.head_patience, seed
        )
        if config.augment:
            steps = self._steps(self.config.train.batch_size)
            self._compile(model, config.learning_rate, plan.epochs * steps, None)
            data = self._stream(seed).epoch
            state = self._run(model, plan, data, steps, lambda: self._validate(model))
        else:
            extractor, head = split_head(model)
            pooled = self._features(extractor)
            steps = -(-len(pooled.train) // HEAD_BATCH)
            self._compile(head, config.learning_rate, plan.epochs * steps, None)
            state = self._run(
                head,
                plan,
                lambda epoch: FeatureBatches(pooled.train, pooled.targets, seed=seed, epoch=epoch),
                steps,
                lambda: self._figures(head.predict(pooled.val, batch_size=512, verbose=0)),
            )
            self._note_saving(pooled, state)
        verify_frozen(model, frozen)
        self.trained.facts["frozen_verified"] = len(frozen)

    def _finetune_phase(self, model: keras.Model, member: int, seed: int) -> None:
        set_trainable(
            model, self.spec, stages=self.settings.stages, batch_norm=self.settings.batch_norm
        )
        frozen = frozen_snapshot(model)
        multipliers = rate_multipliers(model, self.spec, decay=self.settings.decay)
        plan = self._plan(
            member, "finetune", self.settings.finetune_epochs, self.settings.patience, seed
        )
        steps = self._steps(self.config.train.batch_size)
        self._compile(model, self.settings.finetune_rate, plan.epochs * steps, multipliers)
        stream = self._stream(seed)
        self._run(model, plan, stream.epoch, steps, lambda: self._validate(model))
        verify_frozen(model, frozen)
        facts = self.trained.facts
        facts["frozen_verified"] = max(facts.get("frozen_verified", 0), len(frozen))

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
    ) -> PhaseState:
        checkpoint = PhaseCheckpoint(
            self.folder / f"member-{plan.member}-{plan.phase}",
            fingerprint=f"{self.prepared.data_hash}-{self.settings.digest}",
        )
        state = run_phase(
            model,
            plan=plan,
            data=data,
            steps=steps,
            validate=validate,
            checkpoint=checkpoint,
            hooks=self.hooks(plan.member, plan.phase, plan.epochs),
        )
        self.trained.history += state.history
        if state.stopped:
            self.trained.stopped[f"{plan.member}/{plan.phase}"] = state.epoch
        return state

    def _compile(
        self, model: keras.Model, rate: float, steps: int, multipliers: dict[str, float] | None
    ) -> None:
        warmup = max(1, round(self.config.train.warmup * steps))
        schedule = keras.optimizers.schedules.CosineDecay(
            rate / warmup, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
        optimizer = LayerwiseAdamW(
            learning_rate=schedule,
            weight_decay=self.config.train.weight_decay,
            multipliers=multipliers or {},
        )
        loss = make_loss(
            self.weights,
            task=self.prepared.kind,
            label_smoothing=self.config.train.label_smoothing,
        )
        model.compile(
            optimizer=optimizer,
            loss=loss,
            metrics=[Accuracy(self.prepared.kind, self.offsets, name="accuracy")],
            jit_compile=_jit(),
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


class FeatureBatches(keras.utils.PyDataset):
    """One epoch of cached features in an order that depends on (seed, epoch) alone."""

    def __init__(
        self, features: npt.NDArray[Any], targets: npt.NDArray[Any], *, seed: int, epoch: int
    ) -> None:
        """Keep ``(n, f)`` features and ``(n, k)`` targets; copy nothing."""
        super().__init__()
        self.features = features
        self.targets = targets
        self.order = np.random.default_rng([seed, epoch]).permutation(len(features))

    def __len__(self) -> int:
        """Batches in the epoch."""
        return -(-len(self.order) // HEAD_BATCH)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Batch ``index``: features and targets."""
        rows = self.order[index * HEAD_BATCH : (index + 1) * HEAD_BATCH]
        return self.features[rows], self.targets[rows]


class Accuracy(keras.metrics.Mean):
    """Training accuracy at the true prevalence: arg-max, or 0.5 per known label."""

    def __init__(self, task: str, offsets: npt.NDArray[Any], *, name: str) -> None:
        """Keep the task and the prior offsets of the logits."""
        super().__init__(name=name)
        self.task = task
        self.offsets = offsets

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of ``(batch, k)`` targets and logits."""
        ops = keras.ops
        z = y_pred - self.offsets
        if self.task == "single":
            hits = ops.argmax(z, axis=-1) == ops.argmax(y_true, axis=-1)
            super().update_state(ops.cast(hits, "float32"))
            return
        known = ops.cast(ops.logical_not(ops.isnan(y_true)), "float32")
        hits = ops.cast((z > 0) == (y_true > 0.5), "float32")
        super().update_state(hits, sample_weight=known)


def accuracy(targets: npt.NDArray[Any], logits: npt.NDArray[Any], *, task: str) -> float:
    """Share of rows (single) or of known labels (multi-label) that are right."""
    if task == "single":
        return float((targets.argmax(axis=1) == logits.argmax(axis=1)).mean())
    known = np.isfinite(targets)
    return float(((logits > 0) == (targets > 0.5))[known].mean())


def macro_auc(targets: npt.NDArray[Any], logits: npt.NDArray[Any], *, task: str) -> float:
    """Mean one-vs-rest ROC AUC over the classes where it is defined, else NaN."""
    from sklearn.metrics import roc_auc_score

    p = probabilities(logits, task="single" if task == "single" else "multilabel")
    values = []
    for column in range(targets.shape[1]):
        known = np.isfinite(targets[:, column])
        y = targets[known, column]
        if 0 < y.sum() < len(y):
            values.append(roc_auc_score(y, p[known, column]))
    return float(np.mean(values)) if values else float("nan")


def _jit() -> bool | str:
    """XLA is 5 to 30 times slower than TensorFlow's own kernels on a CPU: only with a GPU."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))

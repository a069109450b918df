"""Training: a time budget turned once into steps, rounds of steps, validation on whole cases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from data_adapters.patches import PatchPolicy, PatchStream
from recipes.engine.batchnorm import fused_batch_norm
from recipes.engine.checkpoint import PhaseCheckpoint, write_json
from recipes.engine.devices import Devices
from recipes.engine.loop import Hooks, PhasePlan, run_phase
from recipes.errors import RecipeError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared, image_of, mask_of
from recipes.segmentation.networks import (
    build_network,
    compile_network,
    main_output,
    make_optimizer,
)
from recipes.segmentation.patchwise import (
    centre_labels,
    log_priors,
    refresh,
    whole_case,
)
from recipes.segmentation.plan import Plan
from recipes.segmentation.prediction import Predictor
from zoo.decoders.supervision import supervision_targets
from zoo.devices import to_float32

WARM, TIMED, LONGEST = 3, 6, 60
"""Steps before the measurement of a step, and inside it at least and at most."""
TIMED_SECONDS = 8.0
"""Wall time after which a measurement with enough steps ends: the first steps take batches that
were made beforehand, and so flatter."""
VALIDATION_SHARE = 0.25
"""Most of the budget that validations may take; then there are fewer of them."""
RESERVE = 0.93
"""Share of the budget that is planned for: a step is not the same each time."""
LEAST_STEPS = 20
KEPT_BYTES = 5e8
"""Validation masks kept in memory between rounds; others are read again."""


@dataclass(frozen=True)
class Schedule:
    """How long a run trains, decided once and kept in its folder.

    Attributes:
        rounds: Validations, an epoch each.
        steps: Steps in a round.
        step_seconds: Measured seconds of a step; None where the steps were given.
        validation_seconds: Measured seconds of a validation; None likewise.
    """

    rounds: int
    steps: int
    step_seconds: float | None = None
    validation_seconds: float | None = None

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.rounds * self.steps


@dataclass
class Trained:
    """What training leaves behind.

    Attributes:
        members: Networks with their best weights, one tensor of logits.
        history: One record per member and round.
        stopped: Members that stopped early -> round.
        facts: Figures for the report.
    """

    members: list[keras.Model] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: dict[int, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class _Clock(keras.callbacks.Callback):
    """Notes when each step ended, and stops once there are enough of them."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) < WARM + TIMED:
            return
        if self.times[-1] - self.times[WARM - 1] >= TIMED_SECONDS and self.model is not None:
            self.model.stop_training = True

    def step(self) -> float:
        """Mean seconds of a step, the later half of those that were timed."""
        times = self.times[WARM - 1 :]
        times = times[(len(times) - 1) // 2 :]
        return (times[-1] - times[0]) / (len(times) - 1)


class Trainer:
    """Trains the members of one run, one after the other.

    Attributes:
        monitor: Validation figure that chooses the round.
    """

    monitor = "val_dice"

    def __init__(
        self,
        prepared: Prepared,
        config: SegmentationConfig,
        *,
        folder: Path,
        policy: PatchPolicy | None,
        predictor: Predictor,
        devices: Devices,
        hooks: Callable[[int, int], Hooks],
        say: Callable[[str], None],
    ) -> None:
        """Keep what every member shares.

        Args:
            prepared: Parts, plan and store.
            config: The run's configuration.
            folder: Folder of the checkpoints.
            policy: Augmentation, None for none.
            predictor: How whole cases are predicted in validation.
            devices: Where it computes, and in which precision.
            hooks: (member, rounds) to progress callbacks.
            say: Takes a line for the user.
        """
        self.prepared = prepared
        self.config = config
        self.plan = prepared.plan
        self.folder = folder
        self.policy = policy
        self.predictor = predictor
        self.devices = devices
        self.hooks = hooks
        self.say = say
        self.trained = Trained()
        self._truth: dict[int, Any] = {}

    def run(self) -> Trained:
        """Train every member and return them with their history."""
        self.devices.check_batch(self.plan.batch)
        schedule = self._schedule()
        self.trained.facts["schedule"] = schedule.__dict__ | {"total": schedule.total}
        for member in range(self.config.model.members):
            with self.devices.scope():
                model = self._member(member, schedule)
            self.trained.members.append(to_float32(model) if not self.devices.plain else model)
        return self.trained

    def _member(self, member: int, schedule: Schedule) -> keras.Model:
        seed = self.config.seed + 1000 * member
        keras.utils.set_random_seed(seed)
        model = self._build()
        self._compile(model, schedule.total)
        stream = self._stream(seed, schedule.steps)
        main = self._whole(model, stream)
        patience = self.config.train.patience
        state = run_phase(
            model,
            plan=PhasePlan(
                member=member,
                phase="train",
                epochs=schedule.rounds,
                patience=schedule.rounds + 1 if patience == "auto" else patience,
                monitor=self.monitor,
                seed=seed,
                rate_key="train.learning_rate",
            ),
            data=lambda epoch: self.devices.share(self._batches(model, stream, epoch)),
            steps=schedule.steps,
            validate=lambda: self.validate(main()),
            checkpoint=PhaseCheckpoint(
                self.folder / f"member-{member}", fingerprint=self._fingerprint()
            ),
            hooks=self.hooks(member, schedule.rounds),
        )
        self.trained.history += state.history
        if state.stopped:
            self.trained.stopped[member] = state.epoch
        return main()

    def _whole(self, model: keras.Model, stream: PatchStream) -> Callable[[], keras.Model]:
        """Give the network for whole cases with the weights of the moment."""
        if self.plan.network.kind != "patch":
            main = main_output(model)
            return lambda: main
        shift = log_priors(stream.sampler.counts.sum(axis=0))
        dense = whole_case(model, shift)

        def now() -> keras.Model:
            refresh(dense, model, shift)
            return dense

        return now

    def validate(self, main: keras.Model) -> dict[str, float]:
        """Mean Dice of whole validation cases on the network's grid, per class and over classes.

        A class that a case has neither in truth nor in prediction does not count for it.
        """
        classes = self.plan.classes
        sums = np.zeros((2, len(classes)))
        networks = self.predictor.ready([main])
        for row in self.prepared.rows("val"):
            found = self.predictor.labels(networks, image_of(self.prepared.store, row), mirrors=())
            for k, dice in _dice(self._mask(row), found, len(classes)).items():
                sums[:, k] += (dice, 1)
        with np.errstate(invalid="ignore"):
            means = sums[0] / sums[1]
        means = means[1:]
        known = means[np.isfinite(means)]
        return {
            "val_dice": float(known.mean()) if len(known) else 0.0,
            **{
                f"val_dice_{name}": float(v) if np.isfinite(v) else 0.0
                for name, v in zip(classes[1:], means, strict=True)
            },
        }

    def _schedule(self) -> Schedule:
        """Steps and rounds: as given, or measured once and kept for a resumed run."""
        train = self.config.train
        if train.steps != "auto":
            rounds = min(train.rounds, train.steps)
            return Schedule(rounds, max(1, round(train.steps / rounds)))
        path = self.folder / "schedule.json"
        try:
            return Schedule(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            raise RecipeError(f"checkpoints/schedule.json is damaged ({error})") from error
        with self.devices.scope():
            found = self._measure()
        write_json(path, found.__dict__)
        self.say(
            f"a step takes {found.step_seconds:.2f} s, a validation {found.validation_seconds:.1f} "
            f"s: {found.total} steps in {found.rounds} rounds fill the budget"
        )
        return found

    def _measure(self) -> Schedule:
        """Time steps and one validation of a network that is thrown away."""
        keras.utils.set_random_seed(self.config.seed)
        model = self._build()
        self._compile(model, 1000)
        stream = self._stream(self.config.seed, WARM + LONGEST)
        clock = _Clock()
        with fused_batch_norm(model):
            model.fit(
                self.devices.share(self._batches(model, stream, 0)),
                verbose=0,
                callbacks=[clock],
                shuffle=False,
            )
        step = clock.step()
        main = self._whole(model, stream)()
        self._warm(main, self.prepared.rows("val")[0])
        start = time.perf_counter()
        self.validate(main)
        check = time.perf_counter() - start
        budget = self.config.plan.budget_minutes * 60 * RESERVE / self.config.model.members
        rounds = max(1, min(self.config.train.rounds, int(VALIDATION_SHARE * budget / check)))
        total = max(LEAST_STEPS, int((budget - rounds * check) / step))
        return Schedule(rounds, max(1, total // rounds), step, check)

    def _build(self) -> keras.Model:
        return build_network(self.plan)

    def _warm(self, main: keras.Model, row: int) -> None:
        """Apply the network once: the first time takes longer."""
        self.predictor.labels([main], image_of(self.prepared.store, row), mirrors=())

    def _compile(self, model: keras.Model, steps: int) -> None:
        optimizer = make_optimizer(model, self.plan, self.config.train, steps=steps)
        jit = bool(self.devices.jit_compile)
        compile_network(model, optimizer, self.config.train, self.plan.classes, jit=jit)

    def _stream(self, seed: int, steps: int) -> PatchStream:
        special: dict[str, Any] = {"foreground": self.config.train.foreground}
        if self.plan.network.kind == "patch":
            turns = {"foreground": 1.0, "background": True, "jitter": 0.0}
            special = turns | {"inside": False, "pad_value": 0.0}
        return PatchStream(
            self.prepared.store,
            self.prepared.rows("train"),
            patch_size=self.plan.patch,
            batch_size=self.plan.batch,
            steps=steps,
            seed=seed,
            policy=self.policy,
            context=self.plan.neighbours,
            **special,
            unit=value_unit(self.plan),
        )

    def _batches(self, model: keras.Model, stream: PatchStream, epoch: int) -> Any:
        batches = stream.epoch(epoch)
        if self.plan.network.kind == "patch":
            patch = self.plan.patch
            return batches.map(lambda image, mask: (image, *centre_labels(mask, patch)))
        if not isinstance(model.output, dict):
            return batches
        return batches.map(lambda image, mask: (image, supervision_targets(model, mask)))

    def _fingerprint(self) -> str:
        from recipes.config import digest

        return digest([self.prepared.data_hash, self.plan.model_dump(mode="json")])

    def _mask(self, row: int) -> Any:
        mask = self._truth.get(row)
        if mask is None:
            mask = mask_of(self.prepared.store, row)
            if mask.nbytes + sum(one.nbytes for one in self._truth.values()) <= KEPT_BYTES:
                self._truth[row] = mask
        return mask


def value_unit(plan: Plan) -> float:
    """About the standard deviation of the chain's values: what augmentation measures noise in."""
    if any(step.get("how") == "zscore" for step in plan.chain):
        return 1.0
    low, high = plan.network.input_range if plan.network.backbone is not None else (0.0, 1.0)
    return 0.25 * (high - low)


def _dice(truth: Any, found: Any, classes: int) -> dict[int, float]:
    """Dice of each class that is in truth or prediction; voxels of unknown truth do not count."""
    known = truth >= 0
    truth, found = truth[known].astype(np.int64), found[known].astype(np.int64)
    table = np.bincount(truth * classes + found, minlength=classes * classes)
    table = table.reshape(classes, classes)
    sizes = table.sum(axis=0) + table.sum(axis=1)
    return {k: float(2 * table[k, k] / sizes[k]) for k in range(1, classes) if sizes[k]}

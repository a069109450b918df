"""The fine-tuning policy: one frozen object that says what trains, when, and how fast."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from zoo.errors import ZooError

if TYPE_CHECKING:
    import keras

    from zoo.finetune.guard import Guard
    from zoo.finetune.trainable import TrainableReport
    from zoo.spec import BackboneSpec

Train = Literal["frozen", "head", "all"] | int
_TRAIN = ("frozen", "head", "all")
_BATCH_NORMS = ("frozen", "train", "statistics")
_ADAPTED = ("pointwise", "all")


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Low-rank adapters (LoRA, Hu et al., arXiv:2106.09685) in the backbone's training stages.

    Attributes:
        rank: Rank of the change that they can make to a kernel, at least 1.
        alpha: Their change is scaled by ``alpha / rank``; None takes the rank, a scale of 1.
        layers: ``"pointwise"`` (dense layers and 1x1 convolutions) or ``"all"`` (every convolution
            that is neither grouped nor depthwise as well).
        seed: Seed of the first factor; the second one starts at zero.
    """

    rank: int = 8
    alpha: float | None = None
    layers: Literal["pointwise", "all"] = "all"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ZooError: Naming the value and what would do.
        """
        if not _whole(self.rank) or self.rank < 1:
            raise ZooError(f"adapters.rank is {self.rank!r}; give a whole number of at least 1")
        if self.alpha is not None:
            _number("adapters.alpha", self.alpha, "above 0", self.alpha_ok)
        _choice("adapters.layers", self.layers, _ADAPTED)
        if not _whole(self.seed) or self.seed < 0:
            raise ZooError(f"adapters.seed is {self.seed!r}; give a whole number of at least 0")

    @staticmethod
    def alpha_ok(value: float) -> bool:
        """Tell whether a scale is one."""
        return 0 < value < float("inf")


@dataclass(frozen=True, kw_only=True)
class FineTunePolicy:
    """What trains, when and how fast: data alone, the same for every task and dimension.

    ``to_dict`` gives values that JSON and YAML take, ``from_dict`` reads them back.

    Attributes:
        train: ``"frozen"`` (nothing), ``"head"`` (whatever lies outside the backbone, a decoder
            too), k (the head and the top k stages of the backbone) or ``"all"``.
        schedule: Staged unfreezing: ``(epoch, train)`` pairs by rising epoch, counted from 0; from
            that epoch on that much trains. ``train`` holds before the first of them. Gradual
            unfreezing (ULMFiT, Howard and Ruder, arXiv:1801.06146) is ``gradual``.
        decay: Factor on the learning rate from the head to the top stage and from each stage to
            the one below it, in (0, 1]; it acts on the update.
        batch_norm: ``"frozen"``, ``"train"`` or ``"statistics"``; see ``set_trainable``.
        learning_rate: Peak rate of the head; it rises linearly and falls as a half cosine.
        weight_decay: Decoupled decay of kernels, at each layer's rate; norms, biases and
            per-channel scales have none.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        ema: Momentum of a moving average of the weights, in (0, 1), or None. It looks back over
            about ``1 / (1 - ema)`` steps, which should be well below the steps there are.
        adapters: Train low-rank adapters in the backbone's stages instead of their kernels; the
            head trains as ever. None trains the kernels.
    """

    train: Train = "all"
    schedule: tuple[tuple[int, Train], ...] = ()
    decay: float = 1.0
    batch_norm: Literal["frozen", "train", "statistics"] = "frozen"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    ema: float | None = None
    adapters: Adapters | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ZooError: Naming the value and what would do.
        """
        _check_train("train", self.train)
        object.__setattr__(self, "schedule", _check_schedule(self.schedule))
        _choice("batch_norm", self.batch_norm, _BATCH_NORMS)
        for name, words, fits in _RANGES:
            value = getattr(self, name)
            if value is not None or name != "ema":
                _number(name, value, words, fits)
        if self.adapters is None:
            return
        if not isinstance(self.adapters, Adapters):
            raise ZooError(f"adapters is {self.adapters!r}; give Adapters(rank=8) or None")
        if all(what in ("frozen", "head", 0) for what in self.phases):
            raise ZooError(
                f"adapters sit in the backbone's training stages, and train={self.train!r} has "
                "none; give train='all' or a number of stages"
            )

    @classmethod
    def gradual(cls, *, stages: int, every: int = 1, **options: Any) -> FineTunePolicy:
        """Gradual unfreezing: the head first, then one stage more from the top each time.

        Args:
            stages: Stages that train in the end.
            every: Epochs from one to the next.
            **options: Further fields.

        Raises:
            ZooError: For numbers below 1.
        """
        for name, value in (("stages", stages), ("every", every)):
            if not _whole(value) or value < 1:
                raise ZooError(f"{name} is {value!r}; give a whole number of at least 1")
        steps = tuple((every * k, k) for k in range(1, stages + 1))
        return cls(train="head", schedule=steps, **options)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FineTunePolicy:
        """Read what ``to_dict`` gave, or any part of it.

        Raises:
            ZooError: For an unknown key (the nearest known one is named) or a value out of range.
        """
        values = _known(cls, content, "")
        if isinstance(values.get("adapters"), Mapping):
            values["adapters"] = Adapters(**_known(Adapters, values["adapters"], "adapters."))
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> FineTunePolicy:
        """Read ``to_json``'s text.

        Raises:
            ZooError: For text that is no JSON object, and as ``from_dict``.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ZooError(f"a fine-tuning policy is not JSON: {error}") from None
        return cls.from_dict(content)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self) | {"schedule": [list(step) for step in self.schedule]}

    def to_json(self) -> str:
        """Give the policy as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @property
    def phases(self) -> tuple[Train, ...]:
        """What trains, in the order of the schedule."""
        first = () if self.schedule and self.schedule[0][0] == 0 else (self.train,)
        return (*first, *(what for _, what in self.schedule))

    def at(self, epoch: int) -> Train:
        """What trains in an epoch, counted from 0."""
        reached = [what for start, what in self.schedule if start <= epoch]
        return reached[-1] if reached else self.train

    def changes_at(self, epoch: int) -> bool:
        """Tell whether something else trains from this epoch on than before."""
        return any(start == epoch for start, _ in self.schedule)

    def apply(self, model: keras.Model, spec: BackboneSpec, *, epoch: int = 0) -> TrainableReport:
        """Set what trains in a model. Compile it afterwards: Keras notes it at compile time.

        Adapters are put into every stage that the schedule will ever train; the model's output
        stays as it is.

        Args:
            model: A classifier, segmenter or bare backbone, 2D or 3D, flat or with the backbone
                nested in it; changed in place.
            spec: The backbone.
            epoch: Epoch that begins, from 0.

        Returns:
            What trains now, stage by stage.

        Raises:
            ZooError: When the model lacks the backbone or has fewer stages.
        """
        from zoo.finetune.adapters import add_adapters
        from zoo.finetune.trainable import report_trainable, set_trainable

        if self.adapters is not None:
            add_adapters(model, spec, self.adapters, stages=self._widest())
        set_trainable(model, spec, stages=self.at(epoch), batch_norm=self.batch_norm)
        return report_trainable(model, spec, decay=self.decay)

    def optimizer(
        self,
        model: keras.Model,
        spec: BackboneSpec,
        *,
        steps: int,
        steps_per_epoch: int | None = None,
        epoch: int = 0,
    ) -> keras.Optimizer:
        """Make the optimizer of a whole training run; ``apply`` comes first.

        Under a schedule it is built for everything that will ever train, so that one optimizer
        (and its checkpoint) serves all phases: call ``apply`` and compile with it again at each
        change. Under a float16 policy its loss is scaled.

        Args:
            model: The model; what trains in it is set for ``epoch``.
            spec: The backbone.
            steps: Steps of the run, over which the rate rises and falls.
            steps_per_epoch: Needed under a schedule.
            epoch: Epoch that begins, from 0.

        Returns:
            A ``LayerwiseAdamW``, in a ``LossScaleOptimizer`` where layers compute in float16.

        Raises:
            ZooError: For steps below 1, a schedule without ``steps_per_epoch``, or one on JAX,
                whose optimizers cannot be built for more than trains.
        """
        from zoo.finetune.building import build_optimizer

        return build_optimizer(
            self, model, spec, steps=steps, steps_per_epoch=steps_per_epoch, epoch=epoch
        )

    def guard(self, model: keras.Model) -> Guard:
        """Note every frozen weight of a model; ``verify`` later raises where one moved."""
        from zoo.finetune.guard import Guard

        return Guard(model)

    def _widest(self) -> Train:
        counts = [what for what in self.phases if _whole(what)]
        return "all" if "all" in self.phases else max(counts, default="head")


_RANGES: tuple[tuple[str, str, Any], ...] = (
    ("decay", "in (0, 1]", lambda v: 0 < v <= 1),
    ("learning_rate", "above 0", lambda v: 0 < v < float("inf")),
    ("weight_decay", "of at least 0", lambda v: 0 <= v < float("inf")),
    ("warmup", "in [0, 1)", lambda v: 0 <= v < 1),
    ("ema", "in (0, 1), or None", lambda v: 0 < v < 1),
)
C = TypeVar("C")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(name: str, value: object, words: str, fits: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
        raise ZooError(f"{name} is {value!r}; give a number {words}")


def _choice(name: str, value: object, choices: Iterable[str]) -> None:
    if value in (known := list(choices)) and isinstance(value, str):
        return
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(map(repr, known))}"
    raise ZooError(f"unknown {name} {value!r}; {hint}")


def _check_train(name: str, value: object) -> None:
    if isinstance(value, int) and _whole(value) and value >= 0:
        return
    if isinstance(value, str):
        _choice(name, value, _TRAIN)
        return
    raise ZooError(
        f"{name} is {value!r}; give 'frozen', 'head', a number of stages of at least 0, or 'all'"
    )


def _check_schedule(schedule: object) -> tuple[tuple[int, Train], ...]:
    """Give the schedule as tuples, whatever sequence it came as."""
    if isinstance(schedule, str | Mapping) or not isinstance(schedule, Iterable):
        raise ZooError(f"schedule is {schedule!r}; give (epoch, train) pairs, such as ((2, 1),)")
    steps: list[tuple[int, Train]] = []
    for step in schedule:
        pair = tuple(step) if isinstance(step, list | tuple) else ()
        if len(pair) != 2 or not _whole(pair[0]) or pair[0] < 0:
            raise ZooError(f"schedule has {step!r}; give an (epoch, train) pair, epochs from 0")
        _check_train(f"schedule at epoch {pair[0]}", pair[1])
        if steps and pair[0] <= steps[-1][0]:
            raise ZooError(f"schedule has epoch {pair[0]} behind {steps[-1][0]}; let epochs rise")
        steps.append((pair[0], pair[1]))
    return tuple(steps)


def _known(kind: type[C], content: object, prefix: str) -> dict[str, Any]:
    """The content as arguments of a dataclass, unknown keys refused."""
    if not isinstance(content, Mapping):
        raise ZooError(f"a fine-tuning policy is keys and values, not {type(content).__name__}")
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix + near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ZooError(f"unknown key {prefix + str(key)!r} of a fine-tuning policy; {hint}")
    return dict(content)

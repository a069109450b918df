"""Everything the report and the model card show, as plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.intended_use import INTENDED_USE

_PATH = re.compile(
    r"(?<![\w.:/<])(?:~|[A-Za-z]:)?[\\/](?:[^\s\"'<>|:,;()\\/]+[\\/])+[^\s\"'<>|,;()]*"
)
_PRIVATE = {"host", "hostname", "node", "user", "username", "home", "cwd", "path", "login"}


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What a finished run tells its reader; every field but the first seven may be left out.

    Mappings may hold more keys than named here: `training` and `environment` show them as
    further rows, the others ignore them. A key that is absent or None is left out of the page.

    Attributes:
        title: Heading, e.g. "PneumoniaMNIST".
        task: `single` or `multilabel`.
        class_names: K names.
        metrics: What `recipes.evaluation.evaluate` returned for `part`.
        y: Truth of the shown part: (N,) class numbers, or (N, K) with NaN for unknown.
        prob: Probabilities, shape (N, K), in the order of `y`.
        case_ids: N pseudonymous case ids.
        positive: Name of the positive class of a two-class task, or None.
        part: `test`, or `val` when there is no test part (the page then says that the figures
            are optimistic), or `all`.
        val_metrics: What `evaluate` returned for the validation part, shown beside `metrics`.
        operating_point: `OperatingPoint.to_dict()`; for multi-label a list, one per label.
        history: One row per epoch in the order of training: member, phase, epoch (from 1 in each
            phase), loss, accuracy, val_loss, val_accuracy, val_auc, learning_rate, seconds and
            best (True for the epoch whose weights were kept).
        stopped: Member -> epoch at which early stopping struck in its last phase, or member ->
            {phase: epoch}.
        data: `counts` {part: {class: cases}} (multi-label: positive ones), `unknown` the same
            for unknown values, `totals` {part: cases}, `patients` {part: patients}, `unit`
            (`patient` or `image`), `official` (True when the parts came with the data), `adapter`,
            `modality`, `sizes` (text), `notes` (texts).
        leakage: `LeakageResult.to_dict()`: exact, near, patients, conflicts, dropped, policy,
            marked, notes.
        skipped: One {case_id, kind, message} for each case that could not be read.
        training: `backbone`, `family`, `parameters`, `input_shape`, `input_range`, `weights`
            {name, source, licence, citation, sha256} or None, `paper`, `head`, `members`, `phases`
            (list of rows with any columns), `frozen` {variables, moved}, `cached_features` {used,
            seconds_saved, note}, `augmentation` {preset, strength, bans, settings}, `loss`,
            `balance`, `label_smoothing`, `mixup`, `tta`, `early_stopping`.
        environment: Versions and processors; names of hosts and users are never shown.
        seed: Seed of the run.
        command: Command that repeats the run, user paths as placeholders.
        timings: Phase -> seconds of wall time; `total` is shown last.
        notes: Further sentences for the reader; those of `metrics` are shown anyway.
        thumbnails: Case id -> picture for the page, uint8 (H, W) or (H, W, 3), or None.
        maps: Case id and class -> the picture under the map of what spoke for the class, or None.
        uncertainty: What `uncertainty.summary.part_figures` returned for `part`.
        intended_use: The banner.
        model_name: Name in the model card, the title by default.
        version: Version of radzoo.
        date: Day of the run, e.g. "2026-01-31".
        baselines: What `recipes.baselines.beside.Baselines.run` returned, or None.
    """

    title: str
    task: str
    class_names: Sequence[str]
    metrics: Mapping[str, Any]
    y: npt.NDArray[Any]
    prob: npt.NDArray[Any]
    case_ids: Sequence[str]
    positive: str | None = None
    part: str = "test"
    val_metrics: Mapping[str, Any] | None = None
    operating_point: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    stopped: Mapping[Any, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    leakage: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, Any]] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    command: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    thumbnails: Callable[[str], npt.NDArray[np.uint8] | None] | None = None
    maps: Callable[[str, int], npt.NDArray[np.uint8] | None] | None = None
    uncertainty: Mapping[str, Any] | None = None
    intended_use: str = INTENDED_USE
    model_name: str | None = None
    version: str | None = None
    date: str | None = None
    baselines: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        n, classes = len(self.case_ids), len(self.class_names)
        if np.shape(self.prob) != (n, classes) or len(self.y) != n:
            raise RecipeError(
                f"the report needs probabilities of shape ({n}, {classes}) and as many truths; "
                f"got {np.shape(self.prob)} and {len(self.y)}"
            )
        if self.task not in ("single", "multilabel"):
            raise RecipeError(f"unknown task {self.task!r}; known: single, multilabel")

    @property
    def positive_index(self) -> int | None:
        """Column of the positive class of a two-class task, else None."""
        if self.task != "single" or self.positive is None or len(self.class_names) != 2:
            return None
        return list(self.class_names).index(self.positive)

    @property
    def truth(self) -> npt.NDArray[np.float64]:
        """Truth as (N, K): one-hot, or multi-label with NaN for unknown."""
        if self.task == "multilabel":
            return np.asarray(self.y, dtype=np.float64)
        return np.asarray(np.eye(len(self.class_names))[np.asarray(self.y, dtype=np.int64)])

    @property
    def threshold(self) -> float | None:
        """Operating threshold of a two-class task, else None."""
        if self.positive_index is None or not isinstance(self.operating_point, Mapping):
            return None
        value = self.operating_point.get("threshold")
        return None if value is None else float(value)


def scrub(text: object) -> str:
    """Replace what looks like an absolute path by a placeholder: paths can name patients."""
    return _PATH.sub("<path>", str(text))


def public(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop empty entries and those whose key names a host, a user or a place."""
    return {
        key: value
        for key, value in values.items()
        if value is not None and not _PRIVATE.intersection(re.split(r"[\W_]+", key.lower()))
    }

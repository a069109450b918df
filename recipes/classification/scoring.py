"""The parts of a fitted run scored: probabilities, figures, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared
from recipes.classification.inference import Views, cached_logits
from recipes.classification.sureness import (
    Sample,
    Sureness,
    fit_uncertainty,
    judge_part,
    reference_rows,
)
from recipes.engine.embedding import split_outputs, with_embedding
from recipes.engine.losses import probabilities
from recipes.errors import RecipeError
from recipes.evaluation.assess import evaluate
from recipes.evaluation.operating_point import OperatingPoint, choose_operating_point
from recipes.progress import Reporter
from recipes.uncertainty.record import Uncertainty, save_uncertainty


@dataclass(frozen=True)
class Scored:
    """Truth and probabilities of one part.

    Attributes:
        part: ``"val"`` or ``"test"``.
        rows: Usable rows of the part.
        truth: ``(n,)`` class indices, or ``(n, k)`` labels with NaN unknown.
        prob: ``(n, k)`` probabilities at the training prevalence.
        metrics: Result of ``recipes.evaluation.evaluate``.
        sure: What is said of its uncertainty, or None.
    """

    part: str
    rows: npt.NDArray[np.int64]
    truth: npt.NDArray[Any]
    prob: npt.NDArray[np.float64]
    metrics: dict[str, Any]
    sure: Sureness | None = None


class Scorer:
    """A finished network on the parts of its run."""

    def __init__(
        self,
        prepared: Prepared,
        config: ClassificationConfig,
        reporter: Reporter,
        model: keras.Model,
        views: Views,
    ) -> None:
        """Prepare; nothing is predicted yet.

        Args:
            prepared: The run's data.
            config: The run's configuration.
            reporter: Progress.
            model: The assembled network.
            views: Test-time views.
        """
        self.prepared = prepared
        self.config = config
        self.reporter = reporter
        self.views = views
        self.network = with_embedding(model) if config.uncertainty.enabled else model

    def sample(self, part: str) -> Sample:
        """Outputs for every usable case of a part."""
        return self._sample(self.prepared.rows(part), part)

    def _sample(self, rows: npt.NDArray[np.int64], name: str) -> Sample:
        prepared = self.prepared
        places = prepared.cache_rows(rows)
        with self.reporter.task(f"predicting {name}", len(rows)) as step:
            outputs = cached_logits(
                self.network, prepared.decoded.images, places, self.views, progress=step
            )
        logits, embeddings = split_outputs(outputs, len(prepared.class_names))
        return Sample(logits, embeddings, prepared.targets[rows], prepared.groups(rows))

    def operating_point(self, val: Sample) -> OperatingPoint | None:
        """Threshold of the positive class, chosen on the validation part."""
        prepared = self.prepared
        if prepared.positive is None:
            return None
        column = prepared.class_names.index(prepared.positive)
        prob = probabilities(val.logits, task=prepared.kind)[:, column]
        rule = self.config.evaluate.operating_point
        return choose_operating_point(val.targets[:, column], prob, rule=rule)

    def fit_uncertainty(self, val: Sample, sha256: str, folder: Path) -> Uncertainty | None:
        """Calibrate on the validation part and store it; a run that cannot have it says why.

        Args:
            val: Validation cases.
            sha256: Hash of the model's file.
            folder: The run folder.
        """
        prepared, config, seed = self.prepared, self.config.uncertainty, self.config.seed
        if not config.enabled:
            return None
        train = prepared.rows("train")
        targets = prepared.targets[train]
        chosen = reference_rows(targets, prepared.kind, most=config.train_cases, seed=seed)
        reference = self._sample(train[chosen], "reference")
        try:
            found, arrays = fit_uncertainty(
                reference.embeddings,
                reference.targets,
                val,
                config,
                class_names=prepared.class_names,
                kind=prepared.kind,
                model_sha256=sha256,
                seed=seed,
            )
        except RecipeError as error:  # the model itself is sound
            self.reporter.say(f"note: no uncertainty: {error}")
            return None
        save_uncertainty(found, folder, arrays)
        return found

    def score(
        self, part: str, sample: Sample, threshold: float | None, found: Uncertainty | None
    ) -> Scored:
        """Figures of a part.

        Args:
            part: ``"val"`` or ``"test"``.
            sample: Its outputs.
            threshold: Operating threshold of the positive class.
            found: The run's uncertainty.
        """
        prepared, settings = self.prepared, self.config.evaluate
        single = prepared.kind == "single"
        truth = sample.targets.argmax(axis=1) if single else sample.targets
        prob = probabilities(sample.logits, task=prepared.kind)
        metrics = evaluate(
            truth,
            prob,
            sample.groups,
            class_names=prepared.class_names,
            positive=prepared.positive,
            task=prepared.kind,
            threshold=threshold,
            prevalence=settings.prevalence,
            n_boot=settings.n_boot,
            seed=self.config.seed,
        )
        sure = None
        if found is not None:
            sure = judge_part(
                found,
                sample,
                metrics,
                positive=prepared.positive,
                calibrated_on=part == "val",
                n_boot=settings.n_boot,
                seed=self.config.seed,
            )
        return Scored(part, prepared.rows(part), truth, prob, metrics, sure)

"""Phase 2 with unlabelled cases: what it trains, on what, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt

from data_adapters.augment import Augmenter
from data_adapters.augment_policy import AugmentPolicy
from data_adapters.augment_policy import policy as make_policy
from data_adapters.pipeline import TrainStream
from recipes.fewlabels.config import SemiConfig
from recipes.fewlabels.semi import TEACHER, Augment, SemiBatches, SemiSupervised, cutout
from zoo.finetune import FineTunePolicy

if TYPE_CHECKING:
    from recipes.classification.config import ClassificationConfig
    from recipes.classification.data import Prepared

NAMES = {
    "pseudo": "pseudo-labels (Lee 2013)",
    "mean_teacher": "mean teacher (arXiv:1703.01780)",
    "fixmatch": "FixMatch (arXiv:2001.07685)",
}
_CUT = 7
"""Keeps the draws of the square apart from the other ones."""


class SemiPhase:
    """The batches and the learner of one member's phase 2."""

    def __init__(
        self,
        prepared: Prepared,
        config: ClassificationConfig,
        augmentation: AugmentPolicy,
        stream: TrainStream,
        *,
        seed: int,
    ) -> None:
        """Keep what the epochs are made of.

        Args:
            prepared: The run's data, with unlabelled cases.
            config: The run's configuration.
            augmentation: The run's augmentation, whose bans hold for every view.
            stream: The labelled batches.
            seed: Seed of the member.
        """
        assert prepared.unlabelled is not None
        self.prepared = prepared
        self.config: SemiConfig = config.semi
        self.stream = stream
        self.seed = seed
        self.places = prepared.unlabelled.places
        batch = config.train.batch_size
        self.sizes = (batch, batch * self.config.ratio)
        once = max(-(-len(self.places) // self.sizes[1]), len(stream))
        self.steps = once if self.config.steps == "auto" else self.config.steps
        weak = self._augmenter(config, augmentation, "light")
        self.weak: Augment = weak
        self.changed: Augment = weak
        if self.config.method == "fixmatch":
            strong = self._augmenter(config, augmentation, "strong")
            self.changed = lambda image, key: _strong(strong, image, key, self.config.cutout)

    def _augmenter(
        self, config: ClassificationConfig, augmentation: AugmentPolicy, strength: str
    ) -> Augmenter:
        """The modality's policy at a strength, under the bans and figures of the run."""
        modality = config.data.modality or self.prepared.modality
        chosen = make_policy(
            modality,
            strength=strength,
            bans=augmentation.bans,
            lift=config.augment.lift,
            overrides=config.augment.override,
        )
        return Augmenter(chosen, self.prepared.input_range)

    def epoch(self, epoch: int) -> SemiBatches:
        """The batches of an epoch, counted from 1."""
        return SemiBatches(
            labelled=self.stream.batch,
            n=len(self.stream.rows),
            unlabelled=self.places,
            weak=self.weak,
            changed=self.changed,
            sizes=self.sizes,
            steps=self.steps,
            seed=self.seed,
            epoch=epoch,
        )

    def wrap(
        self,
        model: keras.Model,
        cost: Callable[[Any, Any], Any],
        offsets: npt.NDArray[Any],
        rows: npt.NDArray[np.int64],
        *,
        steps: int,
    ) -> SemiSupervised:
        """The learner around a classifier.

        Args:
            model: The classifier, trained in place.
            cost: Loss of each labelled case.
            offsets: Taken from logits to undo class weights.
            rows: Training rows.
            steps: Steps of the phase.
        """
        targets = self.prepared.targets[rows]
        prior = np.nan_to_num(np.nanmean(targets, axis=0), nan=0.5)
        return SemiSupervised(
            model,
            config=self.config,
            cost=cost,
            task=self.prepared.kind,
            offsets=offsets,
            prior=prior,
            steps=steps,
        )


def _strong(
    augmenter: Augmenter, image: npt.NDArray[Any], key: tuple[int, int, int], most: float
) -> npt.NDArray[Any]:
    changed = augmenter(image, key)
    return cutout(changed, np.random.default_rng([*key, _CUT]), most=most) if most else changed


def with_teacher(policy: FineTunePolicy, config: SemiConfig) -> FineTunePolicy:
    """A policy that keeps the moving average of the weights which is the mean teacher."""
    if config.method != "mean_teacher" or policy.ema is not None:
        return policy
    return replace(policy, ema=TEACHER)


def passed_facts(
    history: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """How many unlabelled cases were looked at in each epoch, and whose pseudo-label counted.

    Args:
        history: Records of the epochs; those without unlabelled cases are passed over.
        class_names: Names of the classes or labels.

    Returns:
        ``member``, ``epoch``, ``seen`` and ``passed`` (class -> pseudo-labels that counted; None
        where every case counts).
    """
    rows = []
    for record in history:
        if "unlabelled_seen" not in record:
            continue
        counts = None
        if "unlabelled_passed_0" in record:
            counts = {
                name: round(record[f"unlabelled_passed_{i}"]) for i, name in enumerate(class_names)
            }
        rows.append(
            {
                "member": record["member"],
                "epoch": record["epoch"],
                "seen": round(record["unlabelled_seen"]),
                "passed": counts,
            }
        )
    return rows


def unlabelled_facts(
    prepared: Prepared, config: SemiConfig, history: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What ``metrics.json`` says of the unlabelled cases; None for a run without."""
    if prepared.unlabelled is None:
        return None
    return {
        "method": config.method,
        "policy": prepared.leakage.policy,
        **prepared.unlabelled.to_dict(),
        "epochs": passed_facts(history, prepared.class_names),
    }


def unlabelled_text(facts: Mapping[str, Any]) -> str:
    """One line of the report and the model card."""
    left = ", ".join(f"{why} {n}" for why, n in facts["left_out"].items())
    text = f"{NAMES[facts['method']]} on {facts['n']} cases without a label"
    if left:
        text += f" (left out: {left})"
    if facts["epochs"] and facts["epochs"][-1]["passed"] is not None:
        last = facts["epochs"][-1]
        counts = ", ".join(f"{name} {n}" for name, n in last["passed"].items())
        text += f"; pseudo-labels that counted in the last epoch, of {last['seen']} looked at: "
        text += counts
    return text


def unlabelled_notes(facts: Mapping[str, Any]) -> list[str]:
    """Sentences for the reader: what the cases are no part of, and classes nobody was put in."""
    notes = [
        f"{facts['n']} cases were learnt from without a label; they are part of no n and of no "
        f"figure. The leakage check (policy {facts['policy']}) looked for their patients, studies, "
        "series and pixels in validation and test."
    ]
    if not facts["epochs"] or facts["epochs"][-1]["passed"] is None:
        return notes
    last = [row for row in facts["epochs"] if row["epoch"] == facts["epochs"][-1]["epoch"]]
    never = [name for name in last[0]["passed"] if not any(row["passed"][name] for row in last)]
    if never:
        notes.append(
            "In the last epoch no unlabelled case was taken for "
            f"{', '.join(never)}: the pseudo-labels may have drifted to the other classes."
        )
    return notes

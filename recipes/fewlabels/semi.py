"""Semi-supervised learning: one network on a labelled and an unlabelled batch in each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.classification.monitor import Accuracy
from recipes.fewlabels.config import SemiConfig
from recipes.fewlabels.learning import Learner
from zoo.finetune.optimizer import averages

MOMENTUM = 0.99
"""Of the running mean of predictions, over about 100 batches."""
TEACHER = 0.99
"""Momentum of a mean teacher whose configuration gives none."""


@dataclass(frozen=True)
class Targets:
    """What unlabelled cases are taught.

    Attributes:
        values: ``(n, k)``: one-hot or 0/1 pseudo-labels with NaN where none counts.
        passed: ``(n, k)`` 0 or 1: which of the pseudo-labels count.
    """

    values: Any
    passed: Any


def align(p: Any, *, prior: Any, belief: Any, task: str) -> Any:
    """Distribution alignment: predictions as if the classes were as frequent as ``prior``.

    ``p'_c`` is proportional to ``p_c prior_c / belief_c`` (ReMixMatch, arXiv:1911.09785, section
    3.1); of a label vector each label and its absence count as two classes.

    Args:
        p: ``(n, k)`` probabilities.
        prior: ``(k,)`` frequencies in the training part.
        belief: ``(k,)`` running mean of the predictions.
        task: ``single`` or ``multilabel``.

    Returns:
        ``(n, k)`` probabilities.
    """
    ops = keras.ops
    yes = p * prior / ops.maximum(belief, 1e-6)
    if task == "single":
        return yes / ops.maximum(ops.sum(yes, axis=-1, keepdims=True), 1e-12)
    no = (1.0 - p) * (1.0 - prior) / ops.maximum(1.0 - belief, 1e-6)
    return yes / ops.maximum(yes + no, 1e-12)


def pseudo_labels(p: Any, *, threshold: float, task: str) -> Targets:
    """The most probable answers, where they are probable enough.

    Args:
        p: ``(n, k)`` probabilities.
        threshold: From which an answer counts; of a label vector, ``1 - p`` counts for absence.
        task: ``single`` or ``multilabel``.
    """
    ops = keras.ops
    if task == "single":
        values = ops.one_hot(ops.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
        sure = ops.cast(ops.max(p, axis=-1, keepdims=True) >= threshold, p.dtype)
        return Targets(values, values * sure)
    values = ops.cast(p >= 0.5, p.dtype)
    sure = ops.cast(ops.maximum(p, 1.0 - p) >= threshold, p.dtype)
    return Targets(ops.where(sure > 0, values, float("nan")), sure)


class SemiSupervised(Learner):
    """A classifier with the loss of unlabelled cases; its network is trained in place.

    It takes batches ``((labelled, weak, changed), targets)``: labelled pictures, and two views of
    unlabelled ones. The network sees the labelled and the changed view in training mode; what the
    weak view is taken for is found in inference mode, without a gradient.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        config: SemiConfig,
        cost: Callable[[Any, Any], Any],
        task: str,
        offsets: npt.NDArray[Any],
        prior: npt.NDArray[Any],
        steps: int,
    ) -> None:
        """Keep what the loss is made of.

        Args:
            network: ``(B, H, W, C)`` to ``(B, k)`` logits.
            config: The method.
            cost: ``(targets, logits)`` to the loss of each case; NaN targets are left out.
            task: ``single`` or ``multilabel``.
            offsets: ``(k,)``, taken from logits to undo class weights.
            prior: ``(k,)`` frequencies of the classes in the training part.
            steps: Steps of the phase.
        """
        super().__init__(network, name="semi_supervised")
        self.config = config
        self.cost = cost
        self.task = task
        self.offsets = np.asarray(offsets, "float32")
        self.prior = np.asarray(prior, "float32")
        self.rise = max(1.0, config.rise * steps)
        self.belief = self.add_weight(
            shape=(len(prior),), trainable=False, name="belief", initializer="zeros"
        )
        self.belief.assign(self.prior)
        self.hits = Accuracy(task, offsets, name="accuracy")
        self.seen = keras.metrics.Sum(name="unlabelled_seen")
        gated = 0 if config.method == "mean_teacher" else len(prior)
        self.passed = [keras.metrics.Sum(name=f"unlabelled_passed_{i}") for i in range(gated)]
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits of pictures, or of the labelled and the changed ones, one behind the other."""
        if isinstance(inputs, list | tuple):
            labelled, _, changed = inputs
            inputs = keras.ops.concatenate([labelled, changed], axis=0)
        return self.network(inputs, training=training)

    def loss_of(self, x: Any, y: Any, y_pred: Any) -> Any:
        """Mean labelled loss plus the weighted mean loss over all unlabelled cases."""
        ops = keras.ops
        count = ops.shape(x[0])[0]
        known, unknown = y_pred[:count], ops.cast(y_pred[count:], "float32")
        self.hits.update_state(y, known)
        p = ops.stop_gradient(self._probabilities(self._targets(x[1])))
        if self.config.method == "mean_teacher":
            each = ops.mean(ops.square(self._probabilities(unknown) - p), axis=-1)
        else:
            targets = self._pseudo(p)
            each = self.cost(targets.values, unknown)
            # A vector's loss is a mean over what is known: this makes it one over all labels.
            passed = targets.passed
            share = ops.sum(passed, axis=-1) if self.task == "single" else ops.mean(passed)
            each = each * share
            for place, metric in enumerate(self.passed):
                metric.update_state(ops.sum(passed[:, place]))
        self.seen.update_state(ops.cast(ops.shape(p)[0], "float32"))
        return ops.mean(self.cost(y, known)) + self._weight() * ops.mean(each)

    def _pseudo(self, p: Any) -> Targets:
        if self.config.align:
            now = keras.ops.mean(p, axis=0)
            self.belief.assign(MOMENTUM * self.belief + (1.0 - MOMENTUM) * now)
            p = align(p, prior=self.prior, belief=self.belief, task=self.task)
        return pseudo_labels(p, threshold=self.config.threshold, task=self.task)

    def _targets(self, weak: Any) -> Any:
        """Logits of the weak view: of the network, or of its moving average."""
        if self.config.method != "mean_teacher":
            return self.network(weak, training=False)
        ops = keras.ops
        first = ops.equal(self.optimizer.iterations, 0)  # there is no average yet
        pairs = [(own, ops.where(first, own, mean)) for own, mean in averages(self.optimizer)]
        with keras.StatelessScope(state_mapping=pairs):
            return self.network(weak, training=False)

    def _probabilities(self, logits: Any) -> Any:
        """At the prevalence of the training part, float32."""
        z = keras.ops.cast(logits, "float32") - self.offsets
        return keras.ops.softmax(z) if self.task == "single" else keras.ops.sigmoid(z)

    def _weight(self) -> Any:
        """The unlabelled loss' weight, rising as ``exp(-5 (1 - t)^2)`` (arXiv:1610.02242)."""
        ops = keras.ops
        if not self.config.rise:
            return self.config.loss_weight
        t = ops.minimum(ops.cast(self.optimizer.iterations, "float32") / self.rise, 1.0)
        return self.config.loss_weight * ops.exp(-5.0 * ops.square(1.0 - t))


Augment = Callable[[npt.NDArray[Any], tuple[int, int, int]], npt.NDArray[Any]]


class SemiBatches(keras.utils.PyDataset):
    """One epoch of labelled batches, each with unlabelled ones in two views.

    Every draw is a function of (seed, epoch) for the order and (seed, epoch, case) for a view.
    """

    def __init__(
        self,
        *,
        labelled: Callable[[int, int, npt.NDArray[Any]], tuple[Any, Any]],
        n: int,
        unlabelled: Sequence[tuple[npt.NDArray[Any], int]],
        weak: Augment,
        changed: Augment,
        sizes: tuple[int, int],
        steps: int,
        seed: int,
        epoch: int,
    ) -> None:
        """Draw the order of the epoch; copy nothing.

        Args:
            labelled: (pass, batch, places) to a labelled batch, as ``TrainStream.batch``.
            n: Labelled cases.
            unlabelled: An array of pictures and a row of it for each case.
            weak: Weak view of a picture under a seed.
            changed: The view that is trained on.
            sizes: Labelled and unlabelled cases in a step.
            steps: Steps of the epoch.
            seed: Not negative.
            epoch: From 1.
        """
        super().__init__(workers=1)
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.views = (weak, changed)
        self.sizes = sizes
        self.steps = steps
        self.seed = seed
        self.epoch = epoch
        rng = np.random.default_rng([seed, epoch])
        self.known = passes(rng, n, steps * sizes[0], epoch=epoch)
        self.unknown = passes(rng, len(unlabelled), steps * sizes[1], epoch=epoch)

    def __len__(self) -> int:
        """Batches in the epoch."""
        return self.steps

    def __getitem__(self, index: int) -> tuple[tuple[Any, Any, Any], Any]:
        """Batch ``index``."""
        few, many = self.sizes
        x, y = self._known(index, self.known[index * few : (index + 1) * few])
        chosen = self.unknown[index * many : (index + 1) * many]
        weak, changed = (
            np.stack(
                [
                    np.asarray(change(*self._picture(place, turn, view)), "float32")
                    for turn, place in chosen
                ]
            )
            for view, change in enumerate(self.views)
        )
        return (x, weak, changed), y

    def _known(self, index: int, chosen: npt.NDArray[np.int64]) -> tuple[Any, Any]:
        """A case that comes again in a batch is another pass, hence augmented anew."""
        parts = [
            self.labelled(int(turn), index, chosen[chosen[:, 0] == turn, 1])
            for turn in np.unique(chosen[:, 0])
        ]
        return (
            np.concatenate([x for x, _ in parts]),
            np.concatenate([y for _, y in parts]),
        )

    def _picture(
        self, place: int, turn: int, view: int
    ) -> tuple[npt.NDArray[Any], tuple[int, int, int]]:
        images, row = self.unlabelled[place]
        return np.asarray(images[row]), (2 * self.seed + view, int(turn), int(place))


def passes(rng: np.random.Generator, n: int, count: int, *, epoch: int) -> npt.NDArray[np.int64]:
    """Draw ``count`` of ``n`` cases, each of them as often as any other.

    Args:
        rng: Source of the orders.
        n: Cases.
        count: Draws.
        epoch: Makes the numbers of the passes differ from those of other epochs.

    Returns:
        ``(count, 2)``: number of the pass and the case.
    """
    turns = -(-count // n)
    drawn = [
        np.stack([np.full(n, (epoch - 1) * turns + turn), rng.permutation(n)], axis=1)
        for turn in range(turns)
    ]
    return np.concatenate(drawn)[:count].astype("int64")


def cutout(picture: npt.NDArray[Any], rng: np.random.Generator, *, most: float) -> npt.NDArray[Any]:
    """Paint a square over with the picture's mean, its centre anywhere in the picture.

    Args:
        picture: ``(H, W, C)``; left as it is.
        rng: Source of side and place.
        most: Largest side as a share of the shorter side.
    """
    height, width = picture.shape[:2]
    half = rng.uniform(0, most) * min(height, width) / 2
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    rows = slice(max(0, round(y - half)), max(0, round(y + half)))
    columns = slice(max(0, round(x - half)), max(0, round(x + half)))
    changed = np.array(picture)
    changed[rows, columns] = picture.mean(axis=(0, 1)).astype(picture.dtype)
    return changed

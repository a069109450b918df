"""What a run's model makes of unlabelled cases: features, probabilities, passes under dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter, Skip
from recipes.classification.inference import BATCH, mean_logits, read_inputs
from recipes.engine.embedding import split_outputs
from recipes.engine.loop import reset_random_state
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord
from recipes.errors import RecipeError

PASSES = 10
"""Passes under dropout of the strategy ``mc``."""


@dataclass(frozen=True)
class Looked:
    """What a model makes of cases.

    Attributes:
        places: Adapter index of each case.
        features: ``(n, f)``, what the last layers of its members are fed.
        p: ``(n, k)`` probabilities without test-time views.
        passes: ``(t, n, k)`` probabilities under dropout, or None.
        skipped: Cases that could not be read.
        embeddings: ``(n, d)`` as ``predict`` measures them against the training cases, or None.
    """

    places: list[int]
    features: npt.NDArray[Any]
    p: npt.NDArray[np.float64]
    passes: npt.NDArray[np.float64] | None
    skipped: tuple[Skip, ...]
    embeddings: npt.NDArray[Any] | None = None

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Looked:
        """Some of the cases."""
        return replace(
            self,
            places=[self.places[i] for i in rows],
            features=self.features[rows],
            p=self.p[rows],
            passes=None if self.passes is None else self.passes[:, rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
        )


class WithDropout(keras.Model):
    """A network in training mode, whatever it is asked."""

    def __init__(self, network: keras.Model) -> None:
        """Keep the network."""
        super().__init__(name="with_dropout")
        self.network = network
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the network gives under dropout."""
        return self.network(inputs, training=True)


def feature_network(model: keras.Model) -> keras.Model:
    """From pictures to what the members' last layers are fed, joined, and the mean logits.

    Args:
        model: What ``modelfile.load_model`` gives.

    Raises:
        RecipeError: Its layers have other names, as in a model of another make.
    """
    members = [layer for layer in model.layers if layer.name.startswith("member_")]
    inner = []
    for member in members:
        names = {layer.name for layer in member.layers}
        last = next((name for name in ("hidden", "pool") if name in names), None)
        if last is None:
            raise RecipeError("this model has no layer called hidden or pool to take features of")
        inner.append(keras.Model(member.inputs, member.get_layer(last).output))
    if not inner:
        raise RecipeError("this model has no members; it was not written by radzoo classify fit")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # passes under dropout leave the statistics alone
    image = keras.Input(model.input_shape[1:], name="image", dtype="float32")
    features = [one(image) for one in inner]
    joined = features[0] if len(features) == 1 else keras.ops.concatenate(features, axis=-1)
    return keras.Model(image, [joined, model(image)], name="features_and_logits")


def look(
    network: keras.Model,
    record: ModelRecord,
    adapter: Adapter,
    indices: Sequence[int],
    *,
    known: set[str],
    passes: int,
    seed: int,
    embedder: keras.Model | None = None,
    progress: Any = lambda done, total: None,
) -> tuple[Looked, int]:
    """Read cases and apply a model, a batch in memory at a time.

    Args:
        network: What ``feature_network`` gave.
        record: The model's record.
        adapter: Where the cases come from.
        indices: Which of them.
        known: Digests of pixels that are left out.
        passes: Passes under dropout.
        seed: Their seed.
        embedder: What ``engine.embedding`` makes of the model, to tell how unlike the training
            cases they are; over the test-time views, as ``predict`` does.
        progress: Called with (done, total).

    Returns:
        What it makes of them, and how many were left out as known.
    """
    wanted = [int(i) for i in indices]
    places: list[int] = []
    dropping = WithDropout(network)
    features, logits, drawn, embedded = [], [], [], []
    skipped: list[Skip] = []
    left = 0
    for start in range(0, len(wanted), BATCH):
        inputs = []
        for i, x, digest in read_inputs(adapter, record, wanted[start : start + BATCH], skipped):
            if digest in known:
                left += 1
                continue
            places.append(i)
            inputs.append(x)
        if inputs:
            batch = np.stack(inputs).astype("float32")
            found, z = network.predict_on_batch(batch)
            features.append(np.asarray(found, "float32"))
            logits.append(np.asarray(z, "float32"))
            drawn.append(list(_dropped(dropping, batch, passes, seed=seed, start=start)))
            if embedder is not None:
                both = mean_logits(embedder, batch, record.views)
                embedded.append(split_outputs(both, len(record.class_names))[1])
        progress(min(start + BATCH, len(wanted)), len(wanted))
    if not places:
        empty = np.zeros((0, len(record.class_names)))
        return Looked([], np.zeros((0, 0)), empty, None, tuple(skipped)), left
    stacked = None
    if passes:
        each = [np.concatenate([batch[t] for batch in drawn]) for t in range(passes)]
        stacked = np.stack([probabilities(z, task=record.kind) for z in each])
    p = probabilities(np.concatenate(logits), task=record.kind)
    joined = np.concatenate(embedded) if embedded else None
    return Looked(places, np.concatenate(features), p, stacked, tuple(skipped), joined), left


def _dropped(
    dropping: WithDropout, batch: npt.NDArray[Any], passes: int, *, seed: int, start: int
) -> Iterator[npt.NDArray[Any]]:
    """Logits of passes with dropout, each a function of (seed, batch, pass)."""
    for turn in range(passes):
        reset_random_state(dropping, seed=seed, epoch=start * PASSES + turn)
        yield np.asarray(dropping.predict_on_batch(batch)[1], "float32")

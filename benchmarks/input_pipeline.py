"""What the input pipeline costs: epochs fed by the real stream against epochs fed from memory.

Both train the same compiled model in the same process through ``model.fit``, as the recipe does.
One reads, shuffles and augments the training part; the other repeats one batch that is already a
tensor, for the same number of steps. Epochs alternate, and who goes first alternates too. The
cost is the median over rounds of (real / in memory - 1): once for whole epochs, start of the
stream included, and once for the median step.

    python benchmarks/input_pipeline.py --data DATA [--modality XR-chest]

DATA is anything ``radzoo classify fit`` takes; without it, embedded phantoms are used.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table
from workers import radzoo_model

from data_adapters.augment import Augmenter, policy
from data_adapters.phantom_sets import phantom_classification_set
from data_adapters.pipeline import TrainStream
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared, open_data, prepare
from recipes.classification.schedule import resolve
from recipes.config import load_config


class StepClock(keras.callbacks.Callback):
    """Seconds from the end of one step to the end of the next, waiting for data included."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start counting."""
        self.steps: list[float] = []
        self.last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note one step."""
        now = time.perf_counter()
        self.steps.append(now - self.last)
        self.last = now


def prepared_data(source: str | None, changes: list[str]) -> tuple[Prepared, ClassificationConfig]:
    """The decoded data set, as ``fit`` prepares it."""
    config = load_config(ClassificationConfig, changes=changes)
    if source is not None:
        return prepare(open_data(source, config.data), config), config
    with tempfile.TemporaryDirectory() as folder:
        table = phantom_classification_set(Path(folder), n_patients=24, seed=0)
        return prepare(open_data(str(table), config.data), config), config


def timed_epoch(model: keras.Model, batches: Any) -> tuple[float, float]:
    """Seconds of one epoch and of its median step."""
    clock = StepClock()
    start = time.perf_counter()
    model.fit(batches, epochs=1, verbose=0, callbacks=[clock], shuffle=False)
    return time.perf_counter() - start, statistics.median(clock.steps)


def measure(stream: TrainStream, model: keras.Model, rounds: int) -> dict[str, Any]:
    """Alternate epochs of both kinds and compare them round by round."""
    steps = len(stream)
    images, labels = next(iter(stream.epoch(0)))
    repeated = tf.data.Dataset.from_tensors((images, labels)).repeat(steps)

    def memory(epoch: int) -> tf.data.Dataset:
        return repeated

    sources = {"stream": stream.epoch, "memory": memory}
    for make in sources.values():  # builds the training function, for both shapes of batch
        timed_epoch(model, make(0))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    for index in range(rounds):
        order = list(sources) if index % 2 else list(sources)[::-1]
        for name in order:
            times[name].append(timed_epoch(model, sources[name](index + 1)))
    ratios = np.asarray(times["stream"]) / np.asarray(times["memory"])
    epoch_ms, step_ms = 1000 * np.median(np.asarray(times["stream"]), axis=0)
    return {
        "steps": steps,
        "epoch_ms": float(epoch_ms),
        "step_ms": float(step_ms),
        "epoch_cost": float(np.median(ratios[:, 0]) - 1),
        "step_cost": float(np.median(ratios[:, 1]) - 1),
        "rounds": [{"epoch_ratio": float(e), "step_ratio": float(s)} for e, s in ratios],
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print one line, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder, table or npz of labelled images")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=24, help="steps in an epoch, at most")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args(argv)
    warn_when_busy()
    prepared, config = prepared_data(args.data, args.changes)
    size = config.train.batch_size
    rows = prepared.rows("train")
    # Whole batches: the repeated batch is a full one too.
    rows = rows[: size * max(1, min(args.steps, len(rows) // size))]
    augment = config.augment
    chosen = policy(
        prepared.modality,
        strength=augment.strength,
        bans=(*augment.bans, *prepared.adapter.bans),
        overrides=augment.override,
    )
    stream = TrainStream(
        prepared.decoded.images,
        prepared.cache_rows(rows),
        prepared.targets[rows],
        batch_size=size,
        augmenter=Augmenter(chosen, prepared.input_range) if chosen.active else None,
        seed=config.seed,
        mixup=config.train.mixup,
    )
    settings = resolve(config, train_cases=len(stream.rows))
    model = radzoo_model(
        config.model.backbone,
        prepared.input_shape,
        classes=len(prepared.class_names),
        input_range=prepared.input_range,
        head={
            "levels": settings.levels,
            "pooling": settings.pooling,
            "hidden": settings.hidden,
            "dropout": settings.dropout,
            "standardize": settings.hidden > 0,
        },
    )
    figures = measure(stream, model, args.rounds)
    table = Table("input", "batch", "step, ms", "cost of the stream per epoch", "per step")
    table.add_row(
        " x ".join(map(str, prepared.input_shape)),
        str(size),
        f"{figures['step_ms']:.0f}",
        f"{figures['epoch_cost']:+.1%}",
        f"{figures['step_cost']:+.1%}",
    )
    Console().print(table)
    about = {
        "backbone": config.model.backbone,
        "input_shape": prepared.input_shape,
        "batch_size": size,
        "strength": augment.strength,
        "modality": prepared.modality,
    }
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    write_json(args.json, about | figures | describe(versions))


if __name__ == "__main__":
    main()

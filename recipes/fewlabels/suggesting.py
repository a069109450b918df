"""``radzoo classify suggest``: which cases to label next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter, Skip
from data_adapters.case import Case
from data_adapters.split_table import read_splits
from recipes.classification.config import ClassificationConfig
from recipes.classification.inference import BATCH, read_inputs
from recipes.classification.outputs import write_csv
from recipes.classification.thumbnails import NOTES, Pictures, may_show
from recipes.config import load_config
from recipes.engine.checkpoint import check_writable
from recipes.engine.loop import reset_random_state
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.opening import open_unlabelled
from recipes.fewlabels.selecting import STRATEGIES, choose, entropy, margin, mutual_information
from recipes.fewlabels.suggest_page import write_page
from recipes.progress import Reporter

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
    """

    places: list[int]
    features: npt.NDArray[Any]
    p: npt.NDArray[np.float64]
    passes: npt.NDArray[np.float64] | None
    skipped: tuple[Skip, ...]


def suggest(
    run: str | Path,
    source: str | Path,
    out: str | Path | None = None,
    *,
    n: int,
    strategy: str = "badge",
    labelled_source: str | Path | None = None,
    one_per_patient: bool = True,
    pictures: Pictures | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Choose the unlabelled cases whose labels should help a run's model most.

    Args:
        run: Run folder of a finished fit.
        source: The unlabelled cases; labels are not looked at. Cases whose pixels the run knows,
            in any of its parts, are left out.
        out: CSV file to write, and a page with the same name and ``.html``.
        n: How many to choose.
        strategy: One of ``selecting.STRATEGIES``; see ``benchmarks/active_learning.py`` for what
            they brought on PneumoniaMNIST.
        labelled_source: The labelled data of the run: ``kcenter`` and ``mixed`` then keep away from
            their training cases too.
        one_per_patient: Choose no two cases of one known patient.
        pictures: ``auto``, ``yes`` or ``no``; the run's own where None.
        seed: Of the draws of ``mc``, ``badge`` and ``random``.
        reporter: Progress; quiet where None.

    Returns:
        ``n`` chosen, ``n_offered``, ``n_known`` (left out: in the run already), ``n_skipped`` by
        reason, ``strategy``, and ``cases``: rank, case_id, file, predicted, probabilities,
        entropy, margin (and mutual_information for ``mc``).

    Raises:
        recipes.errors.RecipeError: The run cannot be opened, nothing is left to choose from, or an
            option does not fit.
        data_adapters.errors.DataError: The cases cannot be read.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    if n < 1:
        raise ConfigError(f"n={n} cases to choose; give at least 1")
    if out is not None:
        for path in (Path(out), _page(Path(out))):
            check_writable(path)
    folder = Path(run)
    with reporter or Reporter(quiet=True) as live:
        model, record = load_model(folder)
        config = load_config(ClassificationConfig, file=folder / "config.yaml")
        adapter = open_unlabelled(str(source), config.data)
        known = {row.pixel_sha256 for row in read_splits(folder / "splits.csv")}
        network = feature_network(model)
        draws = PASSES if strategy == "mc" else 0
        with live.task("looking", len(adapter)) as step:
            looked, n_known = look(
                network, record, adapter, range(len(adapter)), known=known, passes=draws,
                seed=seed, progress=step,
            )  # fmt: skip
        centres = None
        if labelled_source is not None and strategy in ("kcenter", "mixed"):
            centres = _centres(network, record, config, str(labelled_source), folder, live)
    if not looked.places:
        raise RecipeError(
            f"no case left to choose from: {n_known} are in the run already and "
            f"{len(looked.skipped)} could not be read"
        )
    groups = [adapter.index[i].patient_id for i in looked.places] if one_per_patient else None
    chosen = choose(
        strategy,
        n,
        p=looked.p,
        features=looked.features,
        task=record.kind,
        rng=np.random.default_rng(seed),
        passes=looked.passes,
        centres=centres,
        groups=groups,
    )
    rows = _rows(chosen, looked, adapter, record)
    result = {
        "n": len(rows),
        "n_offered": len(looked.places),
        "n_known": n_known,
        "n_skipped": dict(Counter(s.kind for s in (*adapter.skipped, *looked.skipped))),
        "strategy": strategy,
        "cases": rows,
    }
    if out is not None:
        wish: Pictures = pictures or config.report.pictures
        names = list(rows[0])
        write_csv(Path(out), names, [[row[name] for name in names] for row in rows])
        shown = _thumbnails(adapter, [looked.places[i] for i in chosen], record, wish)
        write_page(_page(Path(out)), result, record, shown, NOTES[wish])
    return result


def _page(out: Path) -> Path:
    return out.with_suffix(".html")


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
        progress: Called with (done, total).

    Returns:
        What it makes of them, and how many were left out as known.
    """
    wanted = [int(i) for i in indices]
    places: list[int] = []
    dropping = WithDropout(network)
    features, logits, drawn = [], [], []
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
        progress(min(start + BATCH, len(wanted)), len(wanted))
    if not places:
        empty = np.zeros((0, len(record.class_names)))
        return Looked([], np.zeros((0, 0)), empty, None, tuple(skipped)), left
    stacked = None
    if passes:
        each = [np.concatenate([batch[t] for batch in drawn]) for t in range(passes)]
        stacked = np.stack([probabilities(z, task=record.kind) for z in each])
    p = probabilities(np.concatenate(logits), task=record.kind)
    return Looked(places, np.concatenate(features), p, stacked, tuple(skipped)), left


def _dropped(
    dropping: WithDropout, batch: npt.NDArray[Any], passes: int, *, seed: int, start: int
) -> Iterator[npt.NDArray[Any]]:
    """Logits of passes with dropout, each a function of (seed, batch, pass)."""
    for turn in range(passes):
        reset_random_state(dropping, seed=seed, epoch=start * PASSES + turn)
        yield np.asarray(dropping.predict_on_batch(batch)[1], "float32")


def _centres(
    network: keras.Model,
    record: ModelRecord,
    config: ClassificationConfig,
    source: str,
    folder: Path,
    live: Reporter,
) -> npt.NDArray[Any]:
    """Features of the run's training cases.

    Raises:
        RecipeError: The data hold none of them.
    """
    adapter = open_unlabelled(source, config.data)
    trained = {row.case_id for row in read_splits(folder / "splits.csv") if row.part == "train"}
    rows = [i for i, row in enumerate(adapter.index) if row.case_id in trained]
    if not rows:
        raise RecipeError("--labelled holds none of the run's training cases; give its own data")
    with live.task("looking at the labelled ones", len(rows)) as step:
        looked, _ = look(
            network, record, adapter, rows, known=set(), passes=0, seed=0, progress=step
        )
    return looked.features


def _rows(
    chosen: Sequence[int], looked: Looked, adapter: Adapter, record: ModelRecord
) -> list[dict[str, Any]]:
    unsure, near = (score(looked.p, task=record.kind) for score in (entropy, margin))
    told = None
    if looked.passes is not None:
        told = mutual_information(looked.passes, task=record.kind)
    rows = []
    for rank, i in enumerate(chosen, 1):
        place = looked.places[i]
        row: dict[str, Any] = {
            "rank": rank,
            "case_id": adapter.index[place].case_id,
            "file": adapter.source_name(place),
            "entropy": round(float(unsure[i]), 6),
            "margin": round(float(near[i]), 6),
        }
        if told is not None:
            row["mutual_information"] = round(float(told[i]), 6)
        names = zip(record.class_names, looked.p[i], strict=True)
        rows.append(row | {f"p_{name}": round(float(p), 6) for name, p in names})
    return rows


def _thumbnails(
    adapter: Adapter, places: Sequence[int], record: ModelRecord, pictures: Pictures
) -> dict[str, npt.NDArray[np.uint8]]:
    """Pictures of the cases that may be shown, by case id."""
    shown: dict[str, npt.NDArray[np.uint8]] = {}
    if pictures == "no":
        return shown
    low, high = record.input_range
    allowed = [i for i in places if pictures == "yes" or may_show(_case(adapter, i), pictures)]
    for i, x, _ in read_inputs(adapter, record, allowed, []):
        scaled = np.clip((np.asarray(x, "float32") - low) / (high - low), 0, 1)
        pixels = np.asarray(scaled * 255 + 0.5, "uint8")
        shown[adapter.index[i].case_id] = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return shown


def _case(adapter: Adapter, i: int) -> Case:
    return adapter[i]

"""``radzoo classify suggest``: which cases to label next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import zoo
from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.split_table import read_splits
from recipes.classification.config import ClassificationConfig
from recipes.classification.inference import read_inputs
from recipes.classification.outputs import write_csv
from recipes.classification.thumbnails import NOTES, Pictures, may_show
from recipes.config import load_config
from recipes.engine.checkpoint import check_writable
from recipes.engine.embedding import with_embedding
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.looking import PASSES, Looked, feature_network, look
from recipes.fewlabels.opening import open_unlabelled
from recipes.fewlabels.selecting import STRATEGIES, choose, entropy, margin, mutual_information
from recipes.fewlabels.suggest_page import write_page
from recipes.progress import Reporter
from recipes.uncertainty.record import Uncertainty, load_uncertainty

_CANNOT_TELL = (
    "The run cannot tell cases of another kind than its training cases, so none was left out; "
    "`radzoo classify calibrate RUN DATA` teaches it."
)


@dataclass(frozen=True)
class Outside:
    """Which cases are of another kind than those that a run was trained on.

    Attributes:
        scores: Distance of each from the training cases.
        flags: ``outside``, ``inside``, or nothing where the run has no threshold.
        note: What the reader must know.
    """

    scores: npt.NDArray[np.float64]
    flags: list[str]
    note: str

    def columns(self, i: int) -> dict[str, Any]:
        """What a case's row says, as ``predict`` says it."""
        return {"ood_score": round(float(self.scores[i]), 6), "ood_flag": self.flags[i]}

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Outside:
        """Some of the cases."""
        return replace(self, scores=self.scores[rows], flags=[self.flags[i] for i in rows])


def suggest(
    run: str | Path,
    source: str | Path,
    out: str | Path | None = None,
    *,
    n: int,
    strategy: str = "badge",
    labelled_source: str | Path | None = None,
    one_per_patient: bool = True,
    include_outside: bool = False,
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
        include_outside: Choose among the cases too that ``predict`` would flag as of another kind
            than the training cases (``ood_flag``); else they are left out, where the run can tell.
        pictures: ``auto``, ``yes`` or ``no``; the run's own where None.
        seed: Of the draws of ``mc``, ``badge`` and ``random``.
        reporter: Progress; quiet where None.

    Returns:
        ``n`` chosen, ``n_offered``, ``n_known`` (left out: in the run already), ``n_outside`` (of
        another kind; None where the run cannot tell) and ``n_left_out`` of those, ``n_skipped`` by
        reason, ``strategy``, ``notes``, and ``cases``: rank, case_id, file, entropy, margin (and
        mutual_information for ``mc``), ood_score and ood_flag where the run can tell, and
        probabilities.

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
        sure = load_uncertainty(folder, model_sha256=record.model_sha256)
        embedder = None if sure is None else zoo.for_inference(with_embedding(model))
        draws = PASSES if strategy == "mc" else 0
        with live.task("looking", len(adapter)) as step:
            looked, n_known = look(
                network, record, adapter, range(len(adapter)), known=known, passes=draws,
                seed=seed, embedder=embedder, progress=step,
            )  # fmt: skip
        centres = None
        if labelled_source is not None and strategy in ("kcenter", "mixed"):
            centres = _centres(network, record, config, str(labelled_source), folder, live)
    if not looked.places:
        raise RecipeError(
            f"no case left to choose from: {n_known} are in the run already and "
            f"{len(looked.skipped)} could not be read"
        )
    outside = None if sure is None else _outside(sure, looked, include_outside)
    within, left_out = outside, 0
    if outside is not None and not include_outside:
        kept = np.flatnonzero([flag != "outside" for flag in outside.flags])
        left_out = len(looked.places) - len(kept)
        looked, within = looked[kept], outside[kept]
        if not looked.places:
            raise RecipeError(f"no case left to choose from. {outside.note}")
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
    rows = _rows(chosen, looked, adapter, record, within)
    result = {
        "n": len(rows),
        "n_offered": len(looked.places),
        "n_known": n_known,
        "n_outside": None if outside is None else outside.flags.count("outside"),
        "n_left_out": left_out,
        "n_skipped": dict(Counter(s.kind for s in (*adapter.skipped, *looked.skipped))),
        "strategy": strategy,
        "notes": [_CANNOT_TELL if outside is None else outside.note],
        "cases": rows,
    }
    if out is not None:
        wish: Pictures = pictures or config.report.pictures
        names = list(rows[0])
        write_csv(Path(out), names, [[row[name] for name in names] for row in rows])
        shown = _thumbnails(adapter, [looked.places[i] for i in chosen], record, wish)
        write_page(_page(Path(out)), result, record, shown, NOTES[wish])
    return result


def _outside(sure: Uncertainty, looked: Looked, included: bool) -> Outside:
    """Which cases ``predict`` would flag."""
    assert looked.embeddings is not None, "they are looked up where the run can tell"
    scores = sure.reference.score(looked.embeddings)
    flags = sure.flags(scores)
    rate = sure.record.outside.false_alarms
    if sure.record.outside.threshold is None:
        note = (
            "No case was flagged as of another kind than the training cases: the run had too few "
            f"validation patients for a false alarm rate of {rate:.0%}."
        )
        return Outside(scores, flags, note)
    count = flags.count("outside")
    note = (
        f"{count} of {len(flags)} cases are of another kind than the training cases (ood_flag, at "
        f"a false alarm rate of {rate:.0%})"
    )
    if included:
        note += " and could be chosen: make sure that they belong to the question."
    elif count:
        note += " and were left out; look at them, and to choose among them give --include-outside."
    else:
        note += "."
    return Outside(scores, flags, note)


def _page(out: Path) -> Path:
    return out.with_suffix(".html")


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
    chosen: Sequence[int],
    looked: Looked,
    adapter: Adapter,
    record: ModelRecord,
    outside: Outside | None,
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
        if outside is not None:
            row |= outside.columns(i)
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

"""``radzoo classify ensemble``: several runs, or one with dropout left on, on labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import zoo
from data_adapters.adapter import Adapter
from data_adapters.cache import decode
from data_adapters.home import home
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import make_targets, open_data, require_classes
from recipes.classification.evaluating import choose_part, in_part, match_classes, opening
from recipes.classification.inference import cached_logits, infer
from recipes.classification.joined import Result, check, store
from recipes.classification.outputs import write_csv
from recipes.config import load_config
from recipes.engine.checkpoint import check_writable
from recipes.engine.dropout import HeadDropout
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import RecipeError
from recipes.evaluation.assess import evaluate as score
from recipes.evaluation.bootstrap import group_index
from recipes.evaluation.compare import paired_difference
from recipes.progress import Reporter
from recipes.uncertainty.ensembles import Ensemble
from recipes.uncertainty.ensembles import ensemble as combine
from recipes.uncertainty.selective import selective_figures
from recipes.uncertainty.summary import mean_figure

HEADLINE = ("auc", "accuracy", "balanced_accuracy", "log_loss", "brier", "ece")
COMPARED = ("auc", "log_loss")


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities of one run.

    Attributes:
        prob: Adapter index -> ``(members, k)``.
        seen: Adapter indices whose pixels were in its training part.
        record: Its record.
    """

    prob: dict[int, npt.NDArray[np.float64]]
    seen: set[int]
    record: ModelRecord


def ensemble(
    runs: Sequence[str | Path],
    source: str | Path,
    *,
    part: str | None = None,
    mc_dropout: int = 0,
    out: str | Path | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score the mean of several runs' probabilities, and how far they disagree.

    Cases whose pixels were in the training part of any of the runs are left out.

    Args:
        runs: Run folders with the same classes; at least two, or one with ``mc_dropout``.
        source: Labelled data.
        part: ``train``, ``val`` or ``test``; None: test, else every case.
        mc_dropout: Passes of each network with the dropout of its head left on; 0: none.
        out: A name that ends in ``.csv``: a table of case, mean probabilities, entropy and
            disagreement in nats. Else a new run folder, in which the ensemble is one model that
            every command takes like a fit's.
        n_boot: Bootstrap replicates.
        seed: Seed of passes and bootstrap.
        reporter: Progress; quiet where None.

    Returns:
        ``members`` (headline figures of each run), ``ensemble`` (all figures), ``difference``
        (ensemble minus each run, on the same resamples), ``disagreement`` and ``entropy``, and
        ``selective`` prediction by confidence and by agreement; ``stored``: whether a run folder
        was written.

    Raises:
        recipes.errors.RecipeError: Runs that do not fit together or the data, one run alone, or
            no dropout to leave on.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folders = [Path(run) for run in runs]
    if not folders or (len(folders) == 1 and mc_dropout < 2):
        raise RecipeError(
            "an ensemble needs two runs or more, or one with --mc-dropout of at least 2 passes"
        )
    if mc_dropout and len(folders) > 1:
        raise RecipeError("--mc-dropout takes one run; give it alone, or several runs without it")
    table = Path(out) if out is not None and Path(out).suffix.lower() == ".csv" else None
    target = Path(out) if out is not None and table is None else None
    if table is not None:
        check_writable(table)
    if target is not None:
        if mc_dropout:
            raise RecipeError(
                "passes with dropout are no runs, and no model is made of them; give --out a name "
                "that ends in .csv, for a table of the cases"
            )
        check(folders, target)
    with reporter or Reporter(quiet=True) as live:
        config = load_config(ClassificationConfig, file=folders[0] / "config.yaml")
        adapter = open_data(str(source), opening(config.data, str(source)))
        require_classes(adapter)
        chosen, shown = choose_part(adapter, part)
        answers = [
            _answers(folder, adapter, chosen, live, passes=mc_dropout, seed=seed)
            for folder in folders
        ]
        record, scored, each = _scored(answers, adapter, chosen, shown)
        whole = combine(np.concatenate(each), kind=record.kind)
        result = _figures(record, each, whole, scored, n_boot=n_boot, seed=seed)
        if table is not None:
            _write(table, adapter, scored.rows, record, whole)
        _, notes = match_classes(adapter, record)
        notes += [_MC_NOTE] if mc_dropout else []
        if target is not None:
            scored = replace(scored, prob=whole.prob, figures=result)
            notes += store(target, folders, config, adapter, scored, n_boot=n_boot, live=live)
    seen = set().union(*(a.seen for a in answers))
    return result | {
        "part": shown,
        "n_seen": len(seen.intersection(chosen)),
        "n_skipped": len(chosen) - len(set(chosen) & set(answers[0].prob)),
        "method": "mc dropout" if mc_dropout else "deep ensemble",
        "stored": target is not None,
        "notes": notes,
    }


def _scored(
    answers: list[Answers], adapter: Adapter, chosen: list[int], part: str
) -> tuple[ModelRecord, Result, list[npt.NDArray[np.float64]]]:
    """The cases that no run was trained on, their truth, and each run's probabilities of them."""
    record = _same(answers)
    seen = set().union(*(a.seen for a in answers))
    rows = [i for i in chosen if i not in seen and all(i in a.prob for a in answers)]
    if not rows:
        raise RecipeError(
            f"no case left: {len(seen)} of {len(chosen)} were in the training part of a run; give "
            "other data"
        )
    each = [np.stack([a.prob[i] for i in rows], axis=1) for a in answers]
    order, _ = match_classes(adapter, record)
    index = tuple(adapter.index[i] for i in rows)
    targets = make_targets(index, record.kind, len(adapter.class_names))
    targets = np.pad(targets, ((0, 0), (0, 1)))[:, order]
    truth = targets.argmax(axis=1) if record.kind == "single" else targets
    groups = [row.patient_id for row in index]
    return record, Result(rows, each[0].mean(axis=0), truth, groups, part, {}), each


_MC_NOTE = (
    "Passes differ by the dropout of the head alone, and see each case in one view only; networks "
    "trained apart disagree more, and their disagreement tells more (arXiv:1906.02530)."
)


def _answers(
    folder: Path, adapter: Adapter, chosen: list[int], live: Reporter, *, passes: int, seed: int
) -> Answers:
    model, record = load_model(folder)
    match_classes(adapter, record)
    if passes:
        with live.task("decoding", len(adapter)) as step:
            decoded = decode(adapter, record.chain, home=home(), progress=step)
        kept = np.asarray([i for i in chosen if decoded.ok[i]], "int64")
        cut = HeadDropout(model)
        with live.task("predicting", len(kept)) as step:
            ready = zoo.for_inference(cut.features)
            features = cached_logits(ready, decoded.images, kept, (), progress=step)
        logits = cut.passes(features, count=passes, seed=seed)
        hashes = tuple(decoded.sha256[int(i)] for i in kept)
    else:
        with live.task("predicting", len(chosen)) as step:
            found = infer(model, record, adapter, chosen, progress=step)
        kept, logits, hashes = found.indices, found.logits[None], found.sha256
    prob = np.stack([probabilities(z, task=record.kind) for z in logits], axis=1)
    seen = in_part(folder, hashes, "train")
    return Answers(
        prob={int(i): p for i, p in zip(kept, prob, strict=True)},
        seen={int(i) for i in kept[seen]},
        record=record,
    )


def _same(answers: list[Answers]) -> ModelRecord:
    """The record that all runs share as far as it matters here."""
    first = answers[0].record
    for other in (a.record for a in answers[1:]):
        if (other.kind, other.class_names) != (first.kind, first.class_names):
            raise RecipeError(
                f"the runs do not know the same classes: {', '.join(first.class_names)}; and "
                f"{', '.join(other.class_names)}"
            )
    return first


def _figures(
    record: ModelRecord,
    each: list[npt.NDArray[np.float64]],
    whole: Ensemble,
    scored: Result,
    *,
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    truth, groups = scored.truth, scored.groups
    asked: dict[str, Any] = {
        "class_names": record.class_names,
        "positive": record.positive,
        "task": record.kind,
        "n_boot": n_boot,
        "seed": seed,
    }
    own = [prob.mean(axis=0) for prob in each]
    metrics = score(truth, whole.prob, groups, **asked)
    members, differences = [], []
    for prob in own:
        figures = score(truth, prob, groups, **asked)
        members.append({name: figures[name] for name in HEADLINE if name in figures})
        differences.append(
            {
                name: paired_difference(truth, whole.prob, prob, groups, name, **asked)
                for name in COMPARED
                if name in metrics
            }
        )
    group_of, _ = group_index(groups, len(truth))
    boot = {"n_boot": n_boot, "seed": seed}
    result: dict[str, Any] = {
        "n": len(truth),
        "n_members": int(sum(len(prob) for prob in each)),
        "ensemble": metrics,
        "members": members,
        "difference": differences if len(each) > 1 else [],
        "disagreement": mean_figure(whole.disagreement, group_of, **boot),
        "entropy": mean_figure(whole.entropy, group_of, **boot),
    }
    if record.kind == "single":
        wrong = np.asarray(whole.prob.argmax(axis=1) != truth, "float64")
        result["selective"] = {
            "confidence": selective_figures(wrong, whole.prob.max(axis=1), group_of, **boot),
            "agreement": selective_figures(wrong, -whole.disagreement, group_of, **boot),
        }
    return result


def _write(
    path: Path, adapter: Adapter, rows: Sequence[int], record: ModelRecord, found: Ensemble
) -> None:
    names = record.class_names
    header = ["case_id", *(f"p_{name}" for name in names), "entropy", "disagreement"]
    write_csv(
        path,
        header,
        (
            [
                adapter.index[i].case_id,
                *(f"{p:.6f}" for p in found.prob[place]),
                f"{found.entropy[place]:.6f}",
                f"{found.disagreement[place]:.6f}",
            ]
            for place, i in enumerate(rows)
        ),
    )

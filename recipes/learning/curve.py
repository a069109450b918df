"""``radzoo classify learning-curve``: fits on more and more training patients, scored alike."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.errors import LeakageError
from data_adapters.split_table import read_splits
from recipes.classification.config import ClassificationConfig
from recipes.config import digest, load_config
from recipes.engine.checkpoint import discard, write_json
from recipes.engine.modelfile import MODEL_FILE, load_record
from recipes.errors import ConfigError, RecipeError, RunFolderError
from recipes.evaluation.question import ask
from recipes.learning.bands import Key, Point, curve_rows, replicates
from recipes.learning.power_law import extrapolate
from recipes.progress import Reporter
from recipes.runs import RunFolder
from zoo.errors import ZooError
from zoo.weights.manifest import NAME

PLAN_FILE = "learning.json"
RESULT_FILE = "result.json"
METRICS = ("auc", "average_precision", "accuracy", "balanced_accuracy")
"""Figures between 0 and 1 of which more is better."""


@dataclass(frozen=True)
class CurvePlan:
    """What is fitted.

    Attributes:
        config: The configuration of all fits.
        sizes: Numbers of training patients.
        repeats: Draws of training patients (rounds of the folds first, where there are folds).
        weights: Where training starts: ``imagenet``, ``none``, a name of ``radzoo models`` or a
            file. The others are compared with the first.
        metric: One of `METRICS`.
        ahead: Sizes to extrapolate to; None takes two and four times the largest.
    """

    config: ClassificationConfig
    sizes: tuple[int, ...]
    repeats: int = 3
    weights: tuple[str, ...] = ("imagenet", "none")
    metric: str = "auc"
    ahead: tuple[int, ...] | None = None

    def check(self) -> None:
        """Refuse what cannot be had before anything is fitted.

        Raises:
            ConfigError: Sizes, repeats or metric do not fit.
            ZooError: Weights are not to be had.
        """
        import zoo
        from zoo.weights.loading import find_weights

        if not self.sizes or min(self.sizes) < 2 or len(set(self.sizes)) < len(self.sizes):
            raise ConfigError("--sizes wants different numbers of patients, 2 or more each")
        if not self.weights or len(set(self.weights)) < len(self.weights):
            raise ConfigError("--weights wants different names")
        if self.metric not in METRICS:
            raise ConfigError(f"unknown --metric {self.metric!r}; known: {', '.join(METRICS)}")
        for own in (self.config.data.train_patients, self.config.data.draw or None):
            if own is not None:
                raise ConfigError(
                    "a learning curve sets data.train_patients and data.draw itself; leave them out"
                )
        if self.config.data.folds == "sites":
            raise ConfigError("a learning curve over folds wants a number of them, not sites")
        spec = zoo.get_spec(self.config.model.backbone)
        for name in self.weights:
            find_weights(spec, None if name == "none" else name)

    def point(self, key: Key) -> ClassificationConfig:
        """Configuration of one fit."""
        name, size, repeat = key
        folds = self.config.data.folds
        data: dict[str, Any] = {"train_patients": size, "draw": repeat}
        if isinstance(folds, int):
            data |= {"fold": repeat % folds, "draw": repeat // folds}
        plain = self.config.model_dump(mode="json")
        plain["data"] |= data
        plain["model"]["weights"] = name
        return load_config(ClassificationConfig, base=plain)

    def labels(self) -> dict[str, str]:
        """What each of `weights` is called; a file has no name here: its path is the user's own."""
        names = {name: name for name in self.weights if NAME.fullmatch(name)}
        files = [name for name in self.weights if name not in names]
        number = {name: f" {k + 1}" if len(files) > 1 else "" for k, name in enumerate(files)}
        return {name: names.get(name, f"local file{number.get(name)}") for name in self.weights}

    def points(self) -> list[Key]:
        """All fits; repeat by repeat, so that an interrupted curve is even."""
        wanted = itertools.product(range(self.repeats), sorted(self.sizes), self.weights)
        return [(name, size, repeat) for repeat, size, name in wanted]

    def identity(self) -> str:
        """Hash of what all points share; sizes, repeats and weights may be added to later."""
        return digest(self.config.computed())


def folder_of(out: Path, plan: CurvePlan, key: Key) -> Path:
    """Run folder of a fit; weights files are numbered, their paths being the user's own."""
    name, size, repeat = key
    plain = name if name.replace("_", "").replace("-", "").isalnum() else f"file-{digest(name)[:8]}"
    return out / "runs" / plain / f"patients-{size:05d}" / f"repeat-{repeat:02d}"


def learning_curve(
    source: str | Path, out: str | Path, plan: CurvePlan, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Fit every point that is missing, then draw the curve.

    Args:
        source: Labelled data, as for fit.
        out: Folder of the curve; the same call resumes, more sizes or repeats are added.
        plan: What is fitted.
        reporter: Progress; quiet where None.

    Returns:
        ``metric``, ``part``, ``n``, ``rows`` (see `bands.curve_rows`), ``law`` (weights to what
        `power_law.extrapolate` returned), ``failed`` and ``notes``.

    Raises:
        RecipeError: The plan does not fit, or no point could be fitted.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(out)
    plan.check()
    _begin(folder, plan)
    failed: list[dict[str, Any]] = []
    with reporter or Reporter(quiet=True) as live:
        keys = plan.points()
        for done, key in enumerate(keys):
            live.show("fits", done, len(keys))
            error = _fit(str(source), folder_of(folder, plan, key), plan.point(key))
            name = plan.labels()[key[0]]
            live.say(f"{name}, {key[1]} patients, repeat {key[2]}: {error or 'done'}")
            if error is not None:
                row = {"weights": name, "patients": key[1], "repeat": key[2]}
                failed.append(row | {"message": str(error)})
        live.clear()
    result = assemble(folder, plan, failed)
    write_json(folder / RESULT_FILE, result)
    from recipes.learning.page import write_page

    write_page(folder, result)
    return result


def _begin(folder: Path, plan: CurvePlan) -> None:
    path = folder / PLAN_FILE
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("config") != plan.identity():
            raise RunFolderError(
                "the folder holds a learning curve of another configuration; choose another --out"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise RunFolderError("the folder is not empty and holds no learning curve")
    write_json(path, {"config": plan.identity()})


def _fit(source: str, run: Path, config: ClassificationConfig) -> Exception | None:
    """Fit one point; the error that ended it, None where it is done. Keeps figures, no model.

    Weights that do not fit, or have seen cases of this fold, end their own points alone.
    """
    from recipes.classification.fitting import fit

    state = RunFolder(run).read()
    if state is None or not state.finished:
        try:
            fit(source, run, config, reporter=Reporter(quiet=True))
        except (RecipeError, ZooError, LeakageError) as error:
            return error
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    discard(run / MODEL_FILE)
    return None


def read_point(run: Path) -> tuple[Point, str]:
    """What a finished fit answered, and on which part."""
    record = load_record(run)
    part = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["part"]
    patients = {row.case_id: row.patient or None for row in read_splits(run / "splits.csv")}
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == part]
    names = record.class_names
    prob = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    if record.kind == "single":
        prob = prob / prob.sum(axis=1, keepdims=True)
        y: Any = np.array([names.index(row["label"]) for row in rows])
    else:
        texts = [row["label"].split(";") for row in rows]
        y = np.array([[float(t) if t else np.nan for t in row] for row in texts])
    question = ask(y, prob, class_names=names, positive=record.positive, task=record.kind)
    cases = tuple(row["case_id"] for row in rows)
    return Point(question, cases, tuple(patients.get(case) for case in cases)), part


def assemble(folder: Path, plan: CurvePlan, failed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The curve from the finished fits.

    Raises:
        RecipeError: No fit is finished.
    """
    points: dict[Key, Point] = {}
    parts = set()
    labels = plan.labels()
    for key in plan.points():
        state = RunFolder(folder_of(folder, plan, key)).read()
        if state is not None and state.finished:
            point, part = read_point(folder_of(folder, plan, key))
            points[labels[key[0]], key[1], key[2]] = point
            parts.add(part)
    if not points:
        reasons = sorted({row["message"] for row in failed})
        raise RecipeError(f"no point of the curve could be fitted: {'; '.join(reasons)}")
    evaluate = plan.config.evaluate
    plain, means = replicates(points, plan.metric, n_boot=evaluate.n_boot, seed=plan.config.seed)
    names = list(labels.values())
    rows = curve_rows(points, plain, means, names)
    law = {name: _law(name, rows, means, plan) for name in names}
    shown = "test" if parts == {"test"} else "val"
    result: dict[str, Any] = {
        "metric": plan.metric,
        "part": shown,
        "n": len({case for point in points.values() for case in point.cases}),
        "backbone": plan.config.model.backbone,
        "folds": plan.config.data.folds,
        "weights": names,
        "rows": rows,
        "law": law,
        "failed": list(failed),
    }
    result["notes"] = notes(result)
    return result


def _law(
    name: str, rows: Sequence[dict[str, Any]], means: dict[tuple[str, int], Any], plan: CurvePlan
) -> dict[str, Any]:
    own = [row for row in rows if row["weights"] == name]
    if not own:
        return {"refused": "no finished fit"}
    sizes = [row["patients"] for row in own]
    if min(row["repeats"] for row in own) < 2:
        return {"refused": "one repeat; the draw of patients varies, which wants two or more"}
    values = np.array([row["figure"]["value"] for row in own], "float64")
    draws = np.column_stack([means[name, size] for size in sizes])[:200]
    ahead = plan.ahead or (2 * max(sizes), 4 * max(sizes))
    return extrapolate(sizes, values, draws, targets=ahead, level=0.95)


def notes(result: dict[str, Any]) -> list[str]:
    """What the curve says and does not say."""
    said = [
        "Bands are 95% bootstrap intervals of the mean over repeats, drawing both the scored "
        "patients and the repeats; they leave out what another seed of training would change."
    ]
    if result["part"] == "val":
        said.append(
            "There is no test part: figures are of the validation part, which chose each fit's "
            "epoch, so they flatter, small sizes most."
        )
    for name, law in result["law"].items():
        if "refused" in law:
            what = "training from scratch" if name == "none" else name
            said.append(f"No extrapolation for {what}: {law['refused']}.")
    if any("law" in law for law in result["law"].values()):
        said.append(
            "The extrapolation assumes an inverse power law (Figueroa et al. 2012); real learning "
            "curves can bend otherwise (Viering & Loog 2021), and other sites are not in it."
        )
    if result["failed"]:
        said.append(f"{len(result['failed'])} fits failed and are left out.")
    return said

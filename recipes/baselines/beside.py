"""Baselines of a run's question on a run's own parts, each beside the network."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.baselines.models import BaselineError, count_fits, families, fit_family
from recipes.baselines.simple import simple_features
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared, open_data, prepare
from recipes.config import load_config
from recipes.engine.checkpoint import write_json
from recipes.errors import RunFolderError
from recipes.evaluation.assess import evaluate
from recipes.evaluation.compare import paired_difference
from recipes.evaluation.operating_point import choose_operating_point
from recipes.progress import Reporter
from recipes.runs import RunFolder

FILE = "baselines.json"
SHOWN = ("auc", "accuracy", "balanced_accuracy", "sensitivity_op", "specificity_op", "brier")
"""Figures of each row, where the question has them."""
COMPARED = ("auc", "accuracy", "balanced_accuracy", "brier")
"""Figures whose paired difference to the network is given."""
BATCH = 64


def check_wishes(task: str, backbone: str) -> None:
    """Refuse baselines that cannot be had, before any work.

    Args:
        task: The adapter's.
        backbone: Name of the backbone.

    Raises:
        BaselineError: The question has several labels for a case, or the backbone has no ImageNet
            weights.
        ZooError: They are not here and cannot be brought.
    """
    import zoo
    from zoo.weights.loading import find_weights

    if task != "single":
        raise BaselineError(
            "baselines answer questions with one class for each case, and these data have several "
            "labels; leave evaluate.baselines out"
        )
    spec = zoo.get_spec(backbone)
    if not any(weights.name == "imagenet" for weights in spec.weights):
        raise BaselineError(
            f"backbone {backbone!r} has no ImageNet weights for the embeddings of the baselines; "
            "choose another backbone, or leave evaluate.baselines out"
        )
    find_weights(spec, "imagenet")


def embeddings(
    prepared: Prepared, backbone: str, rows: npt.NDArray[np.int64], reporter: Reporter, what: str
) -> npt.NDArray[np.float64]:
    """What the backbone with ImageNet weights, frozen, makes of pictures: averaged top features.

    Args:
        prepared: Data and parts.
        backbone: Its name.
        rows: Usable rows.
        reporter: Progress.
        what: Name of the part, for the bar.

    Returns:
        ``(rows, features)``.
    """
    from data_adapters.pipeline import eval_stream
    from zoo.heads import create_model, split_head

    model = create_model(
        backbone,
        input_shape=prepared.input_shape,
        classes=2,
        weights="imagenet",
        input_range=prepared.input_range,
    )
    extractor, _ = split_head(model)
    found = []
    cached = prepared.cache_rows(rows)
    with reporter.task(f"embedding {what}", len(rows)) as step:
        for batch in eval_stream(prepared.decoded.images, cached, batch_size=BATCH):
            found.append(np.asarray(extractor.predict_on_batch(np.asarray(batch)), "float64"))
            step(sum(map(len, found)), len(rows))
    return np.concatenate(found)


class Baselines:
    """Fits every family on every kind of features, and scores them like the network."""

    def __init__(
        self, prepared: Prepared, config: ClassificationConfig, reporter: Reporter
    ) -> None:
        """Keep what all baselines share.

        Args:
            prepared: Data, parts and targets.
            config: The run's configuration.
            reporter: Progress.
        """
        self.prepared = prepared
        self.config = config
        self.reporter = reporter
        self.classes = len(prepared.class_names)

    def run(
        self, part: str, network: npt.NDArray[np.float64], threshold: float | None
    ) -> dict[str, Any]:
        """Score all baselines on a part.

        Args:
            part: ``"test"``, or ``"val"`` where there is no test part.
            network: The network's probabilities of the part, ``(n, classes)``.
            threshold: Its operating threshold, where it has one.

        Returns:
            ``part``, ``n``, ``unit``, ``network`` (its figures) and ``rows``: for each baseline
            ``features``, ``model``, ``chosen``, ``figures`` (with intervals), ``difference``
            (network minus baseline, paired intervals) and ``seconds`` of fitting; ``notes``; and
            ``seconds`` of wall time: ``features`` by kind, ``fits`` and ``total``.
        """
        begin = time.perf_counter()
        features = {
            "simple": self._simple,
            f"frozen {self.config.model.backbone} (ImageNet)": self._embedded,
        }
        rows, spent = [], {}
        for name, make in features.items():
            start = time.perf_counter()
            x = {one: make(one) for one in dict.fromkeys(("train", "val", part))}
            spent[name] = round(time.perf_counter() - start, 2)
            rows += [row | {"features": name} for row in self._families(x, part, network)]
        own = self._figures(part, network, threshold)
        return {
            "part": part,
            "n": own["n"],
            "unit": own["unit"],
            "network": {name: own[name] for name in SHOWN if name in own},
            "rows": rows,
            "notes": notes(rows, part),
            "seconds": {
                "features": spent,
                "fits": round(sum(row["seconds"] for row in rows), 2),
                "total": round(time.perf_counter() - begin, 2),
            },
        }

    def _simple(self, part: str) -> npt.NDArray[np.float64]:
        low, high = self.prepared.input_range
        rows = self.prepared.cache_rows(self.prepared.rows(part))
        with self.reporter.task(f"simple features {part}", len(rows)) as step:
            return simple_features(
                self.prepared.decoded.images, rows, low=low, high=high, progress=step
            )

    def _embedded(self, part: str) -> npt.NDArray[np.float64]:
        backbone = self.config.model.backbone
        return embeddings(self.prepared, backbone, self.prepared.rows(part), self.reporter, part)

    def _truth(self, part: str) -> npt.NDArray[np.int64]:
        return np.asarray(self.prepared.targets[self.prepared.rows(part)].argmax(axis=1))

    def _families(
        self, x: dict[str, npt.NDArray[np.float64]], part: str, network: npt.NDArray[np.float64]
    ) -> list[dict[str, Any]]:
        found = []
        y = self._truth("train")
        groups = self.prepared.groups(self.prepared.rows("train"))
        done, total = 0, sum(count_fits(family) for family in families())
        with self.reporter.task("baselines", total) as show:

            def step() -> None:
                nonlocal done
                done += 1
                show(min(done, total), total)

            for family in families():
                start = time.perf_counter()
                fitted = fit_family(
                    family,
                    x["train"],
                    y,
                    groups,
                    classes=self.classes,
                    seed=self.config.seed,
                    step=step,
                )
                seconds = round(time.perf_counter() - start, 2)
                prob = fitted.probabilities(x[part])
                threshold = self._threshold(fitted.probabilities(x["val"]))
                figures = self._figures(part, prob, threshold)
                found.append(
                    {
                        "model": family.name,
                        "chosen": fitted.chosen,
                        "figures": {name: figures[name] for name in SHOWN if name in figures},
                        "difference": self._differences(part, network, prob),
                        "seconds": seconds,
                    }
                )
        return found

    def _threshold(self, val: npt.NDArray[np.float64]) -> float | None:
        """The operating point of a baseline, chosen on validation by the run's rule."""
        positive = self.prepared.positive
        if positive is None:
            return None
        column = self.prepared.class_names.index(positive)
        truth = (self._truth("val") == column).astype(float)
        rule = self.config.evaluate.operating_point
        return choose_operating_point(truth, val[:, column], rule=rule).threshold

    def _figures(
        self, part: str, prob: npt.NDArray[np.float64], threshold: float | None
    ) -> dict[str, Any]:
        return evaluate(
            self._truth(part),
            prob,
            self.prepared.groups(self.prepared.rows(part)),
            class_names=self.prepared.class_names,
            positive=self.prepared.positive,
            task="single",
            threshold=threshold,
            n_boot=self.config.evaluate.n_boot,
            seed=self.config.seed,
        )

    def _differences(
        self, part: str, network: npt.NDArray[np.float64], prob: npt.NDArray[np.float64]
    ) -> dict[str, Any]:
        return {
            metric: paired_difference(
                self._truth(part),
                network,
                prob,
                self.prepared.groups(self.prepared.rows(part)),
                metric,
                class_names=self.prepared.class_names,
                positive=self.prepared.positive,
                task="single",
                n_boot=self.config.evaluate.n_boot,
                seed=self.config.seed,
            )
            for metric in COMPARED
        }


def notes(rows: Sequence[dict[str, Any]], part: str) -> list[str]:
    """What the table says and does not say."""
    best = max(rows, key=lambda row: row["figures"]["auc"]["value"] or 0.0)
    gap = best["difference"]["auc"]
    said = [
        "Differences are network minus baseline on the same cases, with paired bootstrap "
        "intervals; settings of the baselines were chosen by cross-validation over training "
        "patients alone."
    ]
    if gap["low"] is None or gap["high"] is None:
        said.append("The AUC difference to the best baseline has no interval: too few cases.")
    elif gap["low"] <= 0 <= gap["high"]:
        said.append(
            f"The interval of the AUC difference to the best baseline ({best['model']} on "
            f"{best['features']}) contains 0: these {part} cases do not show that the network "
            "is better."
        )
    else:
        word = "higher" if gap["low"] > 0 else "lower"
        said.append(
            f"The network's AUC is {word} than that of the best baseline ({best['model']} on "
            f"{best['features']}); the best of six was picked on these cases, which favours it."
        )
    if part == "val":
        said.append(
            "There is no test part: the validation part chose the network's epoch, which favours "
            "the network."
        )
    return said


def baselines(
    run: str | Path, source: str | Path, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """``radzoo classify baselines``: fit baselines on the parts of a finished run.

    Args:
        run: Run folder of a finished fit.
        source: The data that it was fitted on.
        reporter: Progress; quiet where None.

    Returns:
        See `Baselines.run`; also written to ``baselines.json`` in the run folder.

    Raises:
        recipes.errors.RecipeError: The run is not finished, or the data are not its own.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    state = RunFolder(folder).read()
    if state is None or not state.finished:
        raise RunFolderError("no finished run in this folder; give its fit command again first")
    config = load_config(ClassificationConfig, file=folder / "config.yaml")
    with reporter or Reporter(quiet=True) as live:
        adapter = open_data(str(source), config.data)
        check_wishes(adapter.task, config.model.backbone)
        with live.task("decoding", len(adapter)) as step:
            prepared = prepare(adapter, config, progress=step)
        if prepared.data_hash != state.data:
            raise RunFolderError(
                "these data are not those of the run (pixels, labels or ids differ); baselines "
                "must be fitted and scored on the run's own parts"
            )
        written = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        part, point = written["part"], written["operating_point"]
        network = stored_probabilities(folder, prepared, part)
        result = Baselines(prepared, config, live).run(
            part, network, None if point is None else point["threshold"]
        )
    write_json(folder / FILE, result)
    return result


def stored_probabilities(folder: Path, prepared: Prepared, part: str) -> npt.NDArray[np.float64]:
    """The network's probabilities of a part, from ``predictions.csv``, in the order of its rows.

    Raises:
        RunFolderError: A case of the part is not in the file.
    """
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        found = {row["case_id"]: row for row in csv.DictReader(file) if row["part"] == part}
    names = [f"p_{name}" for name in prepared.class_names]
    try:
        prob = np.array(
            [[float(found[i][name]) for name in names] for i in prepared.ids(prepared.rows(part))]
        )
    except KeyError as error:
        raise RunFolderError(f"predictions.csv lacks {error} of the {part} part") from None
    return np.asarray(prob / prob.sum(axis=1, keepdims=True))

"""Do prediction sets hold the truth as often as they say, over 200 random splits?

1. A closed form: logits whose softmax is the true class probability (Gaussian classes), made too
   sharp by a factor of 3. The temperature is known (3), and so is the coverage of a set.
2. The same for labels that exclude no other: logits of two labels, three times too sharp and
   half as sharp as they should be, a quarter of the labels unknown; coverage of each answer.
3. Cached logits of finished runs on validation cases, which the network was not fitted to.

In each split half of the cases calibrate (temperature, conformal scores and alarm threshold
cross-fitted within that half) and the other half is judged. The bar is a mean coverage within one
point of the stated 90%.

    python benchmarks/conformal.py --run RUN DATA --run RUN2 DATA2 --json figures.json
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from environment import describe, write_json

from recipes.classification.calibrating import find_parts
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import make_targets, open_data
from recipes.classification.evaluating import match_classes
from recipes.classification.inference import infer
from recipes.config import load_config
from recipes.engine.modelfile import load_model
from recipes.uncertainty.calibration import Rules, apply, fit_calibration
from recipes.uncertainty.conformal import (
    ANSWERS,
    conformal_quantile,
    conformal_scores,
    prediction_sets,
)
from recipes.uncertainty.outside import alarm_threshold
from recipes.uncertainty.record import load_uncertainty

COVERAGE = 0.9
WAYS = (("lac", False), ("lac", True), ("aps", False), ("aps", True))


def main() -> None:
    """Print one row per source of logits and kind of set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs=2, action="append", default=[], metavar=("RUN", "DATA"))
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    logits, targets, far = closed_form(1000, seed=0)
    rows += all_ways("closed form, 3 classes", logits, targets, far, args.splits)
    rows += label_rows(1000, args.splits)
    for run, data in args.run:
        logits, targets, far = cached(Path(run), data)
        rows += all_ways(Path(run).name, logits, targets, far, args.splits)
    for row in rows:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy", "scipy")}
    write_json(args.json, {"splits": args.splits, "rows": rows} | describe(versions))


def closed_form(n: int, *, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Any]:
    """Logits of Gaussian classes at known means, three times too sharp; and a normal score."""
    rng = np.random.default_rng(seed)
    means = np.asarray([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    labels = rng.integers(0, 3, n)
    x = means[labels] + rng.normal(size=(n, 2))
    exact = -0.5 * np.square(x[:, None] - means).sum(axis=2)
    return 3.0 * exact, np.eye(3)[labels], np.abs(rng.normal(size=n))


def label_rows(n: int, splits: int) -> list[dict[str, Any]]:
    """Coverage among the cases with a label and without it, fresh data in every split."""
    covered: dict[tuple[int, str], list[float]] = {}
    sharpness = np.asarray([3.0, 0.5])
    for seed in range(splits):
        rng = np.random.default_rng([seed, 2])
        exact = rng.normal([-0.6, -1.9], [1.6, 1.5], size=(n, 2))
        truth = (rng.random((n, 2)) < 1 / (1 + np.exp(-exact))).astype(float)
        truth[rng.random((n, 2)) < 0.25] = np.nan
        logits, half = sharpness * exact, n // 2
        rules = Rules("multilabel", coverage=COVERAGE, seed=seed)
        found = fit_calibration(logits[:half], truth[:half], np.arange(half), rules)
        sets = apply(found, logits[half:]).sets
        for k in (0, 1):
            for answer, name in enumerate(ANSWERS):
                mine = truth[half:, k] == answer
                covered.setdefault((k, name), []).append(sets[mine, k, answer].mean())
    return [
        {"source": f"closed form, label {k}", **summary(f"lac, {name}", shares), "n": n}
        for (k, name), shares in covered.items()
    ]


def cached(run: Path, data: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Any]:
    """Logits, targets and foreign-case scores of a run's validation cases."""
    model, record = load_model(run)
    config = load_config(ClassificationConfig, file=run / "config.yaml")
    adapter = open_data(data, config.data)
    order, _ = match_classes(adapter, record)
    found = infer(model, record, adapter, find_parts(run, adapter)["val"], embed=True)
    rows = tuple(adapter.index[i] for i in found.indices)
    targets = make_targets(rows, record.kind, len(adapter.class_names))[:, order]
    sure = load_uncertainty(run, model_sha256=record.model_sha256)
    if sure is None:
        raise SystemExit(f"{run.name} has no uncertainty: radzoo classify calibrate RUN DATA")
    return found.logits, targets, sure.reference.score(np.asarray(found.embeddings))


def all_ways(name: str, logits: Any, targets: Any, far: Any, splits: int) -> list[dict[str, Any]]:
    """Rows of one source: every kind of set, then the alarm threshold."""
    rows = []
    for method, per_class in WAYS:
        rules = Rules(coverage=COVERAGE, method=method, per_class=per_class)  # type: ignore[arg-type]
        rows.append({"source": name, **one_way(logits, targets, rules, splits)})
    rows.append({"source": name, **drawn_aps(logits, targets, splits)})
    rows.append({"source": name, **alarms(far, splits)})
    return rows


def halves(n: int, splits: int) -> Any:
    """Random halves: who calibrates, who is judged."""
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(n)
        yield seed, order[: n // 2], order[n // 2 :]


def one_way(logits: Any, targets: Any, rules: Rules, splits: int) -> dict[str, Any]:
    """Coverage and size over the splits; the smallest coverage of a class, on the mean."""
    labels = targets.argmax(axis=1)
    covered, sizes, worst, temperatures = [], [], [], []
    for seed, cal, rest in halves(len(logits), splits):
        used = Rules(rules.kind, rules.coverage, rules.method, rules.per_class, seed)
        found = fit_calibration(logits[cal], targets[cal], np.arange(len(cal)), used)
        sets = apply(found, logits[rest]).sets
        hit = sets[np.arange(len(rest)), labels[rest]]
        covered.append(hit.mean())
        sizes.append(sets.sum(axis=1).mean())
        worst.append([hit[labels[rest] == k].mean() for k in range(targets.shape[1])])
        temperatures.append(found.temperature)
    return summary(f"{rules.method}{' per class' if rules.per_class else ''}", covered) | {
        "n": len(logits),
        "mean_size": float(np.mean(sizes)),
        "lowest_class_coverage": float(np.mean(worst, axis=0).min()),
        "temperature": float(np.median(temperatures)),
    }


def drawn_aps(logits: Any, targets: Any, splits: int) -> dict[str, Any]:
    """Randomised adaptive sets on calibrated probabilities: exact coverage, sets that vary."""
    labels = targets.argmax(axis=1)
    covered = []
    for seed, cal, rest in halves(len(logits), splits):
        rules = Rules(coverage=COVERAGE, method="aps", seed=seed)
        found = fit_calibration(logits[cal], targets[cal], np.arange(len(cal)), rules)
        u = np.random.default_rng([seed, 1]).random(len(logits))
        scores = conformal_scores(found.probabilities(logits), method="aps", u=u)
        own = scores[cal, labels[cal]]
        limit = conformal_quantile(own, np.arange(len(cal)), coverage=COVERAGE)
        covered.append(prediction_sets(scores[rest], limit)[np.arange(len(rest)), labels[rest]])
    return summary("aps randomised", [hit.mean() for hit in covered]) | {"n": len(logits)}


def alarms(far: Any, splits: int) -> dict[str, Any]:
    """Share of own cases that are not flagged, at 10% of false alarms."""
    kept = []
    for _, cal, rest in halves(len(far), splits):
        limit = alarm_threshold(far[cal], np.arange(len(cal)), false_alarms=1 - COVERAGE)
        kept.append((far[rest] <= limit).mean())
    return summary("not flagged", kept) | {"n": len(far)}


def summary(way: str, covered: Any) -> dict[str, Any]:
    """Mean coverage with the central 95% of the splits."""
    low, high = np.quantile(covered, [0.025, 0.975])
    return {
        "way": way,
        "coverage": float(np.mean(covered)),
        "low": float(low),
        "high": float(high),
        "within_a_point": bool(abs(np.mean(covered) - COVERAGE) <= 0.01),
    }


if __name__ == "__main__":
    main()

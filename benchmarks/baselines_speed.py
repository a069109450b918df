"""What do plain classifiers beside a network cost, and do they stay the same when made faster?

Made-up embeddings as wide as those of a backbone, with two overlapping classes. Each family is
fitted in two ways: as scikit-learn has it (`GridSearchCV`, and for the SVM
`CalibratedClassifierCV(ensemble=False)` behind it, which fits the folds again), and as
`recipes.baselines` does (one kernel matrix for all costs of a fold, calibration from the machines
of the search, the trees of a forest on all cores).

    python benchmarks/baselines_speed.py --cases 4708 --width 1280 --json baselines_speed.json

CPU seconds of the process, which other work on the machine hardly changes, and wall seconds, which
it does.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, write_json

from recipes.baselines.models import Family, families, fit_family, inner_folds


def main() -> None:
    """Fit every family both ways and print a row of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=4708)
    parser.add_argument("--width", type=int, default=1280, help="features of an embedding")
    parser.add_argument("--family", action="append", help="only this one (may be repeated)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    x, y = clouds(args.cases, args.width, args.seed)
    new, _ = clouds(1000, args.width, args.seed + 1)
    few, answers = clouds(100, 8, args.seed)
    for family in families():  # what is loaded on first use counts on neither side
        fit_family(family, few, answers, [None] * 100, classes=2, seed=0)
        by_scikit_learn(family, few, answers, 0)
    rows = []
    for family in families():
        if args.family and family.name not in args.family:
            continue
        begin = clock()
        ours = fit_family(family, x, y, [None] * len(y), classes=2, seed=args.seed)
        prob = ours.probabilities(new)[:, 1]
        between = clock()
        theirs, chosen = by_scikit_learn(family, x, y, args.seed)
        reference = theirs.predict_proba(new)[:, 1]
        end = clock()
        row = {
            "family": family.name,
            "cpu_scikit_learn": end[0] - between[0],
            "cpu_here": between[0] - begin[0],
            "wall_scikit_learn": end[1] - between[1],
            "wall_here": between[1] - begin[1],
            "chosen_scikit_learn": chosen,
            "chosen_here": ours.chosen,
            "largest_difference": float(np.abs(prob - reference).max()),
        }
        rows.append(row)
        print({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    settings = {"cases": args.cases, "width": args.width, "seed": args.seed}
    versions = {name: version(name) for name in ("numpy", "scikit-learn")}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))


def clock() -> tuple[float, float]:
    """CPU seconds of this process, and seconds on the wall."""
    return time.process_time(), time.perf_counter()


def clouds(n: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rectified mixtures of 40 hidden figures, five of which differ a little by class."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(40, width)) / 6
    y = (rng.random(n) < 0.74).astype("int64")
    hidden = rng.normal(size=(n, 40))
    hidden[:, :5] += 0.9 * (y[:, None] - 0.5)
    return np.maximum(hidden @ mixing + 0.5 * rng.normal(size=(n, width)), 0.0), y


def by_scikit_learn(
    family: Family, x: np.ndarray, y: np.ndarray, seed: int
) -> tuple[Any, dict[str, Any]]:
    """The fitted classifier and its chosen setting, by scikit-learn's own means."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    name, values = family.grid
    folds = inner_folds(y, [None] * len(y), seed=seed)
    if family.make is None:
        machine = SVC(class_weight="balanced", random_state=seed)
        model: Any = Pipeline([("scale", StandardScaler()), ("model", machine)])
    else:
        model = family.make(seed)
        if "model__n_jobs" in model.get_params() and "forest" in family.name:
            model.set_params(model__n_jobs=None)
    search = GridSearchCV(
        model,
        {f"model__{name}": list(values)},
        scoring="roc_auc" if family.make is None else "neg_log_loss",
        cv=folds,
        refit=False,
    ).fit(x, y)
    model = model.set_params(**search.best_params_)
    if family.make is None:
        model = CalibratedClassifierCV(model, cv=folds, ensemble=False)
    return model.fit(x, y), {name: search.best_params_[f"model__{name}"]}


if __name__ == "__main__":
    main()

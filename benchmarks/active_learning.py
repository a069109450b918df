"""Do chosen labels teach more than drawn ones? (PneumoniaMNIST, BreastMNIST)

Pictures are described once by an ImageNet backbone that stays frozen; a logistic regression learns
from the labelled ones. From a few labelled pictures on, each strategy of `radzoo classify suggest`
chooses the next ones in rounds, and the model is fitted anew; the test part is the file's `val`
pictures. One repetition costs a second, so that there are enough of them for an interval; what is
measured is the choice of cases, not a fine-tuned network.

    python benchmarks/active_learning.py pneumoniamnist.npz --seeds 20 --json active.json

Differences from `random` are paired over seeds (the same first pictures), with Student's
t-interval. `mc` asks the regression with random features left out (the dropout of the recipe's
head, at prediction; the regression itself is fitted without).
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json

STRATEGIES = ("random", "entropy", "margin", "mc", "kcenter", "badge", "mixed")
PASSES, DROPPED = 20, 0.5
FIGURES = ("auc", "balanced_accuracy")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="pneumoniamnist.npz or breastmnist.npz")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=64, help="side of the input in pixels")
    parser.add_argument("--first", type=int, default=20, help="labelled cases to start from")
    parser.add_argument("--step", type=int, default=20, help="cases chosen in a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="random among them")
    parser.add_argument("--features", type=Path, help="npz to keep the features in")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    data = load(args)
    curves = {
        name: np.asarray([one_run(data, name, seed, args) for seed in range(args.seeds)])
        for name in args.strategies.split(",")
    }
    rows = summarise(curves, args)
    for row in rows:
        text = f"{row['strategy']:9} {row['labels']:4d} labels"
        for name in FIGURES:
            text += f"  {name} {row[name]['median']:.3f}"
            if "gain" in row[name]:
                text += " {gain:+.3f} [{from:+.3f}, {to:+.3f}]".format(**row[name])
        print(text)
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy", "scikit-learn")}
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "features", "json")}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))


def load(args: argparse.Namespace) -> dict[str, Any]:
    """Standardised features and labels of both parts; features are computed once."""
    archive = np.load(args.data)
    if args.features is not None and args.features.is_file():
        stored = dict(np.load(args.features))
    else:
        stored = {part: describe_pictures(archive[f"{part}_images"], args) for part in PARTS}
        if args.features is not None:
            np.savez(args.features, **stored)
    mean, deviation = stored["train"].mean(axis=0), stored["train"].std(axis=0) + 1e-6
    return {
        part: ((stored[part] - mean) / deviation, archive[f"{part}_labels"].ravel())
        for part in PARTS
    }


PARTS = ("train", "val")


def describe_pictures(images: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """Pooled features of the level below the top, as the recipe's head takes them."""
    import cv2

    from zoo.heads import create_model, split_head

    model = create_model(
        args.backbone,
        input_shape=(args.size, args.size, 1),
        classes=2,
        levels=("P4",),
        pooling="stats",
    )
    network, _ = split_head(model)
    grown = [cv2.resize(i, (args.size,) * 2, interpolation=cv2.INTER_CUBIC) for i in images]
    inputs = np.stack(grown)[..., None].astype("float32")
    return np.asarray(network.predict(inputs, batch_size=64, verbose=0))


def one_run(
    data: dict[str, Any], strategy: str, seed: int, args: argparse.Namespace
) -> list[list[float]]:
    """Figures after each round, the first included."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    from recipes.fewlabels.selecting import choose

    x, y = data["train"]
    test_x, test_y = data["val"]
    labelled = start(y, args.first, np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])
    figures = []
    for turn in range(args.rounds + 1):
        model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        model.fit(x[labelled], y[labelled])
        p = model.predict_proba(test_x)
        figures.append(
            [
                float(roc_auc_score(test_y, p[:, 1])),
                float(balanced_accuracy_score(test_y, p.argmax(axis=1))),
            ]
        )
        if turn == args.rounds:
            return figures
        rest = np.setdiff1d(np.arange(len(x)), labelled)
        passes = dropped(model, x[rest], rng) if strategy == "mc" else None
        picked = choose(
            strategy,
            args.step,
            p=model.predict_proba(x[rest]),
            features=x[rest],
            task="single",
            rng=rng,
            passes=passes,
            centres=x[labelled],
        )
        labelled = np.concatenate([labelled, rest[picked]])
    return figures


def dropped(model: Any, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probabilities ``(passes, n, k)`` with another half of the features at 0 in each pass."""
    found = []
    for _ in range(PASSES):
        kept = (rng.random(x.shape, dtype=np.float32) >= DROPPED) / (1 - DROPPED)
        found.append(model.predict_proba(x * kept))
    return np.stack(found)


def start(y: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Drawn cases, drawn again until every class is among them."""
    while True:
        drawn = rng.permutation(len(y))[:count]
        if len(np.unique(y[drawn])) == len(np.unique(y)):
            return drawn


def summarise(curves: dict[str, np.ndarray], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Medians over seeds, and paired differences from random."""
    from scipy import stats

    rows = []
    for turn in range(args.rounds + 1):
        for name, values in curves.items():
            row: dict[str, Any] = {"strategy": name, "labels": args.first + turn * args.step}
            for column, figure in enumerate(FIGURES):
                own = values[:, turn, column]
                row[figure] = {"median": float(np.median(own))}
                if name != "random" and turn:
                    gains = own - curves["random"][:, turn, column]
                    half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
                    mean = float(gains.mean())
                    row[figure] |= {"gain": mean, "from": mean - half, "to": mean + half}
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()

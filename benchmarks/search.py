"""Does a random search of 20 trials beat the plain configuration on few pictures?

All labelled cases of an npz are cut into as many folds as there are seeds. In each, one fold is the
test part, an eighth of the rest validates, and `radzoo classify search` draws trials that see
neither the test part nor each other's. Then the test part is looked at twice: by the winner, and by
the plain configuration (trial 0), so that both can be compared where nothing was chosen.

    python benchmarks/search.py breastmnist.npz --out runs/search --positive malignant \
        --space benchmarks/search_space.yaml --trials 20 --folds 3 --json search.json

Finished trials are not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

from environment import describe, warn_when_busy, write_json
from scipy import stats

from recipes.quiet import quiet_backend
from seeds import write_folds


def one(args: argparse.Namespace, data: Path, fold: int) -> dict[str, Any]:
    """Search one fold, and test the plain configuration beside the winner."""
    from recipes.classification.fitting import fit
    from recipes.progress import Reporter
    from recipes.search.command import make_plan
    from recipes.search.running import Budget, search

    words = {"sampler": args.sampler, "pruner": args.pruner, "engine": "local"}
    changes = [f"data.positive={args.positive}", f"seed={fold}", *args.changes]
    plan = make_plan("classification", args.space, "auc", words, fold, None, changes)
    folder = args.out / f"fold-{fold}"
    result = search(data, folder, plan, Budget(args.trials), reporter=Reporter(quiet=False))
    winner = result["winner"]
    plain_run = args.out / f"plain-{fold}"
    fit(str(data), plain_run, plan.config({}))
    plain = json.loads((plain_run / "metrics.json").read_text(encoding="utf-8"))
    tested = winner["test"]
    return {
        "fold": fold,
        "winner": winner["number"],
        "values": winner["values"],
        "validation": {"winner": winner["validation"]["value"], "plain": result["baseline"]},
        "corrected": result["optimism"]["corrected"],
        "test": {"winner": tested["auc"], "plain": plain["metrics"]["auc"]},
        "n_test": winner["n_test"],
        "cost": result["cost"],
        "counts": result["counts"],
    }


def paired(rows: list[dict[str, Any]], part: str) -> dict[str, float]:
    """Mean difference winner minus plain over the folds, with Student's 95% interval."""

    def value(figure: Any) -> float:
        return float(figure["value"] if isinstance(figure, dict) else figure)

    gaps = [value(row[part]["winner"]) - value(row[part]["plain"]) for row in rows]
    mean = statistics.mean(gaps)
    if len(gaps) < 2:
        return {"mean": mean}
    half = stats.t.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


def main() -> None:
    """Search every fold and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--space", type=Path)
    parser.add_argument("--positive", required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--pruner", default="none")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    quiet_backend()
    rows = []
    for fold, data in enumerate(write_folds(args.data, args.out / "data", args.folds)):
        rows.append(one(args, data, fold))
        print(json.dumps(rows[-1]), flush=True)
        summary = {part: paired(rows, part) for part in ("validation", "test")}
        names = ("radzoo", "tensorflow", "keras", "optuna")
        versions = {name: metadata.version(name) for name in names}
        settings = {"trials": args.trials, "sampler": args.sampler, "set": args.changes}
        write_json(
            args.json,
            describe(versions) | {"settings": settings, "folds": rows, "difference": summary},
        )
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()

"""Is a film of another kind flagged? Breast ultrasound for a chest model, and the reverse.

Fits one small classifier per seed on PneumoniaMNIST (chest radiographs) and one on BreastMNIST
(ultrasound), both 28 x 28 grey, so that neither size nor format gives the answer away, and scores
the validation cases of both with each (`uncertainty` of the run). The area under the ROC curve
tells foreign from own cases; the flags are those at the stated rate of false alarms, own cases
judged by folds. Fits that are there are used again.

    python benchmarks/out_of_distribution.py MEDMNIST_FOLDER --out RUNS --json figures.json
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, write_json

from data_adapters.split_table import read_splits
from recipes.classification.calibrating import calibrate
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import open_data
from recipes.classification.fitting import fit
from recipes.classification.inference import Inference, infer
from recipes.config import load_config
from recipes.engine.modelfile import load_model
from recipes.evaluation.bootstrap import percentile_interval
from recipes.uncertainty.record import load_uncertainty

SETS = ("pneumoniamnist", "breastmnist")
METHODS = ("mahalanobis", "neighbours")
SHORT = (
    "data.image_size=64",
    "data.leakage=drop",
    "model.members=1",
    "train.finetune.epochs=2",
    "evaluate.tta=false",
    "evaluate.n_boot=200",
)


def main() -> None:
    """Fit what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the npz files of MedMNIST")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        runs = {name: fitted(args.data / f"{name}.npz", args.out, seed) for name in SETS}
        for own, other in (SETS, SETS[::-1]):
            for method in METHODS:
                rows.append(one_row(runs[own], args.data, own, other, method) | {"seed": seed})
                print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()})
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy", "scikit-learn")}
    write_json(args.json, {"settings": SHORT, "rows": rows} | describe(versions))


def fitted(source: Path, out: Path, seed: int) -> Path:
    """Run folder of a short fit, made where it is missing."""
    run = out / f"{source.stem}-{seed}"
    if not (run / "model.json").is_file():
        config = load_config(ClassificationConfig, changes=[*SHORT, f"seed={seed}"])
        fit(source, run, config)
    return run


def one_row(run: Path, data: Path, own: str, other: str, method: str) -> dict[str, Any]:
    """Area and rates of one model and one distance."""
    from sklearn.metrics import roc_auc_score

    done = calibrate(run, data / f"{own}.npz", [f"uncertainty.outside={method}"], n_boot=100)
    _, record = load_model(run)
    found = load_uncertainty(run, model_sha256=record.model_sha256)
    assert found is not None
    inside = found.reference.score(np.asarray(embedded(run, data / f"{own}.npz", own).embeddings))
    foreign = found.reference.score(
        np.asarray(embedded(run, data / f"{other}.npz", None).embeddings)
    )
    truth = np.repeat([0, 1], [len(inside), len(foreign)])
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(500):
        a, b = rng.choice(inside, len(inside)), rng.choice(foreign, len(foreign))
        draws.append(roc_auc_score(truth, np.concatenate([a, b])))
    low, high, _ = percentile_interval(np.asarray(draws), 0.95)
    flags = found.flags(foreign)
    return {
        "model": own,
        "foreign": other,
        "method": method,
        "n_own": len(inside),
        "n_foreign": len(foreign),
        "auc": float(roc_auc_score(truth, np.concatenate([inside, foreign]))),
        "auc_low": low,
        "auc_high": high,
        "own_flagged": done["validation"]["outside"]["flagged"]["value"],
        "foreign_flagged": flags.count("outside") / len(flags),
    }


def embedded(run: Path, source: Path, own: str | None) -> Inference:
    """Embeddings of the run's validation cases, or of all cases of a foreign set's given one."""
    model, record = load_model(run)
    config = load_config(ClassificationConfig, file=run / "config.yaml")
    adapter = open_data(str(source), config.data)
    if own is not None:
        names = {r.case_id for r in read_splits(run / "splits.csv") if r.part == "val"}
        places = [i for i, row in enumerate(adapter.index) if row.case_id in names]
    else:
        places = [i for i, row in enumerate(adapter.index) if row.part == "val"]
    return infer(model, record, adapter, places, embed=True)


if __name__ == "__main__":
    main()

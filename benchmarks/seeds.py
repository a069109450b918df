"""How far the result of a fit depends on the seed, and what it is on cases held out.

Each run is the command ``radzoo classify fit`` in a process of its own, timed from outside.

    python benchmarks/seeds.py breastmnist.npz --out runs/seeds --seeds 5
    python benchmarks/seeds.py breastmnist.npz --out runs/scratch --seeds 5 --set model.weights=none
    python benchmarks/seeds.py breastmnist.npz --out runs/folds --folds 5

With ``--seeds`` the parts are those of the data, and figures of the validation part flatter, since
they chose the epoch too. With ``--folds`` (an npz file) all labelled cases are cut into that many
folds; each is the test part once, an eighth of the rest is the validation part, and near duplicates
of held-out cases leave the training side (``--leakage strict``). Runs that are finished are not
repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json
from sklearn.model_selection import StratifiedKFold, train_test_split

METRICS = ("auc", "accuracy", "balanced_accuracy", "log_loss", "brier")


def write_folds(source: Path, folder: Path, folds: int) -> list[Path]:
    """One npz of the same name for every fold, with parts of its own."""
    with np.load(source, allow_pickle=False) as data:
        parts = [name for name in ("train", "val", "test") if f"{name}_labels" in data]
        images = np.concatenate([data[f"{name}_images"] for name in parts])
        labels = np.concatenate([data[f"{name}_labels"] for name in parts])
    cut = StratifiedKFold(folds, shuffle=True, random_state=0)
    paths = []
    for number, (rest, test) in enumerate(cut.split(images, labels[:, 0])):
        train, val = train_test_split(
            rest, test_size=1 / 8, random_state=number, stratify=labels[rest, 0]
        )
        path = folder / f"data-{number}" / source.name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"train": train, "val": val, "test": test}
        arrays = {f"{part}_images": images[r] for part, r in rows.items()}
        np.savez(path, **arrays, **{f"{part}_labels": labels[r] for part, r in rows.items()})
        paths.append(path)
    return paths


def fit(data: Path, out: Path, seed: int, changes: list[str]) -> dict[str, Any]:
    """One fit; its wall time and the figures of its last part."""
    command = [sys.executable, "-m", "recipes.classification", "fit", str(data)]
    command += ["--out", str(out), "--seed", str(seed), "--quiet"]
    for change in changes:
        command += ["--set", change]
    record = out / "seconds.json"
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if not record.exists():
        record.write_text(json.dumps(time.perf_counter() - start))
    written = json.loads((out / "metrics.json").read_text())
    part = written["metrics"]
    chosen = {name: part[name]["value"] for name in METRICS if name in part}
    return {"seed": seed, "seconds": json.loads(record.read_text()), "n": part["n"], **chosen}


def main() -> None:
    """Run, print a line per run, then mean and standard deviation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    if args.folds:
        files = write_folds(args.data, args.out, args.folds)
        changes = [*args.changes, "data.leakage=strict"]
    else:
        files, changes = [args.data] * args.seeds, args.changes
    rows = []
    for number, file in enumerate(files):
        rows.append(fit(file, args.out / f"run-{number}", number, changes))
        print(json.dumps(rows[-1]), flush=True)
    summary = {
        key: {
            "mean": statistics.mean(row[key] for row in rows),
            "sd": statistics.stdev(row[key] for row in rows) if len(rows) > 1 else 0.0,
        }
        for key in ("seconds", *METRICS)
        if all(key in row for row in rows)
    }
    print(json.dumps(summary, indent=2))
    if args.json:
        versions = {name: metadata.version(name) for name in ("radzoo", "tensorflow", "keras")}
        write_json(args.json, describe(versions) | {"runs": rows, "summary": summary})


if __name__ == "__main__":
    main()

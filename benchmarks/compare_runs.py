"""Two finished runs on the same cases: the difference of a metric, with a paired interval.

Both runs must hold the same part of the same data (their `predictions.csv` name the cases). The
interval resamples cases, so it leaves out what another seed would change.

    python benchmarks/compare_runs.py runs/pretrained runs/scratch --part val --metric auc
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from recipes.engine.modelfile import ModelRecord, load_record
from recipes.evaluation.compare import paired_difference


def read(run: Path, part: str) -> tuple[ModelRecord, dict[str, tuple[int, list[float]]]]:
    """Record of a run, and class number and probabilities of each case of a part."""
    record = load_record(run)
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == part]
    names = list(record.class_names)
    return record, {
        row["case_id"]: (names.index(row["label"]), [float(row[f"p_{name}"]) for name in names])
        for row in rows
    }


def main() -> None:
    """Print metric, difference (first minus second) and interval as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--part", default="val")
    parser.add_argument("--metric", action="append")
    args = parser.parse_args()
    record, first = read(args.first, args.part)
    other, second = read(args.second, args.part)
    if first.keys() != second.keys() or record.class_names != other.class_names or not first:
        raise SystemExit(f"the runs do not hold the same cases of part {args.part!r}")
    ids = sorted(first)
    y = np.array([first[i][0] for i in ids])
    a, b = (np.array([run[i][1] for i in ids]) for run in (first, second))
    result = {
        metric: paired_difference(
            y,
            a / a.sum(axis=1, keepdims=True),
            b / b.sum(axis=1, keepdims=True),
            None,
            metric,
            class_names=record.class_names,
            positive=record.positive,
            task=record.kind,
        )
        for metric in args.metric or ["auc", "accuracy", "log_loss"]
    }
    print(json.dumps({"part": args.part, "n": len(ids), "difference": result}, indent=2))


if __name__ == "__main__":
    main()

"""How much does a pretrained encoder help when few slices are labelled? (ISBI 2012)

One U-Net, its encoder pretrained on ImageNet or from random values, trained for the same time on 4,
8 and 20 electron-microscopy slices and scored on 4 slices that no run has trained on: the point of
"Deep Learning: A Primer for Radiologists" on transfer learning with small data sets. Each run is
`radzoo segment fit` in a process of its own, one after the other.

The figures are of given slices, not of the challenge's hidden test part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json

from data_adapters import adapter as adapters
from data_adapters.split_table import split_rows, write_splits
from data_adapters.splits import Splits

HELD_OUT = 4
FIGURES = ("pixel_accuracy", "v_rand", "v_info", "dice")
SIDES = {"pretrained": "imagenet", "scratch": "none"}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with the TIFF stacks")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; resumes")
    parser.add_argument("--slices", type=int, nargs="+", default=[4, 8, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of every run")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG")
    args = parser.parse_args()
    warn_when_busy()
    rows = [
        one_run(args, side, count, seed)
        for seed, count, side in itertools.product(args.seeds, args.slices, SIDES)
    ]
    print(f"{'slices':>6} {'encoder':12}" + "".join(f"{name:>16}" for name in FIGURES))
    for row in rows:
        numbers = "".join(f"{row[name]:16.4f}" for name in FIGURES)
        print(f"{row['slices']:6d} {row['encoder']:12}{numbers}")
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    settings = {"minutes": args.minutes, "set": args.set, "held_out": HELD_OUT}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))
    if args.plot:
        plot(rows, args.plot)


def one_run(args: argparse.Namespace, side: str, count: int, seed: int) -> dict[str, Any]:
    """Fit on `count` slices, and its figures on the held-out ones."""
    args.out.mkdir(parents=True, exist_ok=True)
    splits = args.out / f"splits-{count}-{seed}.csv"
    if not splits.exists():
        write_parts(args.data, splits, count, seed)
    run = args.out / f"{side}-{count}-{seed}"
    settings = [
        "data.slices=true",
        "model.network=backbone",
        f"model.weights={SIDES[side]}",
        "evaluate.membranes=true",
        *args.set,
    ]
    command = [sys.executable, "-c", "from recipes.cli import main; main()", "segment", "fit"]
    command += [args.data, "--out", str(run), "--splits", str(splits), "--seed", str(seed)]
    command += ["--budget-minutes", str(args.minutes), "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    means = {name: metrics["mean"][name]["value"] for name in FIGURES}
    return {"slices": count, "encoder": side, "seed": seed, "n": metrics["n"], **means}


def write_parts(data: str, path: Path, count: int, seed: int) -> None:
    """The last slices validate in every run; training slices are drawn from the others."""
    index = adapters.open(data, slices=True).index
    last = len(index) - HELD_OUT
    if count > last:
        raise SystemExit(f"{count} slices asked for; {last} are there beside the held-out ones")
    drawn = np.random.default_rng(seed).permutation(last)[:count]
    parts = ["val" if i >= last else "train" if i in drawn else "" for i in range(len(index))]
    write_splits(path, split_rows(index, Splits(tuple(parts), "image", official=False)))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Pixel accuracy and V Rand against the number of slices, a line per encoder."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for axis, name, title in zip(
        axes, ("pixel_accuracy", "v_rand"), ("Pixel accuracy", "V Rand"), strict=True
    ):
        for side, style in zip(SIDES, ("o-", "s--"), strict=True):
            own = [row for row in rows if row["encoder"] == side]
            counts = sorted({row["slices"] for row in own})
            means = [
                sum(row[name] for row in own if row["slices"] == n)
                / sum(row["slices"] == n for row in own)
                for n in counts
            ]
            axis.plot(counts, means, style, label=side)
        axis.set(title=title, xlabel="training slices", xticks=sorted({r["slices"] for r in rows}))
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()

"""What do unlabelled cases bring where few are labelled? (PneumoniaMNIST)

A share of the training pictures keeps its labels, the rest loses them. Every side gets the same
labelled pictures (70% to train on; 30% for the operating point, too few to choose an epoch by: the
last one is kept), the same steps and the same labelled batches; the test part is the file's `val`
pictures, which no side trains on. Each run is
`radzoo classify fit` in a process of its own; what was finished is not done again.

    python benchmarks/few_labels.py pneumoniamnist.npz --out RUNS --shares 0.01 0.05 \
        --seeds 0 1 2 --sides supervised fixmatch --json few_labels.json

Sides: supervised, pseudo, mean_teacher, fixmatch, and simclr, byol or masked, which fine-tune as
supervised does but start from weights pretrained (`radzoo pretrain`, once, one seed) on all
training pictures without their labels. Differences are paired over seeds, with Student's
t-interval; the draws of labelled pictures overlap little at small shares and the test part is the
same, so that the interval speaks for other draws and seeds, not for other patients.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json

SEMI = ("pseudo", "mean_teacher", "fixmatch")
PRETRAINED = ("simclr", "byol", "masked")
FIGURES = ("auc", "balanced_accuracy", "accuracy")
LABELLED_BATCH = 16
COMMON = (
    "data.leakage=drop",
    "train.monitor=epoch",
    "model.members=1",
    "evaluate.tta=false",
    "evaluate.n_boot=200",
    f"train.batch_size={LABELLED_BATCH}",
)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="pneumoniamnist.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; resumes")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sides", nargs="+", default=["supervised", "fixmatch"])
    parser.add_argument("--steps", type=int, default=200, help="gradient steps of phase 2")
    parser.add_argument("--epochs", type=int, default=10, help="validations of phase 2")
    parser.add_argument("--size", type=int, default=48, help="side of the input in pixels")
    parser.add_argument("--head-epochs", type=int, default=60)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every run")
    parser.add_argument("--through", default="", help="words before every command, e.g. 'nice'")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    rows = [
        one_run(args, side, share, seed)
        for share in args.shares
        for seed in args.seeds
        for side in args.sides
    ]
    summary = summarise(rows, args.sides)
    show(summary)
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "out", "json", "through")}
    write_json(
        args.json, {"settings": settings, "summary": summary, "rows": rows} | describe(versions)
    )


def one_run(args: argparse.Namespace, side: str, share: float, seed: int) -> dict[str, Any]:
    """Fit one side on one draw of labelled pictures, and its figures on the test part."""
    folder = args.out / f"{share:g}-{seed}"
    few, rest, counts = write_parts(args.data, folder, share, seed)
    run = folder / side
    labelled_steps = -(-counts["train"] // LABELLED_BATCH)
    settings = [
        *COMMON,
        f"data.image_size={args.size}",
        f"model.backbone={args.backbone}",
        f"train.head.epochs={args.head_epochs}",
        *args.set,
    ]
    words = ["classify", "fit", str(few), "--out", str(run), "--seed", str(seed)]
    epochs = args.epochs
    if side in SEMI:
        words += ["--unlabelled", str(rest)]
        settings += [f"semi.method={side}", f"semi.steps={args.steps // args.epochs}"]
    else:
        epochs = max(1, round(args.steps / labelled_steps))
    if side in PRETRAINED:
        # Pretraining saw those that set the operating point, unlabelled; never the test part.
        settings += [f"model.weights={pretrained(args, side)}", "data.leakage=allow"]
    settings += [f"train.finetune.epochs={epochs}", f"train.finetune.patience={epochs}"]
    for setting in settings:
        words += ["--set", setting]
    if not (run / "metrics.json").is_file():
        radzoo(args, words)
    content = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    figures = {name: content["metrics"][name]["value"] for name in FIGURES}
    return {
        "share": share,
        "seed": seed,
        "side": side,
        "n_train": counts["train"],
        "n_val": counts["val"],
        "n_unlabelled": counts["rest"] if side in SEMI else 0,
        "n_test": content["metrics"]["n"],
        "seconds": content["seconds"]["training"],
        **figures,
    }


def pretrained(args: argparse.Namespace, method: str) -> Path:
    """Weights pretrained on all training pictures that are not in the test part, made once."""
    folder = args.out / f"pretrain-{method}-{args.size}-{args.pretrain_epochs}"
    weights: Path = folder / "backbone.weights.h5"
    if not weights.is_file():
        pictures = args.out / "pretrain" / "pneumoniamnist_all.npz"
        pictures.parent.mkdir(parents=True, exist_ok=True)
        data = np.load(args.data)
        tested = {image.tobytes() for image in data["val_images"]}
        kept = [image for image in data["train_images"] if image.tobytes() not in tested]
        np.savez(pictures, train_images=np.stack(kept))
        words = ["pretrain", str(pictures), "--backbone", args.backbone, "--method", method]
        words += ["--out", str(folder), "--seed", "0", "--set", f"data.image_size={args.size}"]
        radzoo(args, [*words, "--set", f"train.epochs={args.pretrain_epochs}"])
    return weights


def write_parts(
    data: Path, folder: Path, share: float, seed: int
) -> tuple[Path, Path, dict[str, int]]:
    """Draw the labelled pictures, stratified by class, and write both files once."""
    from sklearn.model_selection import train_test_split

    archive = np.load(data)
    images, labels = archive["train_images"], archive["train_labels"].ravel()
    everything = np.arange(len(images))
    chosen, _ = train_test_split(
        everything, train_size=round(share * len(images)), stratify=labels, random_state=seed
    )
    train, val = train_test_split(chosen, test_size=0.3, stratify=labels[chosen], random_state=seed)
    rest = np.setdiff1d(everything, chosen)
    few, unlabelled = folder / "pneumoniamnist_few.npz", folder / "pneumoniamnist_rest.npz"
    if not unlabelled.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            few,
            train_images=images[train],
            train_labels=labels[train],
            val_images=images[val],
            val_labels=labels[val],
            test_images=archive["val_images"],
            test_labels=archive["val_labels"].ravel(),
        )
        np.savez(unlabelled, train_images=images[rest])
    return few, unlabelled, {"train": len(train), "val": len(val), "rest": len(rest)}


def radzoo(args: argparse.Namespace, words: list[str]) -> None:
    """One command in a process of its own."""
    start = [*shlex.split(args.through), sys.executable, "-c"]
    command = [*start, "from recipes.cli import main; main()", *words, "--quiet"]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def summarise(rows: list[dict[str, Any]], sides: list[str]) -> list[dict[str, Any]]:
    """Median of each side, and its paired difference from the first one."""
    from scipy import stats

    result = []
    for share in dict.fromkeys(row["share"] for row in rows):
        for side in sides:
            own = [row for row in rows if (row["share"], row["side"]) == (share, side)]
            base = [row for row in rows if (row["share"], row["side"]) == (share, sides[0])]
            entry: dict[str, Any] = {"share": share, "side": side, "seeds": len(own)}
            entry["seconds"] = statistics.median(row["seconds"] for row in own)
            for name in FIGURES:
                values = [row[name] for row in own]
                entry[name] = {
                    "median": statistics.median(values),
                    "low": min(values),
                    "high": max(values),
                }
                gains = [a[name] - b[name] for a, b in zip(own, base, strict=True)]
                if side != sides[0] and len(gains) > 1:
                    half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
                    mean = statistics.mean(gains)
                    entry[name] |= {"gain": mean, "from": mean - half, "to": mean + half}
            result.append(entry)
    return result


def show(summary: list[dict[str, Any]]) -> None:
    """Print the table."""
    for entry in summary:
        text = f"{entry['share']:5.0%} {entry['side']:13} {entry['seeds']} seeds"
        for name in FIGURES:
            figure = entry[name]
            text += f"  {name} {figure['median']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
            if "gain" in figure:
                text += f" {figure['gain']:+.3f} [{figure['from']:+.3f}, {figure['to']:+.3f}]"
        print(f"{text}  {entry['seconds']:.0f} s")


if __name__ == "__main__":
    main()

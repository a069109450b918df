"""Does masked pretraining of 3D kernels help where few people are labelled? (hippocampus, MSD)

A 2D backbone is inflated and pretrained once (`radzoo pretrain --method masked`, from ImageNet) on
the volumes of a fold's training people, without their masks. Then a segmentation is fine-tuned on a
few of these people, drawn anew for each seed, with the same steps, patches and settings from three
starts: the pretrained 3D kernels, the inflated ImageNet ones, random ones. The fold's validation
people test; nothing is chosen on them (one validation at the end, no mirrored views, no
postprocessing). Folds are by person; what was finished is not done again.

    python benchmarks/masked_volumes.py hippocampus --out RUNS --people 8 --seeds 0 1 2 \
        --steps 80 --pretrain-epochs 4 --json masked_volumes.json

The figure is the mean Dice of both classes of a volume, averaged over a person's volumes. The
differences from ImageNet's kernels are paired by person, averaged over the draws first; their
intervals are a percentile bootstrap over the validation people, and so speak for other people and
not for other draws: each draw's own difference is listed beside.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json

STARTS = ("masked", "imagenet", "none")
BASE = "imagenet"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the task, with splits.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; resumes")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--people", type=int, default=8, help="labelled people of a draw")
    parser.add_argument("--tested", type=int, help="validation people that test; all without it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--patch", type=int, nargs=3, default=[32, 32, 32])
    parser.add_argument("--steps", type=int, default=80, help="gradient steps of a fine-tuning")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pretrain-epochs", type=int, default=4)
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every fit")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    rows = [one_fit(args, seed, start) for seed in args.seeds for start in args.starts]
    summary = summarise(rows, args.starts)
    for entry in summary:
        print(line(entry), flush=True)
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "out", "json")}
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    content = {"settings": settings, "pretraining": about(args), "summary": summary, "rows": rows}
    write_json(args.json, content | describe(versions))


def one_fit(args: argparse.Namespace, seed: int, start: str) -> dict[str, Any]:
    """Fine-tune from one start on one draw of people; Dice of each validation person."""
    from recipes.config import load_config
    from recipes.segmentation.config import SegmentationConfig
    from recipes.segmentation.fitting import fit

    weights = str(pretrained(args)) if start == "masked" else start
    folder = args.out / f"{args.people}-{seed}"
    counts = write_draw(args, folder / "splits.csv", seed)
    config = load_config(
        SegmentationConfig,
        changes=[
            f"seed={seed}",
            f"data.splits={folder / 'splits.csv'}",
            "plan.dims=3",
            f"plan.patch={args.patch}",
            f"plan.batch={args.batch}",
            "model.network=backbone",
            f"model.backbone={args.backbone}",
            f"model.weights={weights}",
            "train.learning_rate=0.002",  # the same for all, whatever they start from
            f"train.steps={args.steps}",
            "train.rounds=1",
            "evaluate.tta=false",
            "evaluate.postprocess=false",
            "evaluate.n_boot=100",
            *args.set,
        ],
    )
    fit(args.data, folder / start, config)
    people = dice_of_people(folder / start / "cases.csv")
    dice = float(np.mean(list(people.values())))
    content = json.loads((folder / start / "metrics.json").read_text(encoding="utf-8"))
    seconds = content["seconds"]["training"]
    print(f"draw {seed} {start:9} Dice {dice:.4f}  {seconds} s", flush=True)
    return (
        {"seed": seed, "start": start, "dice": dice, "seconds": seconds}
        | counts
        | {"people": people}
    )


def pretrained(args: argparse.Namespace) -> Path:
    """Weights pretrained on the fold's training volumes without their masks, made once."""
    from recipes.config import load_config
    from recipes.fewlabels.config import PretrainConfig
    from recipes.fewlabels.pretraining import pretrain

    config = load_config(
        PretrainConfig,
        changes=[
            "method=masked",
            f"data.fold={args.fold}",
            f"data.patch={args.patch}",
            f"model.backbone={args.backbone}",
            f"train.epochs={args.pretrain_epochs}",
            "train.batch_size=4",
            "report.pictures=yes",
        ],
    )
    summary = pretrain(args.data, args.out / "pretrained", config)
    return args.out / "pretrained" / str(summary["weights"])


def write_draw(args: argparse.Namespace, path: Path, seed: int) -> dict[str, int]:
    """The parts of a draw: some people of the fold's training part, and its validation part."""
    from data_adapters import adapter as adapters
    from data_adapters.split_table import SplitRow, write_splits

    index = adapters.open(args.data, fold=args.fold).index
    rng = np.random.default_rng([seed, args.people])
    people = sorted({str(row.patient_id) for row in index if row.part == "train"})
    chosen = set(rng.permutation(people)[: args.people].tolist())
    others = sorted({str(row.patient_id) for row in index if row.part == "val"})
    tested = set(others[: args.tested])
    parts = [
        "train"
        if row.part == "train" and row.patient_id in chosen
        else "val"
        if row.part == "val" and row.patient_id in tested
        else ""
        for row in index
    ]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            SplitRow(row.case_id, patient=row.patient_id or "", part=part)
            for row, part in zip(index, parts, strict=True)
        ]
        write_splits(path, lines)
    return {
        "n_train": parts.count("train"),
        "n_train_people": len(chosen),
        "n_test": parts.count("val"),
        "n_test_people": len(tested),
    }


def dice_of_people(path: Path) -> dict[str, float]:
    """Mean Dice over classes and volumes of each validation person."""
    values: dict[str, list[float]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["part"] == "val":
                values[row["patient"]].append(float(row["dice"]))
    return {person: float(np.mean(found)) for person, found in sorted(values.items())}


def about(args: argparse.Namespace) -> dict[str, Any]:
    """What the pretraining says of itself."""
    path = args.out / "pretrained" / "metrics.json"
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    keys = ("n", "epochs", "loss", "feature_rank", "patches_in_epoch", "batch_size", "seconds")
    return {key: content[key] for key in keys}


def summarise(rows: list[dict[str, Any]], starts: list[str]) -> list[dict[str, Any]]:
    """Each start's Dice over the draws, and its paired difference from ImageNet's."""
    tables = {
        start: np.array([list(row["people"].values()) for row in rows if row["start"] == start])
        for start in starts
    }
    result = []
    for start, table in tables.items():
        entry: dict[str, Any] = {
            "start": start,
            "draws": len(table),
            "people": table.shape[1],
            "dice": float(table.mean()),
            "by_draw": table.mean(axis=1).tolist(),
        }
        if start != BASE and BASE in tables:
            gains = table - tables[BASE]
            low, high = interval(gains.mean(axis=0))
            entry |= {"gain": float(gains.mean()), "from": low, "to": high}
            entry["gain_by_draw"] = gains.mean(axis=1).tolist()
        result.append(entry)
    return result


def interval(values: Any, *, n_boot: int = 10_000) -> tuple[float, float]:
    """95% percentile bootstrap interval of a mean over people."""
    from recipes.evaluation.bootstrap import group_index, resamples

    groups, _ = group_index(None, len(values))
    means = np.concatenate([w @ values / w.sum(axis=1) for w in resamples(groups, n_boot, seed=0)])
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def line(entry: dict[str, Any]) -> str:
    """One start for the terminal."""
    text = f"{entry['start']:9} Dice {entry['dice']:.3f} ({entry['people']} people) by draw "
    text += " ".join(f"{value:.3f}" for value in entry["by_draw"])
    if "gain" in entry:
        text += f"  minus ImageNet {entry['gain']:+.3f} [{entry['from']:+.3f}, {entry['to']:+.3f}]"
        text += " by draw " + " ".join(f"{value:+.3f}" for value in entry["gain_by_draw"])
    return text


if __name__ == "__main__":
    main()

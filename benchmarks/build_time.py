"""Time to build a backbone, its weights included, once TensorFlow is loaded.

Every build is the first of a fresh process that has imported TensorFlow, Keras and ``zoo``; the
files are in the system's cache. Backbones whose weights are not on this machine are built with
random ones, which the table says. Medians over the rounds; every round builds all of them.

    python benchmarks/build_time.py
    python benchmarks/build_time.py --backbones all --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = (
    "efficientnet_lite0",
    "mobilenet_v2",
    "efficientnet_b0",
    "densenet121",
    "resnet50",
    "convnext_tiny",
    "inception_v3",
)
BUILD = """
import json, sys, time
name, weights, side, channels = json.loads(sys.argv[1])
import tensorflow, keras, zoo
zoo.get_spec(name)
start, busy = time.perf_counter(), time.process_time()
zoo.create_backbone(name, input_shape=(side, side, channels), weights=weights)
print(json.dumps([time.perf_counter() - start, time.process_time() - busy]))
"""


def build(name: str, weights: str | None, side: int, channels: int) -> tuple[float, float]:
    """Wall and processor seconds of one build in a fresh process."""
    order = json.dumps([name, weights, side, channels])
    done = subprocess.run(
        [sys.executable, "-c", BUILD, order], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wall, busy = json.loads(done.stdout.splitlines()[-1])
    return wall, busy


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(DEFAULT), help="names, or `all`")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Time every backbone, print the table, write the JSON."""
    import zoo

    args = arguments(argv)
    warn_when_busy()
    known = {row["name"]: row for row in zoo.backbone_table()}
    names = list(known) if args.backbones == ["all"] else args.backbones
    offline = set(zoo.list_backbones(weights="imagenet", offline=True))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(args.rounds + 1):
        for name in names:
            row = known[name]
            if 2 not in row["dims"]:
                continue
            weights = "imagenet" if name in offline else None
            taken = build(name, weights, row["input_size"], args.channels)
            if turn:  # the first turn fills the caches
                times[name].append(taken)
    table = Table("backbone", "weights", "millions of parameters", "median s", "processor s")
    rows: list[dict[str, Any]] = []
    for name, taken in times.items():
        if not taken:
            continue
        wall, busy = (statistics.median(column) for column in zip(*taken, strict=True))
        weights = "imagenet" if name in offline else "random"
        rows.append({"name": name, "weights": weights, "median_s": wall, "processor_s": busy})
        millions = f"{known[name]['params'] / 1e6:.1f}"
        table.add_row(name, weights, millions, f"{wall:.2f}", f"{busy:.2f}")
    Console().print(table)
    write_json(args.json, {"rounds": args.rounds, "rows": rows} | describe({}))


if __name__ == "__main__":
    main()

"""Time of one training step: radzoo beside the same network in PyTorch.

Three sides, each in a process of its own: radzoo (Keras on TensorFlow), PyTorch in its default
memory layout, PyTorch in channels_last. Every round times a few steps of each side, in an order
that turns from round to round, while the other sides wait; reported are medians over all steps
and the median over rounds of the ratio to radzoo. Both sides train every layer with AdamW on one
fixed batch of noise; their trainable parameters must agree to the last one.

    python benchmarks/training_step.py --peer-python .venv-bench/bin/python
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any

from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table
from sides import Side, alternate, cell, summary

HERE = Path(__file__).resolve().parent
SIDES = ("keras", "torch", "torch_channels_last")


def measure(
    args: argparse.Namespace, name: str, side: int, size: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """One row of the table: medians, spreads and ratios of all sides."""
    pythons = {s: sys.executable if s == "keras" else args.peer_python for s in args.sides}
    workers = [
        Side(s, [python, HERE / "workers.py", s], verbose=args.verbose)
        for s, python in pythons.items()
    ]
    try:
        build = {"name": name, "side": side, "size": size, "batch_norm": args.batch_norm}
        about = {w.side: w.ask(build=build) for w in workers}
        counts = {s: a["parameters"] for s, a in about.items()}
        if len(set(counts.values())) != 1:
            raise SystemExit(f"{name}: the sides train different networks: {counts}")
        for worker in workers:
            worker.ask(steps=args.warmup, what="train")
        rounds = alternate(workers, rounds=args.rounds, steps=args.steps, what="train")
    finally:
        for worker in workers:
            worker.close()
    row: dict[str, Any] = {"model": name, "side": side, "batch": size} | summary(
        rounds, base="keras"
    )
    row["parameters"] = next(iter(counts.values()))
    versions = {k: v for a in about.values() for k, v in a["versions"].items()}
    return row, versions


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="training step: median ms (quartiles), ratio to radzoo's")
    for column in ("model", "input", "batch", *SIDES):
        table.add_column(column)
    for row in rows:
        cells = [cell(row.get(side)) for side in SIDES]
        table.add_row(row["model"], str(row["side"]), str(row["batch"]), *cells)
    Console().print(table)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["efficientnet_lite0", "resnet50"])
    parser.add_argument("--side", nargs="+", type=int, default=[112, 224], help="input side, px")
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--batch-norm", choices=["frozen", "train"], default="train")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4, help="steps of each side in a round")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with torch")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--verbose", action="store_true", help="show what the sides print")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure every combination, print the table, write the JSON."""
    args = arguments(argv)
    warn_when_busy()
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for name, side, size in product(args.models, args.side, args.batch):
        row, seen = measure(args, name, side, size)
        rows.append(row)
        versions |= seen
    show(rows)
    settings = {k: getattr(args, k) for k in ("batch_norm", "rounds", "steps", "warmup")}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))


if __name__ == "__main__":
    main()

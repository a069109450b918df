"""Training step and inference of three networks: radzoo beside PyTorch, MONAI and medicai.

ResNet50 (224 px), a U-Net on DenseNet121 (256 px), a plain 3D U-Net (64 voxels, widths 16 to
128). Each side is a process of its own; rounds of a few steps take turns, the other sides blocked
meanwhile; reported are medians with quartiles, and the median over rounds of the ratio to
radzoo's, above 1 where the peer takes longer. ``torch`` is the same network to the last parameter
in the default memory layout, ``torch_channels_last`` in the other; MONAI and medicai have nearest
networks of their own, whose parameters are shown.

    python benchmarks/zoo_speed.py --peer-python .venv-bench/bin/python
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table
from sides import EndedError, Side, alternate, cell, summary

HERE = Path(__file__).resolve().parent
SIDES = ("radzoo", "torch", "torch_channels_last", "monai", "monai_channels_last", "medicai")
BATCHES = {"resnet50": 8, "unet_densenet121": 4, "unet3d": 2}
WITHOUT = {"unet_densenet121": ("monai", "monai_channels_last")}
WHAT = ("train", "infer")


def measure(args: argparse.Namespace, case: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Two rows, of training and inference, and the versions of the sides."""
    size = args.batch or BATCHES[case]
    chosen = [side for side in args.sides if side not in WITHOUT.get(case, ())]
    workers = [
        Side(side, [_python(args, side), HERE / "zoo_sides.py", side], verbose=args.verbose)
        for side in chosen
    ]
    rows = []
    try:
        build = {"case": case, "size": size, "threads": args.threads}
        about = {w.side: w.ask(build=build) for w in workers}
        parameters = {side: answer["parameters"] for side, answer in about.items()}
        if parameters.get("torch", parameters["radzoo"]) != parameters["radzoo"]:
            raise EndedError(f"{case}: radzoo and torch are different networks: {parameters}")
        for what in WHAT:
            for worker in workers:
                worker.ask(steps=args.warmup, what=what)
            rounds = alternate(workers, rounds=args.rounds, steps=args.steps, what=what)
            row = {"model": case, "what": what, "batch": size, "parameters": parameters}
            rows.append(row | summary(rounds, base="radzoo"))
    finally:
        for worker in workers:
            worker.close()
    return rows, {k: v for answer in about.values() for k, v in answer["versions"].items()}


def _python(args: argparse.Namespace, side: str) -> str:
    return sys.executable if side == "radzoo" else str(args.peer_python)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="median ms (quartiles), ratio to radzoo's; millions of parameters")
    for column in ("model", "what", "batch", *SIDES):
        table.add_column(column)
    for row in rows:
        cells = [
            f"{cell(row[side])} ({row['parameters'][side] / 1e6:.2f}M)" if side in row else ""
            for side in SIDES
        ]
        table.add_row(row["model"], row["what"], str(row["batch"]), *cells)
    Console(width=200).print(table)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(BATCHES), default=list(BATCHES))
    parser.add_argument("--batch", type=int, help="instead of the case's own")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3, help="steps of each side in a round")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="0: as each library chooses")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with the peers")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--verbose", action="store_true", help="show what the sides print")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure every case, print the table, write the JSON."""
    args = arguments(argv)
    warn_when_busy()
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for case in args.cases:
        found, seen = measure(args, case)
        rows += found
        versions |= seen
        show(found)
    settings = {k: getattr(args, k) for k in ("rounds", "steps", "warmup", "threads")}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))


if __name__ == "__main__":
    main()

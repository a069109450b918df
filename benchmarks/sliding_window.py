"""Inference of a volume larger than the patch: radzoo beside MONAI's and medicai's sliding windows.

One 3D U-Net (widths 16 to 128, BatchNorm) with the same weights on every side, patches of 64, a
volume of 160 a side. ``radzoo`` chooses for itself (one pass, or exact tiles), ``radzoo_blend``
and the peers blend windows that overlap by half, with Gaussian weights. Each side is a process of
its own; rounds take turns, the others blocked meanwhile; reported are medians with quartiles, the
median over rounds of the ratio to radzoo's, above 1 where the peer takes longer, and the largest
difference of the logits from ``radzoo_blend``'s, as a part of the largest logit.

    python benchmarks/sliding_window.py --peer-python .venv-bench/bin/python
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table
from sides import Side, alternate, cell, summary

HERE = Path(__file__).resolve().parent
OWN = ("radzoo", "radzoo_blend")
SIDES = (*OWN, "monai", "monai_channels_last", "medicai")


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures per side, and the versions."""
    workers = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            about = {}
            files = {side: Path(folder) / f"{side}.npy" for side in args.sides}
            for side in args.sides:
                python = sys.executable if side in OWN else args.peer_python
                workers.append(
                    Side(side, [python, HERE / "sliding_sides.py", side], verbose=args.verbose)
                )
                options = {k: getattr(args, k) for k in ("side", "patch", "batch", "threads")}
                about[side] = workers[-1].ask(build=options | {"out": str(files[side])})
            for worker in workers:
                worker.ask(steps=args.warmup, what="predict")
            rounds = alternate(workers, rounds=args.rounds, steps=1, what="predict")
            figures = summary(rounds, base="radzoo")
            if "radzoo_blend" in files:
                wanted = np.load(files["radzoo_blend"])
                for side, file in files.items():
                    apart = np.abs(np.load(file) - wanted).max() / np.abs(wanted).max()
                    figures[side]["logits_apart"] = float(apart)
        finally:
            for worker in workers:
                worker.close()
    return figures, {k: v for answer in about.values() for k, v in answer["versions"].items()}


def show(figures: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the table."""
    title = f"{args.side}^3 in patches of {args.patch}^3: median ms (quartiles), ratio to radzoo's"
    table = Table(title=title)
    for column in ("side", "time", "logits apart"):
        table.add_column(column)
    for side, found in figures.items():
        apart = found.get("logits_apart")
        table.add_row(side, cell(found), "" if apart is None else f"{apart:.1e}")
    Console().print(table)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=160, help="side of the volume, voxels")
    parser.add_argument("--patch", type=int, default=64, help="side of the windows, voxels")
    parser.add_argument("--batch", type=int, default=4, help="windows per pass of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's; 0: as it chooses")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with the peers")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--verbose", action="store_true", help="show what the sides print")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure every side, print the table, write the JSON."""
    args = arguments(argv)
    warn_when_busy()
    figures, versions = measure(args)
    show(figures, args)
    settings = {k: getattr(args, k) for k in ("side", "patch", "batch", "rounds", "warmup")}
    write_json(args.json, {"settings": settings, "sides": figures} | describe(versions))


if __name__ == "__main__":
    main()

"""Surface metrics of a pair of 256^3 masks: radzoo beside MONAI and DeepMind's surface-distance.

Each peer is compared with radzoo by the peer's own definition, and the values must agree. Timed
are HD95 alone, and HD95, average surface distance and surface Dice together. Pairs: an organ and
a good, a loose and a moved segmentation of it, and scattered lesions. Each side is a process of
its own; rounds take turns; reported are medians with quartiles, and the median over rounds of the
ratio to radzoo's.

    python benchmarks/surface_metrics.py --peer-python .venv-bench/bin/python
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
from scipy import ndimage
from sides import EndedError, Side, alternate, cell, summary

HERE = Path(__file__).resolve().parent
PAIRS = ("close", "loose", "moved", "lesions")
PEERS = ("monai", "deepmind")
WHAT = ("hd95", "all")
TOLERANCE = 2.0


def organ(seed: int, size: int, roughness: float) -> Any:
    """A ball with a smooth random surface, about two thirds of the grid wide."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:size, :size, :size]
    middle = size / 2
    bumps = ndimage.zoom(rng.normal(size=(8, 8, 8)), size / 8, order=1) * roughness * size / 256
    return np.sqrt((z - middle) ** 2 + (y - middle) ** 2 + (x - middle) ** 2) + bumps < size / 3.2


def lesions(size: int) -> tuple[Any, Any]:
    """A hundred small balls, most of them in both masks but not at the same place."""
    rng = np.random.default_rng(7)
    masks = np.zeros((2, size, size, size), np.bool_)
    for _ in range(100):
        radius = int(rng.integers(2, 9))
        centre = rng.integers(12, size - 12, 3)
        for mask in masks:
            place = centre + rng.integers(-1, 2, 3)
            box = tuple(slice(p - radius, p + radius + 1) for p in place)
            grid = np.indices((2 * radius + 1,) * 3) - radius
            if rng.random() < 0.9:
                mask[box] |= (grid**2).sum(0) <= radius**2
    return masks[0], masks[1]


def make(pair: str, size: int) -> tuple[Any, Any]:
    """Truth and prediction."""
    if pair == "lesions":
        return lesions(size)
    if pair == "moved":
        truth = organ(0, size, 6)
        return truth, np.roll(truth, size // 12, axis=1)
    roughness = {"close": 1.5, "loose": 6.0}[pair]
    return organ(0, size, roughness), organ(1, size, roughness)


def measure(args: argparse.Namespace, pair: str, peer: str) -> tuple[list[dict[str, Any]], Any]:
    """A row for HD95 and one for all metrics; and the versions."""
    truth, prediction = make(pair, args.size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.npz"
        np.savez(path, truth=truth, prediction=prediction)
        names = {"radzoo": f"radzoo-{peer}", peer: peer}
        sides = [
            Side(side, [_python(args, side), HERE / "surface_sides.py", name], verbose=args.verbose)
            for side, name in names.items()
        ]
        try:
            build = {"path": str(path), "spacing": args.spacing, "tolerance": TOLERANCE}
            about = {side.side: side.ask(build=build) for side in sides}
            apart = _apart(*(about[side]["values"] for side in names))
            if apart > args.agree:
                raise EndedError(f"{pair}: radzoo and {peer} differ by {apart:.2g}: {about}")
            rows = []
            for what in WHAT:
                rounds = alternate(sides, rounds=args.rounds, steps=args.steps, what=what)
                row = {"pair": pair, "what": what, "peer": peer, "apart": apart}
                rows.append(
                    row | {"values": about[peer]["values"]} | summary(rounds, base="radzoo")
                )
        finally:
            for side in sides:
                side.close()
    return rows, {k: v for answer in about.values() for k, v in answer["versions"].items()}


def _python(args: argparse.Namespace, side: str) -> str:
    return sys.executable if side == "radzoo" else str(args.peer_python)


def _apart(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest relative difference of the values."""
    flat = [
        np.array([values["hd95"], values["nsd"], *values["averages"]]) for values in (ours, theirs)
    ]
    return float(np.max(np.abs(flat[0] - flat[1]) / np.maximum(np.abs(flat[1]), 1e-9)))


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="median ms (quartiles), ratio to radzoo's by the same definition")
    for column in ("pair", "what", "peer's definition", "radzoo", "peer", "differ by"):
        table.add_column(column)
    for row in rows:
        peer = row["peer"]
        cells = (cell(row["radzoo"]), cell(row[peer]), f"{row['apart']:.1e}")
        table.add_row(row["pair"], row["what"], peer, *cells)
    Console(width=140).print(table)


def main(argv: list[str] | None = None) -> None:
    """Measure every pair against every peer, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--spacing", type=float, nargs=3, default=[2.0, 0.8, 0.8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each side in a round")
    parser.add_argument("--agree", type=float, default=1e-5, help="largest relative difference")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with the peers")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--verbose", action="store_true", help="show what the sides print")
    args = parser.parse_args(argv)
    warn_when_busy()
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for pair in args.pairs:
        for peer in args.peers:
            found, seen = measure(args, pair, peer)
            rows += found
            versions |= seen
    show(rows)
    settings = {k: getattr(args, k) for k in ("size", "spacing", "rounds", "steps")}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))


if __name__ == "__main__":
    main()

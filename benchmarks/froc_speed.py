"""How long do FROC figures with intervals take? (900 scans, 55,000 candidates)

    python benchmarks/froc_speed.py

Prints the median of three runs on random marks, without reading tables.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from recipes.evaluation.froc import Candidates, Findings, HitRule, match, summarise_froc


def main() -> None:
    """Draw marks, time matching and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=900)
    parser.add_argument("--candidates", type=int, default=55_000)
    parser.add_argument("--lesions", type=int, default=1200)
    parser.add_argument("--boot", type=int, default=1000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    findings = Findings(
        scan=rng.integers(0, args.scans, args.lesions),
        centre=rng.uniform(0, 100, (args.lesions, 3)),
        radius=rng.uniform(3, 15, args.lesions),
    )
    marks = Candidates(
        scan=rng.integers(0, args.scans, args.candidates),
        centre=rng.uniform(0, 100, (args.candidates, 3)),
        score=rng.uniform(0, 1, args.candidates),
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = match(args.scans, findings, marks, HitRule())
        matched = time.perf_counter()
        result = summarise_froc(found, n_boot=args.boot)
        times.append((time.perf_counter() - start, matched - start))
    whole, matching = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{args.scans} scans, {args.candidates} candidates, {args.boot} resamples: {whole:.2f} s, "
        f"of which matching {matching:.2f} s (CPM {result['cpm']['value']:.3f})"
    )


if __name__ == "__main__":
    main()

"""Estimated against measured peak memory of a training step of budgeted U-Nets.

Each network is built and trained for two steps in a process of its own; its peak is the largest
resident size, less that of the same process before the network was built.

    python benchmarks/unet_memory.py --json unet_memory.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CASES: tuple[dict[str, Any], ...] = (
    {"patch": [128, 128], "spacing": [1, 1], "batch": 8},
    {"patch": [32, 64, 64], "spacing": [1, 1, 1], "batch": 2},
    {"patch": [16, 64, 64], "spacing": [3, 1, 1], "batch": 2, "residual": True},
)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Train two steps in this process and give the peak, in 10^9 bytes."""
    import resource

    import keras
    import numpy as np

    from zoo.unet_budget import build, unet_for_budget, with_batch

    options = {key: case[key] for key in ("patch", "spacing")}
    plan = unet_for_budget(
        **options, channels=1, classes=2, memory_gb=1000, residual=case.get("residual", False)
    )
    plan = with_batch(plan, case["batch"])
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    small.compile("adam", "mse")
    small.train_on_batch(np.ones((2, 4)), np.ones((2, 1)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = build(plan)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss)
    image = np.random.default_rng(0).normal(size=(plan.batch, *plan.patch, 1)).astype("float32")
    label = np.zeros((plan.batch, *plan.patch), "int32")
    for _ in range(2):
        model.train_on_batch(image, label)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    measured = (after - before) * 1024 / 1e9
    return {**case, "estimated_gb": plan.estimate_gb, "measured_gb": measured}


def main(argv: list[str] | None = None) -> None:
    """Measure every case in a process of its own and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case:
        print(json.dumps(measure(json.loads(args.case))))
        return
    rows = []
    for case in CASES:
        command = [sys.executable, __file__, "--case", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        row["estimated_by_measured"] = row["estimated_gb"] / row["measured_gb"]
        rows.append(row)
        print(json.dumps(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

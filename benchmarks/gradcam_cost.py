"""What does Grad-CAM cost beside a forward pass? (one network, one process)

    python benchmarks/gradcam_cost.py --json gradcam_cost.json

The network is `zoo.create_model` with random weights at 224 x 224, batch 1 and 8. A forward pass is
the network compiled in inference mode, as `radzoo classify predict` runs it but for its folded
batch norms; Grad-CAM is `class_activation`, from the pictures to maps of 224 x 224 as arrays,
compiled too. Both take turns in every round; medians over rounds, and the median of the ratios.
Grad-CAM differentiates only what lies behind the last feature map, so it should cost little more
than the pass itself; the gradient at the picture, a whole backward pass, stands beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, load, warn_when_busy, write_json

WARM = 10
"""Uses before the first round: from the eighth on the functions are compiled."""


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0", "resnet50"])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    rows = [
        timed(name, args.side, batch, args.rounds)
        for name in args.backbones
        for batch in args.batches
    ]
    print(f"{'backbone':22} batch  forward ms  Grad-CAM ms  ratio (quartiles)     gradient ratio")
    for row in rows:
        low, middle, high = row["ratio"]
        print(
            f"{row['backbone']:22} {row['batch']:5d} {row['forward_ms']:11.1f} "
            f"{row['gradcam_ms']:12.1f}  {middle:.2f} ({low:.2f} to {high:.2f})  "
            f"{row['gradient_ratio'][1]:14.2f}"
        )
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    settings = {"side": args.side, "rounds": args.rounds, "load": load()}
    write_json(args.json, {"settings": settings, "rows": rows} | describe(versions))


def timed(name: str, side: int, batch: int, rounds: int) -> dict[str, Any]:
    """Figures of one backbone and batch."""
    import zoo
    from recipes.explaining.cam import class_activation
    from recipes.explaining.network import Explained
    from recipes.explaining.saliency import input_gradients
    from recipes.segmentation.inference.network import compiled

    model = zoo.create_model(name, input_shape=(side, side, 3), classes=2, weights=None)
    network = Explained(model)
    images = np.random.default_rng(0).uniform(0, 255, (batch, side, side, 3)).astype(np.float32)
    weights = np.array([[0.0, 1.0]], np.float32)
    forward = compiled(model)
    sides: dict[str, Callable[[], Any]] = {
        "forward": lambda: np.asarray(forward(images)),
        "gradcam": lambda: class_activation(network, images, weights),
        "gradient": lambda: input_gradients(network, images, weights),
    }
    for run in sides.values():
        for _ in range(WARM):
            run()
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for key, run in sides.items():
            start = time.perf_counter()
            run()
            times[key].append(time.perf_counter() - start)
    base = np.asarray(times["forward"])
    return {
        "backbone": name,
        "batch": batch,
        "forward_ms": 1000 * float(np.median(base)),
        "gradcam_ms": 1000 * float(np.median(times["gradcam"])),
        "ratio": np.quantile(np.asarray(times["gradcam"]) / base, [0.25, 0.5, 0.75]).tolist(),
        "gradient_ratio": np.quantile(
            np.asarray(times["gradient"]) / base, [0.25, 0.5, 0.75]
        ).tolist(),
    }


if __name__ == "__main__":
    main()

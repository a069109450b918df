"""Inflated backbones on one volume: building, inference and a training step, by kind of layer.

Beside the zoo's network stand the naive one, whose depthwise convolutions are grouped 3D ones, and
the network of pictures run slice by slice. Weights are random; times are the best of the repeats.

    python benchmarks/inflation.py --names efficientnet_lite0 resnet50 --shape 32 64 64 1
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.architectures.inflate import inflate
from zoo.architectures.inflate_layers import Inflater
from zoo.registry import get_spec


class Naive(Inflater):
    """Depthwise convolutions as ``Conv3D(groups=channels)``; all else as in the zoo."""

    def _depthwise(self, layer: Any, x: Any) -> Any:
        class Grouped:
            """The 2D layer as the grouped convolution that it is."""

            groups = x.shape[-1]

            def __getattr__(self, key: str) -> Any:
                return getattr(layer, key)

            def get_config(self) -> dict[str, Any]:
                config = layer.get_config()
                kept = ("name", "strides", "padding", "dilation_rate", "use_bias", "activation")
                return {
                    **{key: config[key] for key in kept},
                    "filters": x.shape[-1],
                    "kernel_size": layer.kernel_size,
                    "groups": x.shape[-1],
                }

        return self._conv(Grouped(), x)


def best(run: Callable[[], Any], repeats: int) -> float:
    """Shortest of the runs behind a first one, in seconds."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def flat_network(name: str, shape: tuple[int, ...]) -> keras.Model:
    """The network of pictures, without preprocessing."""
    spec = get_spec(name)
    module, function = spec.builder.split(":")
    network = getattr(importlib.import_module(module), function)(spec, keras.Input(shape[1:]))
    assert isinstance(network, keras.Model)
    return network


def measure(name: str, shape: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Seconds for each way to run a backbone on one volume."""
    volume = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype("float32")
    start = time.perf_counter()
    flat = flat_network(name, shape)
    found = {"build_2d": time.perf_counter() - start}
    found["slices_2d"] = best(lambda: flat.predict_on_batch(volume[0]), repeats)
    ways: dict[str, type[Inflater]] = {"inflated": Inflater}
    if any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in flat.layers):
        ways["grouped"] = Naive
    for way, inflater in ways.items():
        start = time.perf_counter()
        model = inflate(flat, keras.Input(shape), inflater=inflater).model
        found[f"build_{way}"] = time.perf_counter() - start
        model.compile(keras.optimizers.SGD(), "mse", jit_compile=False)
        found[way] = best(lambda model=model: model.predict_on_batch(volume), repeats)  # type: ignore[misc]
        goal = np.zeros((1, *model.output.shape[1:]), "float32")
        found[f"step_{way}"] = best(
            lambda model=model, goal=goal: model.train_on_batch(volume, goal),  # type: ignore[misc]
            repeats,
        )
    return {key: round(value, 4) for key, value in found.items()}


def main() -> None:
    """Print seconds by backbone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--names", nargs="+", default=["efficientnet_lite0", "resnet50", "densenet121"]
    )
    parser.add_argument("--shape", nargs=4, type=int, default=[32, 64, 64, 1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    result = {
        "shape": args.shape,
        "seconds": {name: measure(name, tuple(args.shape), args.repeats) for name in args.names},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

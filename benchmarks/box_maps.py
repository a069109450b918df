"""Which class activation map of a detected box lies on the box? (a finished run with way=boxes)

    python benchmarks/box_maps.py runs/boxes br35h --part val --cases 20 --json maps.json

Of each case the highest candidates above the operating point are explained, by Grad-CAM and
Grad-CAM++ of three feature maps (the last one of the head, the pyramid's map that the head reads,
and the backbone's map of that level), once with every value weighed by its own gradient ("local")
and once with the mean gradient of its channel ("plain"). Figures are the pointing game (Zhang et
al., 2016) and the energy inside (Wang et al., 2020), inside the candidate's own box: they say
whether a map is about the box that was asked about, not whether the box is right. Intervals
resample cases.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, write_json

import zoo
from data_adapters import adapter as adapters
from recipes.detection.boxes.explaining import BoxAsker
from recipes.detection.explaining import load
from recipes.explaining.cam import class_activation
from recipes.explaining.localisation import (
    by_chance,
    energy_inside,
    mean_with_interval,
    pointing_hit,
)


def main() -> None:
    """Explain, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a fit with way=boxes")
    parser.add_argument("data", help="cases")
    parser.add_argument("--part", default=None, help="part of the data")
    parser.add_argument("--cases", type=int, default=20, help="drawn at random")
    parser.add_argument("--candidates", type=int, default=1, help="of each case")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    asker = load(args.run)
    if not isinstance(asker, BoxAsker):
        parser.error("this run has maps, no boxes")
    adapter = adapters.open(args.data)
    rows = [i for i, row in enumerate(adapter.index) if args.part in (None, row.part)]
    drawn = np.random.default_rng(args.seed).permutation(rows)[: args.cases]
    measured: dict[str, list[tuple[int, float, float]]] = {}
    for done, i in enumerate(drawn, start=1):
        for name, pointing, energy in of_case(asker, adapter[int(i)], args.candidates):
            measured.setdefault(name, []).append((int(i), pointing, energy))
        print(f"\r{done} of {len(drawn)} cases", end="", flush=True)
    print()
    figures = {name: summary(lines) for name, lines in measured.items()}
    for name, one in figures.items():
        shown = "  ".join(
            f"{key} {f['value']:.3f} ({f['low']:.3f} to {f['high']:.3f})"
            if f["low"] is not None
            else f"{key} {f['value']:.3f}"
            for key, f in one.items()
        )
        print(f"{name:32} n={one['pointing']['n']:3}  {shown}")
    settings = {k: v if not isinstance(v, Path) else v.name for k, v in vars(args).items()}
    settings["data"] = Path(args.data).name
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    write_json(args.json, {"settings": settings, "figures": figures} | describe(versions))


def of_case(asker: BoxAsker, case: Any, most: int) -> list[tuple[str, float, float]]:
    """Name of a map, pointing game and energy, for every candidate and map of a case."""
    found: list[tuple[str, float, float]] = []
    for question in asker.ask(case, label=None, most=most):
        if "below the operating point" in question.text:
            continue
        network, region = question.network, question.region
        assert network is not None
        assert region is not None
        for title, layers in maps_of(asker, question).items():
            for kind in ("gradcam", "gradcam++"):
                for local in (True, False):
                    heat = class_activation(
                        network, question.image[None], question.weights[None], kind=kind,
                        layers=layers, local=local,
                    )[0]  # fmt: skip
                    heat = question.back(heat)
                    name = f"{title}, {kind}, {'local' if local else 'plain'}"
                    figures = pointing_hit(heat, region), energy_inside(heat, region)
                    found.append((name, *figures))
        found.append(("random place", by_chance(region), by_chance(region)))
    return found


def maps_of(asker: BoxAsker, question: Any) -> dict[str, tuple[int, ...]]:
    """Feature maps of the level that gave the box."""
    program = question.network.program
    taps = {
        f"P{stride.bit_length() - 1}": name for stride, name in zoo.get_spec(asker.backbone).taps
    }
    _, _, gradients = question.network.gradients(
        question.image[None], question.weights[None], layers=program.find("boxes_relu2")
    )
    calls = zip(program.find("boxes_relu2"), gradients, strict=True)
    last = next(number for number, gradient in calls if np.abs(gradient).any())
    side = program.shape_of(last)[1]
    levels = [n for n in question.network.last_maps() if program.shape_of(n)[1] == side]
    level = question.network.name_of(levels[0]).split("_")[1]
    return {
        "last of the head": (last,),
        "read by the head": (levels[0],),
        "backbone": program.find(taps[level]),
    }


def summary(lines: list[tuple[int, float, float]]) -> dict[str, Any]:
    """Means with intervals over cases."""
    cases = [case for case, _, _ in lines]
    return {
        "pointing": mean_with_interval([pointing for _, pointing, _ in lines], cases),
        "energy": mean_with_interval([energy for _, _, energy in lines], cases),
    }


if __name__ == "__main__":
    main()

"""How well does a public library's detector find the same boxes, from the same start?

    radzoo detect fit bccd/ --out runs/bccd
    python benchmarks/box_detectors.py bccd/ --run runs/bccd --out runs/peer \
        --peer-python .venv-bench/bin/python --steps 500

torchvision's FCOS (`box_peer.py`) is trained in an environment of its own on the training part of
the data, with an encoder and patches like those of the run, and scored by radzoo's rules on the
part that the run was scored on; the figures of the run stand beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from environment import write_json

from data_adapters.split_table import read_splits
from recipes.detection.candidates import Found
from recipes.detection.config import DataConfig, EvaluateConfig
from recipes.detection.data import open_lesions
from recipes.detection.scoring import Scan, hit_rule, score
from recipes.detection.truth import marks_of, spacing_of

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Export, train the peer, score both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="what the run was fitted on: pictures with boxes")
    parser.add_argument("--run", type=Path, required=True, help="a finished `radzoo detect fit`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    adapter = open_lesions(args.data, DataConfig())
    content = json.loads((args.run / "metrics.json").read_text(encoding="utf-8"))
    found = args.out / "found.json"
    rows = export(adapter, args, content["part"])
    if not found.is_file():
        options = [f"--{key}={getattr(args, key)}" for key in ("steps", "batch", "side")]
        peer = [args.peer_python, HERE / "box_peer.py", args.out / "manifest.json", found]
        subprocess.run([*map(str, peer), *options], check=True)
    peer_found = json.loads(found.read_text(encoding="utf-8"))
    scans = [scan(adapter, row, one) for row, one in zip(rows, peer_found["cases"], strict=True)]
    figures = score(scans, adapter.class_names, hit_rule(EvaluateConfig(), volume=False))
    sides = {"radzoo": content["metrics"], "torchvision FCOS": figures}
    for side, mine in sides.items():
        for name, one in mine["classes"].items():
            at, ap = one["froc"]["1"], one["ap50"]
            print(f"{side:18}{name:12} at 1: {text(at)}   AP50: {text(ap)}")
    print(f"the peer trained for {peer_found['seconds'] / 60:.1f} min")
    write_json(args.json, {"seconds": peer_found["seconds"], **sides})


def export(adapter: Any, args: argparse.Namespace, part: str) -> list[int]:
    """Pictures and boxes for the peer; rows of the part that is scored."""
    part_of = {row.case_id: row.part for row in read_splits(args.run / "splits.csv")}
    cases: dict[str, list[Any]] = {"train": [], "val": []}
    rows = []
    for row in range(len(adapter)):
        mine = part_of.get(adapter.index[row].case_id)
        if mine not in ("train", part):
            continue
        marks = marks_of(adapter[row])
        one = {
            "path": str(Path(args.data).resolve() / adapter.source_name(row)),
            "boxes": marks.boxes.tolist(),
            "labels": marks.labels.tolist(),
        }
        cases["train" if mine == "train" else "val"].append(one)
        if mine == part:
            rows.append(row)
    manifest = {"classes": list(adapter.class_names), **cases}
    (args.out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return rows


def scan(adapter: Any, row: int, one: dict[str, Any]) -> Scan:
    """What the peer found in a picture, and the truth."""
    case = adapter[row]
    boxes = np.asarray(one["boxes"], np.float64).reshape(-1, 4)
    found = Found(
        np.asarray(one["labels"], np.int64),
        np.asarray(one["scores"], np.float64),
        (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5,
        boxes,
    )
    index = adapter.index[row]
    return Scan(
        row, index.case_id, index.patient_id, marks_of(case), found, spacing_of(case),
        case.image.shape[:-1],
    )  # fmt: skip


def text(figure: dict[str, Any]) -> str:
    """A figure with its interval."""
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()

"""Do the maps of a classifier point at the tumour? (br35h, quadrants of brain MR pictures)

    python benchmarks/pointing_game.py br35h --out runs/pointing --seeds 0 1 2 --json pointing.json

Every picture of br35h holds a tumour, so there is nothing to classify in whole ones. Each is cut
into its four quadrants: one that holds at least half of a tumour's box, or is covered by one to a
fifth, is `tumour`; one that holds no part of any is `none`; the others are left out. Near-duplicate
groups stay on one side: the groups of `val.json` are the test part, every fifth group of
`train.json` (another fifth for each seed) validates, the rest trains. Each seed is `radzoo classify
fit` and `radzoo classify explain`, in processes of their own, on the tumour quadrants of the test
part, at most `--cases` of them, taken in turn from its groups. The figures are the pointing game
(Zhang et al., 2016) and the energy inside the boxes (Wang et al., 2020), with intervals that
resample groups; a place chosen at random and the middle of the picture stand beside them. Seeds are
put together by the mean of each quadrant over the seeds. What is finished is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from environment import describe, warn_when_busy, write_json

from recipes.explaining.localisation import mean_with_interval
from recipes.explaining.methods import METHODS

Box = tuple[int, int, int, int]


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of br35h")
    parser.add_argument("--out", type=Path, required=True, help="folder of patches and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--cases", type=int, default=80, help="tumour quadrants explained")
    parser.add_argument("--side", type=int, default=128, help="of the network's input")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every fit")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warn_when_busy()
    runs = [one_seed(args, seed) for seed in args.seeds]
    together = put_together([run["rows"] for run in runs], args.methods)
    show([run["figures"] for run in runs], together, [run["auc"] for run in runs])
    settings = {k: v if not isinstance(v, Path) else v.name for k, v in vars(args).items()}
    kept = [{k: v for k, v in run.items() if k != "rows"} for run in runs]
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    content = {"settings": settings, "runs": kept, "together": together}
    write_json(args.json, content | describe(versions))


def one_seed(args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Cut, fit and explain; AUC on the test part, figures and rows."""
    patches, run = args.out / f"patches-{seed}", args.out / f"run-{seed}"
    if not (patches / "done").exists():
        cut_all(args.data, patches, seed, args.cases)
    words = ["classify", "fit", str(patches / "fit"), "--out", str(run), "--seed", str(seed)]
    words += ["--positive", "tumour", "--quiet", "--pictures", "no"]
    settings = [
        f"data.image_size={args.side}",
        r"data.columns.patient=(g\d+)_",
        "model.members=1",
        f"train.finetune.epochs={args.epochs}",
        *args.set,
    ]
    start = time.perf_counter()
    fitted = radzoo(*words, *(word for one in settings for word in ("--set", one)))
    middle = time.perf_counter()
    words = ["classify", "explain", str(run), str(patches / "truth"), "--class", "tumour"]
    words += ["--out", str(args.out / f"explained-{seed}"), "--pictures", "yes"]
    found = radzoo(*words, *(word for one in args.methods for word in ("--method", one)))
    return {
        "seed": seed,
        "auc": fitted["metrics"]["auc"],
        "n_test": fitted["n"],
        "n_explained": found["n"],
        "figures": found["figures"],
        "rows": found["rows"],
        "fit_seconds": fitted["seconds"],
        "seconds": [round(middle - start, 1), round(time.perf_counter() - middle, 1)],
    }


def radzoo(*words: str) -> dict[str, Any]:
    """A command's JSON."""
    command = [sys.executable, "-c", "from recipes.cli import main; main()", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cut_all(data: Path, folder: Path, seed: int, most: int) -> None:
    """Write the quadrants: class folders to fit on, and a COCO set of boxes to be explained."""
    (folder / "truth" / "images").mkdir(parents=True, exist_ok=True)
    groups = sorted({image["group"] for image in read(data, "train")["images"]})
    validates = set(np.random.default_rng(seed).permutation(groups)[: len(groups) // 5].tolist())
    marked: list[tuple[int, str, np.ndarray, list[Box]]] = []
    for source in ("train", "val"):
        for image, boxes in pictures(read(data, source)):
            part = "test" if source == "val" else "val" if image["group"] in validates else "train"
            pixels = cv2.imread(str(data / image["file_name"]))
            for k, (patch, inside, label) in enumerate(quadrants(pixels, boxes)):
                stem = Path(image["file_name"]).stem
                name = f"g{image['group']:04d}_{stem}_{k}.png"
                target = folder / "fit" / part / label
                target.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(target / name), patch)
                if part == "test" and label == "tumour":
                    marked.append((image["group"], name, patch, inside))
    write_truth(folder / "truth", in_turn(marked)[:most])
    (folder / "done").touch()


def read(data: Path, part: str) -> dict[str, Any]:
    """A COCO file."""
    found: dict[str, Any] = json.loads((data / f"{part}.json").read_text(encoding="utf-8"))
    return found


def pictures(content: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[list[float]]]]:
    """Each picture with its boxes, x, y, width, height."""
    for image in content["images"]:
        yield image, [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]]


def quadrants(
    pixels: np.ndarray, boxes: Sequence[Sequence[float]]
) -> Iterator[tuple[np.ndarray, list[Box], str]]:
    """Quadrants that are one or the other: pixels, boxes cut to them (x, y, w, h), class."""
    height, width = pixels.shape[:2]
    for top in (0, height // 2):
        for left in (0, width // 2):
            bottom, right = top + height // 2, left + width // 2
            area = (bottom - top) * (right - left)
            inside, certain = [], False
            for x, y, w, h in boxes:
                x0, y0 = max(left, round(x)), max(top, round(y))
                x1, y1 = min(right, round(x + w)), min(bottom, round(y + h))
                if x1 > x0 and y1 > y0:
                    seen = (x1 - x0) * (y1 - y0)
                    certain |= seen >= 0.5 * w * h or seen >= 0.2 * area
                    inside.append((x0 - left, y0 - top, x1 - x0, y1 - y0))
            if certain or not inside:
                label = "tumour" if certain else "none"
                yield pixels[top:bottom, left:right], inside, label


def in_turn(marked: list[Any]) -> list[Any]:
    """One of each group, then the second of each, and so on."""
    places: dict[int, int] = {}
    order = []
    for one in marked:
        places[one[0]] = places.get(one[0], 0) + 1
        order.append((places[one[0]], one[0], one[1], one))
    return [one for *_, one in sorted(order, key=lambda row: row[:3])]


def write_truth(folder: Path, marked: Sequence[tuple[int, str, np.ndarray, list[Box]]]) -> None:
    """A COCO set of the quadrants and the boxes in them."""
    images, marks = [], []
    for number, (group, name, patch, boxes) in enumerate(marked, start=1):
        cv2.imwrite(str(folder / "images" / name), patch)
        height, width = patch.shape[:2]
        images.append({"id": number, "file_name": f"images/{name}", "height": height,
                       "width": width, "group": group})  # fmt: skip
        for box in boxes:
            marks.append({"id": len(marks) + 1, "image_id": number, "category_id": 1,
                          "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
    content = {"images": images, "annotations": marks,
               "categories": [{"id": 1, "name": "tumour"}]}  # fmt: skip
    (folder / "val.json").write_text(json.dumps(content), encoding="utf-8")


def put_together(
    runs: Sequence[Sequence[Mapping[str, Any]]], methods: Sequence[str]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean of each quadrant over the seeds, then over quadrants, with intervals over groups."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for method in methods:
        by_file: dict[str, list[Mapping[str, Any]]] = {}
        for rows in runs:
            for row in rows:
                if row.get("method") == method and row.get("pointing") is not None:
                    by_file.setdefault(row["file"], []).append(row)
        groups = [rows[0]["patient"] for rows in by_file.values()]
        found[method] = {
            measure: mean_with_interval(
                [float(np.mean([row[measure] for row in rows])) for rows in by_file.values()],
                groups,
            )
            for measure in ("pointing", "energy", "chance", "centre")
        }
    return found


def show(
    runs: Sequence[Mapping[str, Any]],
    together: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    aucs: Sequence[Mapping[str, float]],
) -> None:
    """Print the table."""
    print("AUC of each seed: " + ", ".join(f"{auc['value']:.3f}" for auc in aucs))
    print(f"{'method':16} {'pointing game':24} {'of each seed':24} energy inside")
    for method, measures in together.items():
        each = " ".join(f"{run[method]['pointing']['value']:.3f}" for run in runs)
        print(f"{method:16} {text(measures['pointing']):24} {each:24} {text(measures['energy'])}")
    first = next(iter(together.values()))
    print(f"{'random place':16} {text(first['chance']):24} {'':24} {text(first['chance'])}")
    print(f"{'middle':16} {text(first['centre'])}")
    print(f"n = {first['pointing']['n']} quadrants of {first['pointing']['groups']} groups")


def text(figure: Mapping[str, float | None]) -> str:
    """A figure with its interval."""
    low, high = figure["low"], figure["high"]
    between = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{figure['value']:.3f}{between}"


if __name__ == "__main__":
    main()

"""How are nodules of 4 to 12 mm found in volumes among vessels: 2D, 2.5D, 3D, one stage or two?

    python benchmarks/nodules.py --out runs/nodules --count 120 --minutes 8

Chest phantoms in HU with exact truth, a third of them normal, as a folder in LUNA16's form: 2 mm
voxels around one lung, vessels of the size of the nodules beside them. Each way is
`radzoo detect fit` in a process of its own with the same time for its first stage; a detector of
blobs (Laplacian of Gaussian at several scales, no training) stands beside them. One figure (PNG)
holds all curves, of the same volumes that no run has trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from environment import write_json
from scipy import ndimage

import data_adapters
from data_adapters.phantoms import ORGANS, Anatomy, Scan, ct_volume, make_anatomy, place_lesion
from data_adapters.split_table import split_rows, write_splits
from data_adapters.splits import Splits
from data_adapters.synthetic.paint import Part
from data_adapters.synthetic.shapes import Capsule
from recipes.detection.candidates import Found
from recipes.detection.config import EvaluateConfig
from recipes.detection.scoring import Scan as Scored
from recipes.detection.scoring import hit_rule, score
from recipes.detection.truth import marks_of, spacing_of

SHAPE, STEP, FOV = (48, 80, 80), 2.0, 160.0
PIECES = 24
"""Short pieces of vessel in both lungs of a torso."""
SCALES = (1.5, 2.0, 3.0, 4.5)
"""Standard deviations of the blobs, mm; a sphere answers most at radius / sqrt(3)."""
WAYS: dict[str, list[str]] = {
    "2D": ["plan.dims=2", "model.network=unet"],
    "2.5D": ["plan.dims=2.5", "model.network=unet"],
    "3D": ["plan.dims=3"],
    "3D, then 2.5D": ["plan.dims=3", "second.patches=2.5d"],
}


def main() -> None:
    """Make the volumes, run what is missing, print the table and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of data and runs; resumes")
    parser.add_argument("--count", type=int, default=180, help="volumes, a third of them held out")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the first stage")
    parser.add_argument("--steps", type=int, help="of the first stage, instead of minutes")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    data = args.out / "data"
    make(data, args.count)
    splits = args.out / "splits.csv"
    adapter = data_adapters.open(str(data), modality="CT")
    parts = ["test" if i % 3 == 0 else "val" if i % 6 == 1 else "train"
             for i in range(len(adapter.index))]  # fmt: skip
    chosen = Splits(parts=tuple(parts), unit="patient", official=False)
    write_splits(splits, split_rows(adapter.index, chosen))
    rows = [blobs(adapter, [i for i, part in enumerate(parts) if part == "test"])]
    rows += [one_run(args, data, splits, way) for way in args.ways]
    print(f"{'':16}{'CPM':>8}{'at 1':>8}{'at 2.74':>9}{'at 8':>8}")
    for row in rows:
        at = {key: row["froc"][key]["value"] for key in row["froc"]}
        print(f"{row['name']:16}{row['cpm']['value']:8.3f}{at['1']:8.3f}{row['at_274']:9.3f}"
              f"{at['8']:8.3f}", flush=True)  # fmt: skip
    write_json(args.json, {"count": args.count, "rows": rows})
    if args.plot:
        draw(rows, args.plot)


def make(folder: Path, count: int) -> None:
    """Volumes of one lung each and their table, in LUNA16's form."""
    table = folder / "annotations.csv"
    if table.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[Any]] = []
    for number in range(count):
        rng = np.random.default_rng((11, number))
        anatomy = mimicked(rng, make_anatomy(rng, phase="native"))
        side = float(rng.choice([-1, 1]))
        x = side * anatomy.body.half_width * 0.5
        middle = 215.0
        reach = SHAPE[0] * STEP / 2 - 8
        lesions: list[Any] = []
        while number % 3 and len(lesions) < 1 + number % 4:
            one = place_lesion(
                rng, anatomy, "nodule", radius_mm=float(rng.uniform(2.0, 5.0)),
                z_range=(middle - reach, middle + reach),
            )  # fmt: skip
            centre = one.shape.centre
            if abs(centre[0] - x) < FOV / 2 - 8 and abs(centre[1]) < FOV / 2 - 8:
                lesions.append(one)
        phantom = ct_volume(
            rng, shape=SHAPE, region="chest", step_mm=STEP, centre_z=middle, fov_mm=FOV,
            centre_xy=(x, 0.0), anatomy=anatomy, lesions=lesions,
            scan=Scan(noise_hu=35.0, organs=False, couch=False),
        )  # fmt: skip
        name = f"1.2.3.{number}"
        image = sitk.GetImageFromArray(phantom.image[..., 0].astype(np.int16))
        image.SetSpacing(phantom.geometry.spacing[::-1])
        image.SetOrigin(phantom.geometry.origin)
        sitk.WriteImage(image, str(folder / f"{name}.mhd"), True)
        rows += [[name, *f.centre_mm, 2 * f.radius_mm] for f in phantom.findings]
        print(f"\r{number + 1}/{count} phantoms", end="", file=sys.stderr, flush=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"])
        writer.writerows(rows)


def mimicked(rng: np.random.Generator, anatomy: Anatomy) -> Anatomy:
    """The torso with short pieces of vessel in both lungs, as wide and as dense as the nodules."""
    pieces = []
    for _ in range(PIECES):
        radius = float(rng.uniform(1.6, 3.6))
        place = place_lesion(rng, anatomy, "nodule", radius_mm=radius, z_range=(130, 300))
        aim = rng.normal(size=3)
        half = aim / np.linalg.norm(aim) * radius * float(rng.uniform(1.6, 3.2))
        start, end = (np.add(place.shape.centre, sign * half).tolist() for sign in (-1, 1))
        rod = Capsule(tuple(start), tuple(end), (radius, radius * float(rng.uniform(0.6, 1.0))))
        pieces.append(Part(rod, ORGANS.index("vessel"), float(rng.uniform(30, 110))))
    return replace(anatomy, parts=(*anatomy.parts, *pieces))


def blobs(adapter: Any, rows: list[int]) -> dict[str, Any]:
    """Bright blobs inside the lung by the scale-normalised Laplacian of Gaussian, no training."""
    scans = []
    for row in rows:
        case = adapter[row]
        image = case.image[..., 0].astype(np.float32)
        spacing = spacing_of(case)
        lung = ndimage.binary_closing(image < -400, iterations=4)
        answer = np.max(
            [-(s**2) * ndimage.gaussian_laplace(image, s / spacing) for s in SCALES], axis=0
        )
        answer[~lung] = -np.inf
        peaks = np.argwhere((answer == ndimage.maximum_filter(answer, 5)) & (answer > 50))
        height = answer[tuple(peaks.T)]
        order = np.argsort(-height)[:100]
        peaks, height = peaks[order].astype(np.float64), height[order]
        boxes = np.concatenate([peaks - 2, peaks + 3], axis=1)
        found = Found(np.zeros(len(peaks), np.int64), height.astype(np.float64), peaks, boxes)
        index = adapter.index[row]
        scans.append(
            Scored(row, index.case_id, index.patient_id, marks_of(case), found, spacing,
                   case.image.shape[:-1])
        )  # fmt: skip
    figures = score(scans, adapter.class_names, hit_rule(EvaluateConfig(), volume=True), n_boot=200)
    return {"name": "blobs", **_kept(figures)}


def one_run(args: argparse.Namespace, data: Path, splits: Path, way: str) -> dict[str, Any]:
    """Fit one way and take its figures on the test part."""
    run = args.out / way.replace(", ", "-").replace(" ", "-")
    words = [sys.executable, "-m", "recipes.cli", "detect", "fit", str(data), "--out", str(run),
             "--splits", str(splits), "--budget-minutes", str(args.minutes), "--quiet"]  # fmt: skip
    settings = ["data.modality=CT", "train.rounds=4", *WAYS[way]]
    if args.steps:
        settings.append(f"train.steps={args.steps}")
    for setting in settings:
        words += ["--set", setting]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    content = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {"name": way, **_kept(content["metrics"]), "seconds": content["seconds"]}


def _kept(figures: dict[str, Any]) -> dict[str, Any]:
    rates = np.log2([float(rate) for rate in figures["froc"]])
    values = [one["value"] for one in figures["froc"].values()]
    return {
        "froc": figures["froc"],
        "cpm": figures["cpm"],
        "at_274": float(np.interp(np.log2(2.74), rates, values)),
        "n_lesions": figures["n_lesions"],
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """All curves in one figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row in rows:
        rates = [float(rate) for rate in row["froc"]]
        values = [[one[key] for one in row["froc"].values()] for key in ("value", "low", "high")]
        (line,) = axes.plot(rates, values[0], "o-", ms=3, label=row["name"])
        axes.fill_between(rates, values[1], values[2], color=line.get_color(), alpha=0.12, lw=0)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="false positives per volume", ylabel="sensitivity", ylim=(0, 1.02))
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()

"""Volumes in LUNA16's form, with everything that makes them awkward, from fit to predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from recipes.config import load_config
from recipes.detection.config import DetectionConfig
from recipes.detection.evaluating import evaluate
from recipes.detection.fitting import fit
from recipes.detection.predicting import predict
from tests.recipes.tiny_backbone import NAME, write_weights

SPACING = (2.0, 1.0, 1.0)


def write_spheres(folder: Path, count: int = 12) -> Path:
    """Bright balls in noise; normals, one slice alone, a ball at the border, a large one, twins."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for k in range(count):
        shape = (1, 28, 28) if k == 5 else (12, 28, 28)
        image = rng.normal(0, 20, shape)
        grid = np.stack(np.mgrid[tuple(slice(0, n) for n in shape)], axis=-1) * SPACING
        balls: list[tuple[tuple[float, float, float], float]] = []
        if k % 4 != 3:
            balls.append((tuple(rng.uniform(7, 15, 3) * (0.8, 1, 1)), rng.uniform(3, 4)))
        if k == 0:
            balls.append(((12.0, 26.0, 26.0), 3.5))
        if k == 1:
            balls = [((11.0, 14.0, 14.0), 10.0)]
        if k == 5:
            balls = [((0.0, 12.0, 12.0), 4.0)]
        for centre, radius in balls:
            image[((grid - centre) ** 2).sum(axis=-1) < radius**2] += 200
            for _ in range(2 if k == 2 else 1):  # two readers
                rows.append([f"1.2.{k}", centre[2] - 30, centre[1] + 5, centre[0] + 7, 2 * radius])
        volume = sitk.GetImageFromArray(image.astype(np.float32))
        volume.SetSpacing(SPACING[::-1])
        volume.SetOrigin((-30.0, 5.0, 7.0))
        sitk.WriteImage(volume, str(folder / f"1.2.{k}.mhd"))
    with (folder / "annotations.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"])
        writer.writerows(rows)
    return folder


@pytest.mark.slow
def test_balls_are_found_in_volumes(tmp_path: Path) -> None:
    data = write_spheres(tmp_path / "data")
    weights = write_weights(tmp_path / "start.weights.h5")
    changes = [
        "data.modality=CT", "plan.width=8", "plan.patch=[8,24,24]", "plan.batch=2",
        "train.steps=90", "train.rounds=1", "train.learning_rate=0.02", "train.ema=null",
        "augment.strength=none", "evaluate.n_boot=100", "model.deep_supervision=false",
        "data.fractions=[0.5,0.5,0.0]", "second.patches=auto", f"second.backbone={NAME}",
        f"second.weights={weights}", "second.side=16", "second.epochs=1", "second.rounds=1",
    ]  # fmt: skip
    config = load_config(DetectionConfig, changes=changes)
    result = fit(data, tmp_path / "run", config)
    figures = result["metrics"]
    assert figures["rule"] == "centre nearer than the lesion's radius"
    assert figures["n"] == 6
    assert figures["max_sensitivity"] > 0.5
    record = json.loads((tmp_path / "run" / "second" / "model.json").read_text())
    assert (record["kind"], record["window"] is not None) == ("2.5d", True)
    again = evaluate(tmp_path / "run", data, part="val", n_boot=100)
    assert again["froc"] == figures["froc"]
    files = sorted(data.glob("*.mhd"))
    rows = predict(tmp_path / "run", files, tmp_path / "found", every=True, pictures=True)
    assert {row["status"] for row in rows} == {"ok"}
    assert (tmp_path / "found" / "found.html").stat().st_size > 20_000
    with (tmp_path / "found" / "candidates.csv").open() as file:
        written = list(csv.DictReader(file))
    one = next(row for row in written if row["file"].endswith("1.2.1.mhd"))
    index = np.array([float(one[key]) for key in "zyx"])
    world = [float(one[key]) for key in ("coordX", "coordY", "coordZ")]
    expected = np.add((index * SPACING)[::-1], (-30.0, 5.0, 7.0))
    np.testing.assert_allclose(world, expected, atol=0.02)
    assert not (tmp_path / "found" / "candidates.json").exists(), "COCO is for pictures"

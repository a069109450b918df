"""Small data sets with masks: Decathlon folders of noise volumes with balls in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_volumes(
    folder: Path,
    *,
    count: int = 8,
    shape: tuple[int, int, int] = (14, 18, 16),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    modality: str = "MRI",
    seed: int = 0,
    splits: bool = False,
) -> Path:
    """A Decathlon task: a bright ball (class 1) beside a dark one (class 2) in noise.

    Args:
        folder: Where it goes.
        count: Volumes, each of a patient of its own.
        shape: (slice, row, column) voxels of the first; others differ by a voxel or two.
        spacing: (slice, row, column) in mm.
        modality: As in ``dataset.json``.
        seed: Of the noise and the places.
        splits: Write ``splits.json`` with two folds.
    """
    rng = np.random.default_rng(seed)
    names = [f"case_{k:03d}" for k in range(count)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for k, name in enumerate(names):
        sides = tuple(n + k % 3 for n in shape)
        grid = np.stack(np.mgrid[tuple(slice(0, n) for n in sides)], axis=-1)
        centre = np.asarray(sides) / 2 + rng.uniform(-1, 1, 3)
        image = rng.normal(100, 8, sides)
        mask = np.zeros(sides, np.uint8)
        for label, offset, value in ((1, -3, 180), (2, 3, 30)):
            middle = centre + np.array([0, 0, offset])
            ball = ((grid - middle) ** 2).sum(axis=-1) < 7
            image[ball] = value + rng.normal(0, 8, int(ball.sum()))
            mask[ball] = label
        for part, array in (("imagesTr", image.astype(np.float32)), ("labelsTr", mask)):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(spacing[::-1])
            sitk.WriteImage(volume, str(folder / part / f"{name}.nii.gz"))
    content = {
        "name": "Balls",
        "tensorImageSize": "3D",
        "modality": {"0": modality},
        "labels": {"0": "background", "1": "bright", "2": "dark"},
        "numTraining": count,
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names
        ],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    if splits:
        half = count // 2
        folds = [
            {"train": names[half:], "val": names[:half]},
            {"train": names[:half], "val": names[half:]},
        ]
        (folder / "splits.json").write_text(json.dumps(folds))
    return folder

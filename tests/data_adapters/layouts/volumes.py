"""Small volumes on disk for the layouts of volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK


def save_volume(
    path: Path, array: np.ndarray, *, origin: tuple[float, float, float] = (5.0, -3.0, 9.0)
) -> Path:
    """Write (D, H, W), or (D, H, W, C) as the fourth axis, with a spacing of 3, 2, 1 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 4:
        image = SimpleITK.JoinSeries(
            [SimpleITK.GetImageFromArray(np.ascontiguousarray(c)) for c in np.moveaxis(array, 3, 0)]
        )
        image.SetSpacing((1, 2, 3, 1))
        image.SetOrigin((*origin, 0))
    else:
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing((1, 2, 3))
        image.SetOrigin(origin)
    SimpleITK.WriteImage(image, str(path))
    return path


def picture(seed: int, shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    """Random values of an MR image."""
    return np.random.default_rng(seed).integers(0, 3000, shape).astype(np.int16)


def label_map(seed: int, values: tuple[int, ...], shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    """A mask that holds each of the values."""
    mask = np.random.default_rng(seed).choice(values, shape).astype(np.uint8)
    mask.ravel()[: len(values)] = values
    return mask


def decathlon(root: Path, **changes: Any) -> Path:
    """Three training cases and a test case of two sequences; `changes` replace keys."""
    names = ["brain_1", "brain_2", "brain_3"]
    for i, name in enumerate(names):
        save_volume(root / f"imagesTr/{name}.nii.gz", picture(i, (4, 5, 6, 2)))
        save_volume(root / f"labelsTr/{name}.nii.gz", label_map(i, (0, 1, 2)))
    save_volume(root / "imagesTs/brain_9.nii.gz", picture(9, (4, 5, 6, 2)))
    (root / "imagesTr/._brain_1.nii.gz").write_bytes(b"x")
    whole = {
        "name": "brain",
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "2": "core", "1": "edema"},
        "numTraining": 3,
        "numTest": 1,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names
        ],
        "test": ["./imagesTs/brain_9.nii.gz"],
        **changes,
    }
    (root / "dataset.json").write_text(json.dumps(whole))
    return root


def nnunet(root: Path, *, values: tuple[int, ...] = (0, 1, 2), **changes: Any) -> Path:
    """Two cases of two channels, and one test case with a mask."""
    for i, name in enumerate(["a_1", "b_2"]):
        for c in range(2):
            save_volume(root / f"imagesTr/{name}_000{c}.nii.gz", picture(10 * i + c))
        save_volume(root / f"labelsTr/{name}.nii.gz", label_map(i, values))
    for c in range(2):
        save_volume(root / f"imagesTs/t_3_000{c}.nii.gz", picture(70 + c))
    save_volume(root / "labelsTs/t_3.nii.gz", label_map(7, values))
    whole = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "edema": 1, "core": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        **changes,
    }
    (root / "dataset.json").write_text(json.dumps(whole))
    return root

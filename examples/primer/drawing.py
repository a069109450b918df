"""What the scripts of this folder share: where their pictures go, and phantoms to draw."""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_adapters.phantoms import ct_slice

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666666"
WINDOW = (-160.0, 240.0)
"""Soft-tissue window in HU."""


def folder(description: str) -> Path:
    """The folder that the command line names; ``runs/primer`` without one."""
    out: Path = options(description).out
    return out


def options(description: str, **numbers: int) -> argparse.Namespace:
    """The command line: ``--out``, made where it is missing, and numbers with their defaults."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/primer"))
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def panels(rows: int, columns: int, *, width: float = 3.0, height: float = 2.7) -> Any:
    """A figure and its axes, always as an array of rows and columns."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, out: Path, name: str) -> None:
    """Write ``NAME.png`` and say so."""
    figure.savefig(out / f"{name}.png", dpi=120)
    print(f"{name}.png")


def show(axes: Any, image: Any, title: str = "", **options: Any) -> None:
    """An image without ticks."""
    axes.imshow(image, **({"cmap": "gray"} | options))
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def grey(image: Any) -> Any:
    """HU to 0 to 255 under the soft-tissue window."""
    low, high = WINDOW
    return np.clip((np.asarray(image) - low) / (high - low), 0, 1) * 255.0


@lru_cache
def phantom(seed: int, *, kind: str = "none", size: int = 96) -> Any:
    """A slice of the liver: ``(size, size)`` from 0 to 255, and where its lesion is."""
    found = ct_slice(seed, size=size, kind=kind, region="abdomen", fov_mm=220, centre_xy=(-60, 0))
    return grey(found.image[..., 0]), found.mask > 0


@lru_cache
def cases(count: int, *, seed: int = 0, size: int = 96) -> tuple[Any, Any]:
    """Slices, every second one with a lesion: images ``(N, size, size)``, and labels."""
    kinds = ["none", "cyst"]
    images = [phantom(seed + k, kind=kinds[k % 2], size=size)[0] for k in range(count)]
    return np.stack(images).astype(np.float32), np.arange(count) % 2


@lru_cache
def embeddings(count: int, *, weights: str | None = "imagenet") -> Any:
    """`seen` of `cases`."""
    return seen(cases(count)[0], weights=weights)


def seen(images: Any, *, weights: str | None = "imagenet") -> Any:
    """What EfficientNet-Lite0 sees: means and spreads of two middle maps, ``(N, 1824)``."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    shape = (*images.shape[1:], 3)
    body = zoo.create_backbone("efficientnet_lite0", input_shape=shape, weights=weights)
    maps = body(np.repeat(images[..., None], 3, axis=-1), training=False)
    middle = [np.asarray(maps[level]) for level in ("P3", "P4")]
    return np.concatenate([f(m, axis=(1, 2)) for m in middle for f in (np.mean, np.std)], axis=1)

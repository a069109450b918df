"""Maps on pictures: one column for each method, one row for each plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from data_adapters.case import Case
from recipes.report.images import INK, draw
from recipes.segmentation.report.overlays import grey_of, hanging, middle

Array = npt.NDArray[Any]

COLOURS = "inferno"
"""Evenly bright steps, which colour-blind readers can tell apart."""
TOP = 99.5
"""Percentile of a map that gets the brightest colour: single pixels would darken all others."""
ACROSS = 4
"""Maps in a row beside the case."""
COLUMN, TALLEST = 2.3, 3.6
"""Width and largest height of a panel, in inches."""


@dataclass(frozen=True)
class _Plane:
    title: str
    image: Array
    heats: Mapping[str, Array]
    truth: Array | None
    region: Array | None
    aspect: float


def drawn(
    picture: Case,
    heats: Mapping[str, Array],
    *,
    truth: Array | None = None,
    region: Array | None = None,
    planes: bool = False,
    focus: Array | None = None,
) -> str:
    """A case beside itself under the map of each method.

    A volume is shown in the three planes that cross in ``focus``.

    Args:
        picture: The case.
        heats: Title -> ``(*grid)``, 0 or more, on the picture's grid.
        truth: Boolean, on the same grid; its outline is drawn.
        region: Likewise, what is explained; its outline is dashed.
        planes: Whether the picture's channels are planes of a volume, to be shown one by one.
        focus: Boolean, on the same grid, of a volume; None for the first map's highest place.

    Returns:
        A PNG as a data URI.
    """
    shown = _planes(picture, heats, truth, region, planes, focus)
    names = list(heats)
    parts = [names[k : k + ACROSS] for k in range(0, len(names), ACROSS)]
    columns = min(len(names), ACROSS) + 1
    ratio = max(p.image.shape[0] / p.image.shape[1] * p.aspect for p in shown)
    rows = [(plane, part) for part in parts for plane in shown]
    size = (COLUMN * columns, (min(TALLEST, COLUMN * ratio) + 0.28) * len(rows))

    def paint(axes: npt.NDArray[Any]) -> None:
        for line, (plane, part) in zip(axes, rows, strict=True):
            for ax in line:
                ax.grid(visible=False)
                ax.set_axis_off()
            _panel(line[0], plane, None, 1.0)
            line[0].set_title(plane.title or "Case", fontsize=8, fontweight="normal")
            for ax, name in zip(line[1:], part, strict=False):
                _panel(ax, plane, plane.heats[name], scale(heats[name]))
                ax.set_title(name, fontsize=8, fontweight="normal")

    return draw(size, paint, *[1] * columns, rows=len(rows), kind="png")


def tinted(picture: npt.NDArray[np.uint8], heat: Array) -> npt.NDArray[np.uint8]:
    """A small picture under a map, without axes.

    Args:
        picture: ``(H, W)`` or ``(H, W, C)``, 0 to 255; channels are averaged.
        heat: ``(H, W)``, 0 or more.

    Returns:
        ``(H, W, 3)``.
    """
    grey = picture if picture.ndim == 2 else picture.mean(axis=-1)
    cover = _cover(heat, scale(heat))
    share = cover[..., 3:]
    found = (1 - share) * grey[..., None] + share * 255 * cover[..., :3]
    return np.asarray(np.rint(found), np.uint8)


def _cover(heat: Array, top: float) -> Array:
    """Colour and opacity of a map, ``(H, W, 4)``, 0 to 1."""
    level = np.clip(heat / top, 0, 1)
    cover = np.asarray(colormaps[COLOURS](level))
    cover[..., 3] = 0.75 * np.sqrt(level)
    return cover


def scale(heat: Array) -> float:
    """The value that gets the brightest colour; 1 for a map of zeros."""
    top = float(np.percentile(heat, TOP))
    top = top if top > 0 else float(heat.max())
    return top if top > 0 else 1.0


def _planes(
    picture: Case,
    heats: Mapping[str, Array],
    truth: Array | None,
    region: Array | None,
    planes: bool,
    focus: Array | None,
) -> list[_Plane]:
    sides = (1.0,) * (picture.image.ndim - 1)
    if picture.geometry is not None:
        sides = tuple(picture.geometry.spacing[-len(sides) :])
    if picture.image.ndim == 3 and not planes:
        image = np.asarray(grey_of(picture)(picture.image))
        return [_Plane("", image, heats, truth, region, sides[0] / sides[1])]
    if planes:
        low, high = float(picture.image.min()), float(picture.image.max())
        image = (picture.image.astype(np.float32) - low) / ((high - low) or 1.0)
        return [
            _Plane(f"plane {k + 1}", image[..., k], heats, truth, region, 1.0)
            for k in range(image.shape[-1])
        ]
    first = next(iter(heats.values()))
    marked = first >= first.max() if focus is None or not focus.any() else focus
    place = middle(marked, marked, sides)
    grey = grey_of(picture)
    found = []
    for axis in range(3):
        hung = hanging(picture.geometry, axis)
        at = place[axis]
        found.append(
            _Plane(
                f"{hung.name}, {at + 1} of {first.shape[axis]}",
                np.asarray(grey(hung.turn(picture.image, at))),
                {name: hung.turn(heat, at) for name, heat in heats.items()},
                None if truth is None else hung.turn(truth, at),
                None if region is None else hung.turn(region, at),
                sides[hung.down] / sides[hung.right],
            )
        )
    return found


def _panel(ax: Axes, plane: _Plane, heat: Array | None, top: float) -> None:
    options: dict[str, Any] = {"aspect": plane.aspect, "interpolation": "nearest"}
    ax.imshow(plane.image, cmap="gray", vmin=0, vmax=1, **options)
    if heat is not None:
        ax.imshow(_cover(heat, top), **options)
    _outline(ax, plane.truth, "#7FD6FF", "solid")
    _outline(ax, plane.region, "#FFFFFF", "dashed")
    ax.set_xlim(-0.5, plane.image.shape[1] - 0.5)
    ax.set_ylim(plane.image.shape[0] - 0.5, -0.5)


def _outline(ax: Axes, region: Array | None, colour: str, style: str) -> None:
    if region is None or not region.any():
        return
    edge = np.pad(region.astype(np.float32), 1)
    y, x = (np.arange(n) - 1 for n in edge.shape)
    lines = ax.contour(
        x, y, edge, levels=[0.5], colors=[colour], linewidths=1.2, linestyles=[style]
    )
    lines.set_path_effects([withStroke(linewidth=2.4, foreground=INK)])

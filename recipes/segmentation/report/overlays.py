"""Outlines of truth and prediction on a picture, or on three planes of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from data_adapters.case import Case, Geometry
from data_adapters.dicom.display import apply_display
from recipes.report.images import GREY, INK, PALETTE, draw

Array = npt.NDArray[Any]

SAMPLE = 200_000
"""Voxels, at most, from which the range of grey values is taken."""
MOST_PLACES = 1_000_000
"""Voxels of a mask, at most, from which its centre is taken."""
LEAST_SIDE = 64
"""Shortest side of a cut-out, in the smallest voxels."""
_PLANES = {0: ("sagittal", 2, 1), 1: ("coronal", 2, 0), 2: ("axial", 1, 0)}
"""Fixed patient axis (left, posterior, superior) -> name, axis downwards, axis rightwards."""
VOID = GREY
WIDTH, TALLEST = 9.4, 5.4
"""Of a drawing, in inches."""
NARROWEST = 0.2
"""Share of a drawing's width that its narrowest plane gets."""
FINE = 4
"""Parts of a pixel's side that an outline follows, in small pictures."""


@dataclass(frozen=True)
class Plane:
    """One plane of a case.

    Attributes:
        title: Which one.
        image: ``(h, w)`` or ``(h, w, 3)`` float, 0 (black) to 1 (white).
        truth: ``(h, w)`` classes; -1 unknown.
        found: ``(h, w)`` predicted classes.
        sides: Height and width of a pixel, mm (1 where unknown).
    """

    title: str
    image: Array
    truth: Array
    found: Array
    sides: tuple[float, float]


@dataclass(frozen=True)
class Hanging:
    """How a plane of a volume is shown.

    Attributes:
        name: Its name.
        axis: The axis it lies across.
        down: The axis that goes down.
        right: The axis that goes to the right.
        flip_down: Whether the first is turned round.
        flip_right: Whether the second is.
    """

    name: str
    axis: int
    down: int
    right: int
    flip_down: bool = False
    flip_right: bool = False

    def turn(self, volume: Array, place: int) -> Array:
        """The plane at a place of a volume, channels kept."""
        plane: Array = volume.take(place, axis=self.axis)
        if self.down > self.right:
            plane = plane.swapaxes(0, 1)
        if self.flip_down:
            plane = plane[::-1]
        return plane[:, ::-1] if self.flip_right else plane


def overlay(case: Case, truth: Array, found: Array, class_names: Sequence[str]) -> tuple[str, bool]:
    """Draw a case with outlines: truth in solid lines, prediction in dashed ones.

    Args:
        case: The case; its image is shown.
        truth: Its mask.
        found: The prediction on the same grid.
        class_names: Names of the classes, background first.

    Returns:
        A PNG as a data URI, and whether it is cut out of something larger.
    """
    whole = planes(case, truth, found)
    shown = [cut_out(plane) for plane in whole]
    widths = [plane.truth.shape[1] * plane.sides[1] for plane in shown]
    heights = [plane.truth.shape[0] * plane.sides[0] for plane in shown]
    tall = WIDTH * max(heights) / sum(widths)
    size = (WIDTH if len(shown) > 1 else WIDTH * 0.6, min(TALLEST, tall) + 0.6)
    seen = sorted({int(k) for p in shown for k in (*np.unique(p.truth), *np.unique(p.found))})

    def paint(axes: npt.NDArray[Any]) -> None:
        for ax, plane in zip(axes[0], shown, strict=True):
            _paint(ax, plane)
        axes[0][0].figure.legend(
            handles=_legend(seen, class_names),
            loc="outside lower center",
            ncols=min(6, len(seen) + 2),
        )

    columns = [max(width, NARROWEST * sum(widths)) for width in widths]
    picture = draw(size, paint, *columns, kind="png")
    smaller = any(a.image.shape != b.image.shape for a, b in zip(whole, shown, strict=True))
    return picture, smaller


def colour(label: int) -> str:
    """The colour of a class."""
    return PALETTE[(label - 1) % len(PALETTE)]


def planes(case: Case, truth: Array, found: Array) -> list[Plane]:
    """A picture as it is; of a volume the three planes through the middle of its mask.

    They cross in the voxel of the mask that is nearest to the mask's centre, so that each of them
    shows some of it. Where the directions are known they are turned as radiologists hang them: the
    patient's right on the left side, anterior on top or on the left, superior on top.
    """
    grey = grey_of(case)
    geometry = case.geometry
    sides = (1.0,) * truth.ndim if geometry is None else geometry.spacing[-truth.ndim :]
    if truth.ndim == 2:
        return [Plane("", grey(case.image), truth, found, (sides[0], sides[1]))]
    centre = middle(truth, found, sides)
    flat = [a for a, n in enumerate(truth.shape) if n == 1]
    # Across the axes of a single slice there are only lines.
    across = [a for a in range(3) if set(flat) <= {a}] or [0]
    result = []
    for axis in across:
        hung = hanging(geometry, axis)
        image, true, guess = (hung.turn(v, centre[axis]) for v in (case.image, truth, found))
        name = f"{hung.name}, {centre[axis] + 1} of {truth.shape[axis]}"
        result.append(Plane(name, grey(image), true, guess, (sides[hung.down], sides[hung.right])))
    return result


def middle(truth: Array, found: Array, sides: Sequence[float]) -> tuple[int, ...]:
    """The voxel of the truth (else of the prediction) that is nearest to its centre.

    Args:
        truth: Mask.
        found: Prediction.
        sides: Sides of a voxel.

    Returns:
        Its indices; the middle of the volume where both are empty.
    """
    for mask in (truth > 0, found > 0):
        flat = np.flatnonzero(mask)
        if len(flat):
            flat = flat[:: 1 + len(flat) // MOST_PLACES]
            places = np.stack(np.unravel_index(flat, mask.shape), axis=1)
            away = (places - places.mean(axis=0)) * np.asarray(sides)
            return tuple(int(v) for v in places[np.argmin((away**2).sum(axis=1))])
    return tuple(n // 2 for n in truth.shape)


def hanging(geometry: Geometry | None, axis: int) -> Hanging:
    """How the plane across an axis of a volume hangs; as stored where that cannot be known.

    Args:
        geometry: Where the case lies; its directions may be unknown, or too oblique to tell.
        axis: The axis that is fixed.
    """
    down, right = (a for a in range(3) if a != axis)
    plain = Hanging(f"plane across axis {axis}", axis, down, right)
    if geometry is None or len(geometry.direction) != 3:
        return plain
    cosines = np.asarray(geometry.direction, np.float64)
    own = [int(np.argmax(np.abs(line))) for line in cosines]
    if sorted(own) != [0, 1, 2]:
        return plain
    name, below, beside = _PLANES[own[axis]]
    down, right = own.index(below), own.index(beside)
    up = bool(cosines[down][below] < 0) != (below == 2)
    return Hanging(name, axis, down, right, up, bool(cosines[right][beside] < 0))


def cut_out(plane: Plane) -> Plane:
    """The part of a plane around its masks: twice as long as they are, or all of it."""
    places = np.argwhere((plane.truth > 0) | (plane.found > 0))
    shape = plane.truth.shape
    if not len(places):
        return plane
    low, high = places.min(axis=0), places.max(axis=0) + 1
    sides = np.asarray(plane.sides)
    side = max(float(((high - low) * sides).max()) * 2, LEAST_SIDE * float(sides.min()))
    half = side / 2 / sides
    centre = (low + high) / 2
    first = np.maximum(0, np.floor(centre - half)).astype(int)
    last = np.minimum(shape, np.ceil(centre + half)).astype(int)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    return Plane(plane.title, plane.image[box], plane.truth[box], plane.found[box], plane.sides)


def grey_of(case: Case) -> Any:
    """A function from a plane's values to what is shown: colour as it is, else the first channel.

    The file's own window where it has one, else from the 0.5th to the 99.5th percentile.
    """
    image = case.image
    if image.dtype.kind == "u" and image.shape[-1] == 3:
        top = np.iinfo(image.dtype).max
        return lambda plane: np.asarray(plane, np.float32) / top
    if case.display.windows or case.display.lut is not None:
        return lambda plane: apply_display(plane[..., :1], case.display)[..., 0]
    values = image[..., 0].ravel()
    values = values[:: max(1, len(values) // SAMPLE)]
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))

    def stretch(plane: Array) -> Array:
        shown = np.clip((plane[..., 0].astype(np.float32) - low) / ((high - low) or 1.0), 0, 1)
        return np.asarray(1 - shown if case.display.inverted else shown)

    return stretch


def _paint(ax: Axes, plane: Plane) -> None:
    ax.grid(visible=False)
    ax.set_axis_off()
    ax.set_anchor("N")
    ax.imshow(
        plane.image,
        cmap="gray",
        vmin=0,
        vmax=1,
        aspect=plane.sides[0] / plane.sides[1],
        interpolation="nearest",
    )
    if plane.title:
        ax.set_title(plane.title, fontsize=9, fontweight="normal")
    unknown = plane.truth < 0
    if unknown.any():
        ax.contourf(unknown, levels=[0.5, 1.5], colors=[VOID], alpha=0.45)
    for labels, style in ((plane.truth, "solid"), (plane.found, "dashed")):
        for k in np.unique(labels[labels > 0]):
            x, y, inside = _outline(labels == k)
            lines = ax.contour(
                x,
                y,
                inside,
                levels=[0.5],
                colors=[colour(int(k)) if style == "solid" else _light(colour(int(k)))],
                linewidths=2.4 if style == "solid" else 1.2,
                linestyles=style,
            )
            if style == "dashed":  # seen on white as well
                lines.set_path_effects([withStroke(linewidth=2.6, foreground=INK)])


def _outline(mask: Array) -> tuple[Array, Array, Array]:
    """Places and values whose contour at 0.5 runs along the edges of the mask's pixels."""
    fine = max(1, min(FINE, 512 // max(mask.shape)))
    # A rim of background closes the outline of a mask that meets the picture's edge.
    inside = np.pad(mask.repeat(fine, 0).repeat(fine, 1).astype(np.float32), 1)
    y, x = ((np.arange(n) - 0.5) / fine - 0.5 for n in inside.shape)
    return x, y, inside


def _light(name: str) -> tuple[float, ...]:
    """A colour on its way to white, to be seen on top of itself."""
    return tuple(1 - 0.3 * (1 - v) for v in to_rgb(name))


def _legend(seen: Sequence[int], class_names: Sequence[str]) -> list[Line2D]:
    lines = [
        Line2D([], [], color=colour(k), lw=3, label=str(class_names[k])) for k in seen if k > 0
    ]
    lines += [
        Line2D([], [], color=INK, lw=2.4, ls="solid", label="truth"),
        Line2D([], [], color=GREY, lw=1.6, ls="dashed", label="prediction (light)"),
    ]
    if -1 in seen:
        lines.append(Line2D([], [], color=VOID, lw=6, alpha=0.45, label="truth unknown"))
    return lines

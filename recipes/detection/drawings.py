"""Drawings of a detection run: the free-response curve, and cut-outs around findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter

from data_adapters.case import Case
from recipes.detection.outcomes import Outcome
from recipes.detection.truth import spacing_of
from recipes.evaluation.froc.curve import Curve
from recipes.report.images import BLUE, GREEN, GREY, INK, ORANGE, draw, thumbnail
from recipes.segmentation.report.overlays import grey_of

LOWEST, HIGHEST = 0.125, 8.0
LEAST_SIDE = 48
"""Shortest side of a cut-out, in pixels."""
AROUND = 2.5
"""Sides of a cut-out, in sides of what it is about."""


def froc_plot(
    curves: Mapping[str, Curve],
    figures: Mapping[str, Mapping[str, Any]],
    *,
    per: str,
    operating: Mapping[str, Mapping[str, Any]],
) -> str | None:
    """Sensitivity against false positives, with a band; None where there are no lesions.

    Args:
        curves: Name -> curve.
        figures: Name -> its "froc" figures with intervals.
        per: What false positives are counted per.
        operating: Name -> figures at its operating point.
    """
    known = {name: one for name, one in curves.items() if np.isfinite(one.sensitivity).all()}
    if not known:
        return None
    colours = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        for k, (name, curve) in enumerate(known.items()):
            colour = colours[k % len(colours)]
            rates = np.array([float(rate) for rate in figures[name]])
            ends = [[f[key] for f in figures[name].values()] for key in ("low", "high")]
            if all(v is not None for end in ends for v in end):
                ax.fill_between(rates, *ends, color=colour, alpha=0.15, lw=0)
            x = np.append(curve.rate, max(HIGHEST, curve.rate[-1]))
            y = np.append(curve.sensitivity, curve.sensitivity[-1])
            ax.plot(np.maximum(x, LOWEST / 4), y, color=colour, lw=1.8, label=name)
            point = operating.get(name)
            if point is not None and point["sensitivity"]["value"] is not None:
                place = max(point["false_positives"]["value"], LOWEST)
                ax.plot([place], [point["sensitivity"]["value"]], "o", color=colour, mec=INK, ms=7)
        ax.set_xscale("log", base=2)
        ax.set(
            xlim=(LOWEST, HIGHEST),
            ylim=(-0.02, 1.02),
            xlabel=f"false positives per {per}",
            ylabel="lesion sensitivity",
        )
        ticks = [0.125, 0.25, 0.5, 1, 2, 4, 8]
        ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
        ax.legend(loc="lower right")

    return draw((6.4, 4.0), paint)


def outcome_plot(case: Case, outcome: Outcome) -> str:
    """The surroundings of a finding: the lesion in a solid line, the candidate in a dashed one."""
    scan = outcome.scan
    boxes: list[Framed] = []
    if outcome.lesion is not None:
        boxes.append((scan.lesions.boxes[outcome.lesion], "solid"))
    if outcome.candidate is not None:
        boxes.append((scan.found.boxes[outcome.candidate], "dashed"))
    return cut_out(case, boxes)


Framed = tuple[npt.NDArray[np.float64], str]
"""A box and the style of its line."""


def cut_out(case: Case, boxes: Sequence[Framed], *, whole: bool = False) -> str:
    """The surroundings of the first of some boxes; of a volume the slice through its middle.

    Args:
        case: The case.
        boxes: Lowest faces then highest in voxels, each with the style of its line.
        whole: Show the whole picture or slice.

    Returns:
        A PNG as a data URI.
    """
    about = boxes[0][0]
    spacing = spacing_of(case)
    axes = len(about) // 2
    image = case.image
    if axes == 3:
        middle = int(np.clip((about[0] + about[3]) / 2 - 0.5, 0, image.shape[0] - 1))
        image = image[middle]
    shown = np.asarray(grey_of(case)(image))
    low, high = about[axes - 2 : axes], about[2 * axes - 2 :]
    side = max(LEAST_SIDE, AROUND * float((high - low).max()))
    side = 2.0 * max(shown.shape[:2]) if whole else side
    centre = (low + high) / 2
    sides = np.asarray(shown.shape[:2])
    first = np.clip(np.floor(centre - side / 2), 0, sides - 1).astype(int)
    last = np.clip(np.ceil(centre + side / 2), first + 1, sides).astype(int)
    part = shown[first[0] : last[0], first[1] : last[1]]

    def paint(panels: npt.NDArray[Any]) -> None:
        ax = panels[0][0]
        ax.grid(visible=False)
        ax.set_axis_off()
        aspect = float(spacing[-2] / spacing[-1])
        ax.imshow(part, cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="nearest")
        for box, style in boxes:
            (top, left), (bottom, right) = box[axes - 2 : axes], box[2 * axes - 2 :]
            frame = Rectangle(
                (left - first[1] - 0.5, top - first[0] - 0.5), right - left, bottom - top,
                fill=False, ls=style, lw=1.8, ec=BLUE if style == "solid" else "#F5C26B",
            )  # fmt: skip
            frame.set_path_effects([withStroke(linewidth=3.2, foreground=INK)])
            ax.add_patch(frame)
        ax.set_xlim(-0.5, part.shape[1] - 0.5)
        ax.set_ylim(part.shape[0] - 0.5, -0.5)

    size = 6.0 if whole else 2.1
    return draw((size, size), paint, kind="png")


def score_plot(scores: Mapping[str, Sequence[float]]) -> str | None:
    """How the scores of hits and of false positives are spread; None where there are none."""
    if not any(len(v) for v in scores.values()):
        return None

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        bins = np.linspace(0, 1, 26)
        for (name, found), colour in zip(scores.items(), (BLUE, GREY), strict=True):
            ax.hist(found, bins=bins, color=colour, alpha=0.6, label=f"{name} ({len(found)})")
        ax.set(xlabel="score", ylabel="candidates", xlim=(0, 1), yscale="log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.legend(loc="upper center")

    return draw((6.4, 2.6), paint)


def atlas_plot(patches: npt.NDArray[np.uint8]) -> str:
    """Patches side by side; of cubes the middle slice, of three planes the first.

    Args:
        patches: ``(N, side, side, C)`` or ``(N, side, side, side, C)``.
    """
    if patches.ndim == 5:
        patches = patches[:, patches.shape[1] // 2]
    shown = patches if patches.shape[-1] == 3 and _colour(patches) else patches[..., :1]
    across = min(12, len(shown))
    down = -(-len(shown) // across)
    side = shown.shape[1] + 2
    sheet = np.full((down * side, across * side, shown.shape[-1]), 255, np.uint8)
    for k, patch in enumerate(shown):
        top, left = (k // across) * side, (k % across) * side
        sheet[top : top + side - 2, left : left + side - 2] = patch
    return thumbnail(sheet, most=1100) or ""


def _colour(patches: npt.NDArray[np.uint8]) -> bool:
    """Whether three channels are nearly one picture in colours, not three planes."""
    first, second = (patches[..., k].astype(np.float32).ravel() for k in (0, 1))
    return bool(np.corrcoef(first, second)[0, 1] > 0.7)

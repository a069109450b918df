"""Drawings and thumbnails as data URIs; no pyplot, no state left behind."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8F98", "#22272E"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": INK,
    "xtick.color": "#4A5058",
    "ytick.color": "#4A5058",
    "svg.hashsalt": "radzoo",
    "text.parse_math": False,
}
_THUMB = 168
_DPI = 110


def draw(
    size: tuple[float, float],
    paint: Any,
    *columns: int | float,
    rows: int = 1,
    kind: Literal["svg", "png"] = "svg",
) -> str:
    """Make a figure of `rows` x relative `columns`, let `paint(axes)` fill it, encode it.

    Args:
        size: Width and height in inches.
        paint: Takes the axes, ``(rows, columns)``.
        columns: Relative widths.
        rows: Rows.
        kind: ``png`` for pictures, whose pixels would only swell a drawing.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        widths = list(columns) or [1]
        axes = figure.subplots(
            rows, len(widths), squeeze=False, gridspec_kw={"width_ratios": widths}
        )
        paint(axes)
        buffer = io.BytesIO()
        names = ("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",)
        bare = dict.fromkeys(names)
        figure.savefig(buffer, format=kind, dpi=_DPI, metadata=bare)
    mime = "svg+xml" if kind == "svg" else "png"
    return f"data:image/{mime};base64," + base64.b64encode(buffer.getvalue()).decode()


def draw_stack(size: tuple[float, float], paint: Any, heights: tuple[float, float]) -> str:
    """Like `draw`, for two panels one above the other."""

    def restack(axes: npt.NDArray[Any]) -> None:
        axes[0][0].get_gridspec().set_height_ratios(heights)
        paint(axes)

    return draw(size, restack, 1, rows=2)


def thumbnail(picture: npt.NDArray[np.uint8] | None, *, most: int = _THUMB) -> str | None:
    """A picture as a small data URI, at most so wide and high: PNG if small, JPEG if large."""
    if picture is None:
        return None
    pixels = np.asarray(picture)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    image = Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))
    small = max(image.size) <= 96
    image.thumbnail((most, most), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=88)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()

"""Figures in words: with an interval, or as a size."""

from __future__ import annotations

from collections.abc import Mapping


def figure_text(figure: Mapping[str, float | None]) -> str:
    """Write ``{"value", "low", "high"}`` as one line; what is undefined is said to be so."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "undefined"
    if low is None or high is None:
        return f"{value:.3f}  (no interval)"
    return f"{value:.3f}  (95% CI {low:.3f} to {high:.3f})"


def size_text(size: int) -> str:
    """Bytes as people read them, in powers of ten.

    Args:
        size: Bytes.
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"

"""A figure with its interval, in words."""

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

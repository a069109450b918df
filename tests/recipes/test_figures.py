"""Figures in words."""

from __future__ import annotations

from recipes.figures import figure_text


def test_figures_say_what_is_undefined() -> None:
    assert figure_text({"value": 0.5, "low": 0.25, "high": 0.75}) == (
        "0.500  (95% CI 0.250 to 0.750)"
    )
    assert "no interval" in figure_text({"value": 1.0, "low": None, "high": None})
    assert figure_text({"value": None, "low": None, "high": None}) == "undefined"

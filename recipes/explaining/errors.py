"""Errors of explanations."""

from __future__ import annotations

from recipes.errors import RecipeError


class ExplainError(RecipeError):
    """A method, layer, class or backend with which an explanation is not defined."""

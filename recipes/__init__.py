"""Recipes: from labelled studies to a locally validated model. Research use only."""

from __future__ import annotations

from recipes.intended_use import INTENDED_USE

__all__ = ["INTENDED_USE"]

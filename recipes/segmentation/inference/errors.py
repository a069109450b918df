"""What can go wrong between an image and its prediction."""

from __future__ import annotations

from recipes.errors import RecipeError


class InferenceError(RecipeError):
    """An image that a network cannot be applied to, or in a way that was not asked sensibly."""


class OutOfMemoryError(InferenceError):
    """Not even the smallest piece of the image fits memory."""

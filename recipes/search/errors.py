"""Errors of a search."""

from __future__ import annotations

from recipes.errors import ConfigError, RecipeError


class SearchError(RecipeError):
    """A search cannot begin or go on; the message says why and the way out."""


class SpaceError(ConfigError):
    """A search space names what there is not, or values that do not fit."""


class MissingExtraError(SearchError):
    """A package of an extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        """Name the command that installs it."""
        super().__init__(f"{what} needs a further package: pip install 'radzoo[{extra}]'")

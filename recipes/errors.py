"""Errors that the recipes raise on purpose."""

from __future__ import annotations


class RecipeError(ValueError):
    """A run cannot go on; the message says what is wrong, where, and the way out."""


class ConfigError(RecipeError):
    """A configuration value is unknown or does not fit."""


class RunFolderError(RecipeError):
    """A run folder is finished, foreign, incomplete or cannot be written."""


class DeviceError(RecipeError):
    """A device or precision that this machine does not have."""

"""Errors of the zoo: each message names the value, the place and the way out."""

from __future__ import annotations


class ZooError(ValueError):
    """Anything the zoo cannot do for a reason the caller can cure."""


class UnknownBackboneError(ZooError):
    """A backbone name that the registry does not hold."""


class WeightsNotFoundError(ZooError):
    """Pretrained weights that are neither cached nor obtainable now."""


class WeightsMismatchError(ZooError):
    """A weight file that does not fit the architecture, or not its recorded digest."""


class FrozenMovedError(ZooError):
    """A variable that had to stay as it was and did not."""


class NotExactError(ZooError):
    """A network that cannot be turned into another with equal output."""

"""A run as one of many that are compared: it stops before the test part is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _nothing(record: dict[str, Any]) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Trial:
    """Given to a recipe's ``fit``, ends it behind the validation part.

    The run folder then holds the model, its validation figures in ``metrics.json`` and everything
    that a resume needs, but no page and no prediction of the test part. The same call without a
    trial finishes the run: it trains nothing again and evaluates the test part.

    Attributes:
        epoch: Called with the record of every epoch behind its validation (``phase`` or ``member``,
            ``epoch`` from 1, ``val_...`` figures); what it raises ends the run, which can be
            resumed.
    """

    epoch: Callable[[dict[str, Any]], None] = _nothing

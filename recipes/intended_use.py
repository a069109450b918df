"""The one statement of intended use that every export carries."""

from __future__ import annotations

INTENDED_USE = (
    "Research use only. Not a medical device; not for diagnosis or treatment; "
    "outputs need review by a qualified reader."
)

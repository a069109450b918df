"""From a case to a training array: small steps that know their way back.

Importing this package loads nothing heavy: each name comes from its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_adapters.lazy import lazy_names

if TYPE_CHECKING:
    from data_adapters.transforms.base import Step, Undo, register_step, step_from_dict
    from data_adapters.transforms.compose import Compose, invert_mask, invert_probabilities
    from data_adapters.transforms.guides import Prior, Region
    from data_adapters.transforms.intensity import Normalize, Windows
    from data_adapters.transforms.layout import Crop, Pad, Reorient
    from data_adapters.transforms.resample import Resample

_NAMES = {
    "base": "Step Undo register_step step_from_dict",
    "compose": "Compose invert_mask invert_probabilities",
    "guides": "Prior Region",
    "intensity": "Normalize Windows",
    "layout": "Crop Pad Reorient",
    "resample": "Resample",
}

__all__ = [
    "Compose",
    "Crop",
    "Normalize",
    "Pad",
    "Prior",
    "Region",
    "Reorient",
    "Resample",
    "Step",
    "Undo",
    "Windows",
    "invert_mask",
    "invert_probabilities",
    "register_step",
    "step_from_dict",
]

__getattr__, __dir__ = lazy_names(__name__, _NAMES)

"""From a case to a training array: small steps that know their way back.

Importing this package loads nothing heavy: each name comes from its module on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_adapters.transforms.base import Step, Undo, register_step, step_from_dict
    from data_adapters.transforms.compose import Compose, invert_mask, invert_probabilities
    from data_adapters.transforms.intensity import Normalize, Windows
    from data_adapters.transforms.layout import Crop, Pad, Reorient
    from data_adapters.transforms.resample import Resample

_NAMES = {
    "base": "Step Undo register_step step_from_dict",
    "compose": "Compose invert_mask invert_probabilities",
    "intensity": "Normalize Windows",
    "layout": "Crop Pad Reorient",
    "resample": "Resample",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Compose",
    "Crop",
    "Normalize",
    "Pad",
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


def __getattr__(name: str) -> Any:
    """Load the module that holds `name` and return the name."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    """Every public name, loaded or not."""
    return sorted({*globals(), *__all__})

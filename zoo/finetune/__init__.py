"""Fine-tuning as data: what trains when and how fast, and proof that the rest stood still.

``FineTunePolicy`` is the whole of it; the functions beside it are what it is made of.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.finetune.adapters import add_adapters, merge_adapters
    from zoo.finetune.guard import Guard, frozen_snapshot, verify_frozen
    from zoo.finetune.optimizer import LayerwiseAdamW, averaged, decays, rate_multipliers
    from zoo.finetune.policy import Adapters, FineTunePolicy
    from zoo.finetune.stages import layer_stages, leaf_layers
    from zoo.finetune.trainable import StageReport, TrainableReport, set_trainable

_HOME_OF = {
    "Adapters": "policy",
    "FineTunePolicy": "policy",
    "Guard": "guard",
    "LayerwiseAdamW": "optimizer",
    "StageReport": "trainable",
    "TrainableReport": "trainable",
    "add_adapters": "adapters",
    "averaged": "optimizer",
    "decays": "optimizer",
    "frozen_snapshot": "guard",
    "layer_stages": "stages",
    "leaf_layers": "stages",
    "merge_adapters": "adapters",
    "rate_multipliers": "optimizer",
    "set_trainable": "trainable",
    "verify_frozen": "guard",
}

__all__ = [
    "Adapters",
    "FineTunePolicy",
    "Guard",
    "LayerwiseAdamW",
    "StageReport",
    "TrainableReport",
    "add_adapters",
    "averaged",
    "decays",
    "frozen_snapshot",
    "layer_stages",
    "leaf_layers",
    "merge_adapters",
    "rate_multipliers",
    "set_trainable",
    "verify_frozen",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines ``name`` (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'zoo.finetune' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"zoo.finetune.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOME_OF})

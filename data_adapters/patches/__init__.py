"""Training patches: where they are cut, how they are changed, and batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_adapters.lazy import lazy_names

if TYPE_CHECKING:
    from data_adapters.patches.augmenter import PatchAugmenter
    from data_adapters.patches.axes import flip_axes, mirror_axes
    from data_adapters.patches.cutting import stack_context
    from data_adapters.patches.policy import PatchPolicy, patch_policy, side_pairs
    from data_adapters.patches.reading import PatchReader
    from data_adapters.patches.sampler import PatchSampler, Place
    from data_adapters.patches.stream import PatchStream

_NAMES = {
    "augmenter": "PatchAugmenter",
    "axes": "flip_axes mirror_axes",
    "cutting": "stack_context",
    "policy": "PatchPolicy patch_policy side_pairs",
    "reading": "PatchReader",
    "sampler": "PatchSampler Place",
    "stream": "PatchStream",
}

__all__ = [
    "PatchAugmenter",
    "PatchPolicy",
    "PatchReader",
    "PatchSampler",
    "PatchStream",
    "Place",
    "flip_axes",
    "mirror_axes",
    "patch_policy",
    "side_pairs",
    "stack_context",
]

__getattr__, __dir__ = lazy_names(__name__, _NAMES)

"""From published PyTorch checkpoints to the zoo's layers, one module per family.

Each module of ``FAMILIES`` offers

- ``SIGNS``: names of tensors that every checkpoint of the family has; publishers that name one
  differently are told apart by ``|``;
- ``recognise(tensors) -> Layout | None``: which network it is, from names and shapes;
- ``convert(tensors, spec) -> LayerArrays``: the backbone's arrays, every tensor accounted for;
- ``head(tensors) -> list[Array] | None``: the classification layer's ``[kernel, bias]`` as a Keras
  ``Dense`` layer takes them, where there is one.

``tensors`` is what ``zoo.weights.unpickle.read_checkpoint`` gives.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from zoo.errors import WeightsMismatchError
from zoo.spec import Preprocessing
from zoo.weights.converters.state import State
from zoo.weights.files import Array

__all__ = ["FAMILIES", "Layout", "State", "detect"]

FAMILIES: tuple[str, ...] = (
    "resnet",
    "medicalnet",
    "densenet",
    "vgg",
    "efficientnet",
    "convnext",
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a checkpoint is.

    Attributes:
        publisher: Whose names it uses: ``"torchvision"``, ``"timm"``, ``"torchxrayvision"``...
        backbone: Registered name of the network that takes it.
        converter: Dotted ``"module:function"`` that translates it, as in ``WeightSpec``.
        classes: Outputs of its classification layer; None without one.
        channels: Input channels of its first kernel.
        preprocessing: What networks of this publisher are fed, as far as the layout tells.
        alternatives: Other networks whose checkpoints have the same names and shapes, but which
            compute something else: only the caller knows which of them it is.
    """

    publisher: str
    backbone: str
    converter: str
    classes: int | None
    channels: int
    preprocessing: Preprocessing
    alternatives: tuple[str, ...] = ()


def detect(tensors: Mapping[str, Array]) -> Layout:
    """Tell which published network a checkpoint belongs to, from names and shapes alone.

    Args:
        tensors: Name -> array.

    Raises:
        WeightsMismatchError: When no family knows it; the message names the nearest one and what
            it lacks for that.
    """
    for family in FAMILIES:
        layout: Layout | None = family_module(family).recognise(tensors)
        if layout is not None:
            return layout
    raise WeightsMismatchError(_refusal(tensors))


def family_module(family: str) -> ModuleType:
    """Import one module of ``FAMILIES``."""
    return importlib.import_module(f"{__name__}.{family}")


def _refusal(tensors: Mapping[str, Array]) -> str:
    """Say which family comes nearest, and what of it is missing."""
    known = f"known families: {', '.join(FAMILIES)}"
    if not tensors:
        return f"the checkpoint holds no tensors; {known}"
    lacking = {
        family: [
            sign
            for sign in family_module(family).SIGNS
            if not any(name in tensors for name in sign.split("|"))
        ]
        for family in FAMILIES
    }
    shares = {
        family: 1 - len(missing) / len(family_module(family).SIGNS)
        for family, missing in lacking.items()
    }
    nearest = max(shares, key=lambda family: shares[family], default=None)
    if nearest is None or shares[nearest] == 0:
        first = next(iter(tensors))
        return (
            f"the checkpoint is of no known layout: none of its {len(tensors)} tensors (the first "
            f"is {first!r}) has a name that a family uses; {known}"
        )
    if not lacking[nearest]:
        return (
            f"the checkpoint resembles the family {nearest!r}, but its widths, depths or kernels "
            f"are those of no registered variant; {known}"
        )
    missing, *others = lacking[nearest][0].split("|")
    close = difflib.get_close_matches(missing, tensors, n=1)
    hint = f" (it has {close[0]!r})" if close else ""
    return (
        f"the checkpoint is of no known layout; nearest is the family {nearest!r}, for which it "
        f"lacks {' or '.join(map(repr, (missing, *others)))}{hint}; {known}"
    )

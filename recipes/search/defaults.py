"""The spaces that are searched where none is given: one for each recipe."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from recipes.config import Section
from recipes.search.errors import SpaceError
from recipes.search.space import Choices, Range, Space

LARGEST = 30_000_000
"""Parameters of the largest backbone in a default space."""


def default_space(config: Section) -> Space:
    """The space of a recipe: backbone, input size, augmentation, rates, freezing, depth and width.

    Named values come from the configuration itself, backbones are those whose ImageNet weights are
    here, and ranges lie around the defaults.

    Args:
        config: The plain configuration; of a detection its ``way`` decides what there is to vary.

    Raises:
        SpaceError: There is no space for this recipe.
    """
    spaces = {
        "classification": _classification,
        "segmentation": _segmentation,
        "detection": _boxes if getattr(config, "way", None) == "boxes" else _detection,
    }
    task = str(getattr(config, "task", None))
    if task not in spaces:
        raise SpaceError(f"no default space for {task!r}; give --space FILE")
    return spaces[task](type(config))


def _classification(kind: type[Section]) -> Space:
    return Space(
        {
            **_backbones(),
            "data.image_size": Choices((64, 96, 112, 160)),
            "model.levels": Choices((["P3"], ["P4"], ["P5"], ["P4", "P5"])),
            "model.pooling": _named(kind, "model.pooling"),
            "model.hidden": Choices((0, 128, 256, 512)),
            "model.dropout": Range(0.0, 0.6),
            "augment.strength": _named(kind, "augment.strength"),
            "train.head.learning_rate": Range(3e-4, 1e-2, log=True),
            "train.finetune.learning_rate": Range(3e-5, 3e-3, log=True),
            "train.finetune.decay": Range(0.5, 1.0),
            "train.finetune.stages": Choices((1, 2, 3, "all")),
            "train.finetune.batch_norm": _named(kind, "train.finetune.batch_norm"),
            "train.weight_decay": Range(1e-4, 1e-1, log=True),
        },
        {"model.members": 1},
    )


def _segmentation(kind: type[Section]) -> Space:
    return Space(
        {
            "model.network": Choices(("unet", "residual", "backbone")),
            "model.norm": _named(kind, "model.norm"),
            "plan.width": Choices((16, 24, 32)),
            "plan.largest": Choices((96, 128, 160, 256)),
            "augment.strength": _named(kind, "augment.strength"),
            "train.loss": _named(kind, "train.loss"),
            "train.learning_rate": Range(3e-4, 1e-2, log=True),
            "train.decay": Range(0.5, 1.0),
            "train.foreground": Range(0.1, 0.9),
            "train.weight_decay": Range(1e-4, 1e-1, log=True),
        },
        {"model.members": 1},
    )


def _detection(kind: type[Section]) -> Space:
    return Space(
        {
            "model.network": Choices(("unet", "residual", "backbone")),
            "plan.width": Choices((16, 24, 32)),
            "plan.largest": Choices((96, 128, 160, 256)),
            "augment.strength": _named(kind, "augment.strength"),
            "train.loss": _named(kind, "train.loss"),
            "train.learning_rate": Range(3e-4, 1e-2, log=True),
            "train.decay": Range(0.5, 1.0),
            "train.foreground": Range(0.2, 0.9),
            "candidates.core": Range(0.4, 1.0),
        },
        {"model.members": 1},
    )


def _boxes(kind: type[Section]) -> Space:
    return Space(
        {
            **_backbones(),
            "boxes.levels": Choices((["P3", "P4", "P5"], ["P2", "P3", "P4", "P5"])),
            "boxes.width": Choices((32, 64, 96)),
            "plan.largest": Choices((128, 160, 256, 384)),
            "augment.strength": _named(kind, "augment.strength"),
            "train.learning_rate": Range(3e-4, 1e-2, log=True),
            "train.decay": Range(0.5, 1.0),
            "train.foreground": Range(0.2, 0.9),
            "train.weight_decay": Range(1e-4, 1e-1, log=True),
        }
    )


def _named(kind: type[Section], key: str) -> Choices:
    """The words that a key may have, without ``auto``."""
    *sections, last = key.split(".")
    for name in sections:
        inner: Any = kind.model_fields[name].annotation
        kind = inner
    annotation = kind.model_fields[last].annotation
    words = get_args(annotation) if get_origin(annotation) is Literal else ()
    found = tuple(word for word in words if word != "auto")
    if len(found) < 2:
        raise SpaceError(f"{key} has no list of words to choose from")
    return Choices(found)


def _backbones() -> dict[str, Choices]:
    """Backbones of moderate size whose ImageNet weights need no download; none where one is."""
    from zoo.registry import get_spec, list_backbones
    from zoo.weights.available import available

    names = []
    for name in list_backbones():
        spec = get_spec(name)
        here = any(w.name == "imagenet" and available(name, w) for w in spec.weights)
        if here and spec.dims == 2 and spec.params <= LARGEST:
            names.append(name)
    return {"model.backbone": Choices(tuple(names))} if len(names) > 1 else {}

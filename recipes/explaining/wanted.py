"""What is asked for, and whether it fits the run and the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from data_adapters.adapter import Adapter
from data_adapters.errors import nearest
from recipes.classification.thumbnails import Pictures
from recipes.errors import ConfigError, RecipeError
from recipes.explaining.gradients import Rectify
from recipes.explaining.methods import Options
from recipes.explaining.questions import Asker, check_label
from recipes.explaining.rectifying import rectifying

TRUTHFUL = ("detection", "segmentation")
"""Tasks of data that say where things are."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        methods: Names of methods.
        label: Class to explain; None for what the network finds.
        truth: The data's name of that class, where it is another one.
        most: Candidates of a case.
        options: What the methods are told.
        pictures: Which cases are shown.
    """

    methods: tuple[str, ...] = ("gradcam",)
    label: str | None = None
    truth: str | None = None
    most: int = 1
    options: Options = field(default_factory=Options)
    pictures: Pictures = "auto"


def check_truth(adapter: Adapter, truth: str | None) -> None:
    """Refuse a name of a class that the data do not have.

    Raises:
        ConfigError: With the names that they have.
    """
    if truth is None or adapter.task not in TRUTHFUL or truth in adapter.class_names:
        return
    raise ConfigError(
        f"--truth-class {truth!r} is no class of the data{nearest(truth, adapter.class_names)}"
    )


def check_wanted(asker: Asker, wanted: Wanted) -> None:
    """Refuse methods and layers that do not fit the network, before any case is read.

    Raises:
        RecipeError: One does not.
    """
    check_label(wanted.label, asker.class_names)
    for method in wanted.methods:
        if method in ("guided", "deconvolution"):
            rectifying(asker.network.program, cast(Rectify, method))
    if wanted.options.layer is not None:
        asker.network.program.find(wanted.options.layer)
    if wanted.most < 1:
        raise RecipeError(f"--candidates {wanted.most}: give 1 or more")

"""The recipes: being listed here is being a command, and being held to the conformance tests."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer


@dataclass(frozen=True)
class Recipe:
    """A recipe by the names of its parts; nothing is imported before it is asked for.

    Attributes:
        task: What it does, as ``task`` of its configuration and of ``model.json`` has it.
        command: Its command: ``radzoo COMMAND fit|evaluate|predict``.
        package: Package with ``fitting:fit``, ``evaluating:evaluate``, ``predicting:predict`` and
            ``config``.
        config: Class of the configuration in ``config``.
    """

    task: str
    command: str
    package: str
    config: str

    def commands(self) -> typer.Typer:
        """Its group of commands, ``recipes.cli_COMMAND:COMMAND``."""
        module = import_module(f"recipes.cli_{self.command}")
        found: typer.Typer = getattr(module, self.command)
        return found

    def part(self, name: str) -> Any:
        """``module:attribute`` of its package."""
        module, _, attribute = name.partition(":")
        return getattr(import_module(f"{self.package}.{module}"), attribute)

    def config_class(self) -> Any:
        """Class of its configuration, a `recipes.config.Section`."""
        return self.part(f"config:{self.config}")


RECIPES = (
    Recipe("classification", "classify", "recipes.classification", "ClassificationConfig"),
    Recipe("segmentation", "segment", "recipes.segmentation", "SegmentationConfig"),
    Recipe("detection", "detect", "recipes.detection", "DetectionConfig"),
)


def of_another(content: Any, wanted: Any) -> str | None:
    """What to say of a configuration or record that is of another recipe.

    Args:
        content: What was read from the file.
        wanted: The ``task`` that it should have.

    Returns:
        A sentence, beginning in its middle; None where it is of that recipe, or says nothing.
    """
    task = content.get("task") if isinstance(content, dict) else None
    if not isinstance(task, str) or not isinstance(wanted, str) or task == wanted:
        return None
    found = f"is of {task!r} and not of {wanted!r}"
    command = next((recipe.command for recipe in RECIPES if recipe.task == task), None)
    return found if command is None else f"{found}; the command for it begins `radzoo {command}`"

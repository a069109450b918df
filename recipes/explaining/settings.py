"""What a finished run says about showing its cases."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from recipes.classification.thumbnails import NOTES, Pictures
from recipes.config import load_config
from recipes.errors import ConfigError
from recipes.registry import RECIPES
from recipes.runs import CONFIG_FILE


def pictures_of(run: str | Path, task: str, given: str | None) -> Pictures:
    """Which cases may be drawn: as given, else as the run's configuration has it.

    Args:
        run: Run folder.
        task: Its task.
        given: ``auto``, ``yes`` or ``no``; None for the run's own.

    Raises:
        ConfigError: ``given`` is none of them, or the configuration cannot be read.
    """
    if given is None:
        recipe = next(one for one in RECIPES if one.task == task)
        path = Path(run) / CONFIG_FILE
        if not path.parent.is_dir():
            raise ConfigError(f"there is no run folder {Path(run).name!r}")
        if not path.is_file():
            raise ConfigError(f"no {CONFIG_FILE} in the run folder: this is no finished run")
        given = load_config(recipe.config_class(), file=path).report.pictures
    if given not in NOTES:
        raise ConfigError(f"--pictures {given!r} is none of {', '.join(NOTES)}")
    return cast(Pictures, given)

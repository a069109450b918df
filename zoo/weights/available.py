"""Where pretrained weights lie and whether they are there: no network, nothing heavy imported."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from zoo.home import home
from zoo.spec import WeightSpec


def available(weight: WeightSpec) -> bool:
    """Tell whether the weights load now without a download (not whether the file is sound)."""
    if weight.source == "keras":
        return cached_file(weight) is not None
    cached = home() / "weights" / weight.file
    converted = all(cached.with_suffix(kind).is_file() for kind in (".safetensors", ".json"))
    return converted or _packaged(weight)


def cached_file(weight: WeightSpec) -> Path | None:
    """Find the weight file where a user or Keras may have put it."""
    return next((path for path in places(weight).values() if path.is_file()), None)


def places(weight: WeightSpec) -> dict[str, Path]:
    """Give the places where a weight file is looked for.

    Returns:
        Name of the folder, fit for a message -> path of the file, in the order of search.
    """
    ours, theirs = home() / "weights", _keras_home() / "models"
    shown_ours = "$RADZOO_HOME/weights" if os.environ.get("RADZOO_HOME") else _shown(ours)
    shown_theirs = "$KERAS_HOME/models" if os.environ.get("KERAS_HOME") else _shown(theirs)
    return {shown_ours: ours / weight.file, shown_theirs: theirs / weight.file}


def _keras_home() -> Path:
    """Give the folder that Keras itself caches in."""
    given = os.environ.get("KERAS_HOME")
    if given:
        return Path(given)
    return (Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")) / ".keras"


def _shown(folder: Path) -> str:
    """Write a folder without the name of the user."""
    if folder.is_relative_to(Path.home()):
        return f"~/{folder.relative_to(Path.home()).as_posix()}"
    return folder.as_posix()


def _packaged(weight: WeightSpec) -> bool:
    """Tell whether an installed distribution holds the file."""
    if weight.package is None or weight.resource is None:
        return False
    try:
        distribution = importlib.metadata.distribution(weight.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return Path(str(distribution.locate_file(weight.resource))).is_file()

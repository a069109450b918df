"""Where pretrained weights lie and whether they are there: no network, nothing heavy imported."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from zoo.home import home
from zoo.spec import WeightSpec
from zoo.weights.mirror import mirror_folder
from zoo.weights.sets import folder, stem_of


def available(backbone: str, weight: WeightSpec) -> bool:
    """Tell whether weights load now without a download (not whether the files are sound).

    Args:
        backbone: Registered name.
        weight: One of its weight sets.
    """
    stem = stem_of(backbone, weight)
    pairs = [(folder() / f"{stem}.safetensors", folder() / f"{stem}.json")]
    place = mirror_folder()
    if place is not None:
        pairs.append((place / f"{stem}.safetensors", place / f"{stem}.json"))
    if any(all(path.is_file() for path in pair) for pair in pairs):
        return True
    if weight.source == "package":
        return packaged(weight)
    return cached_file(weight) is not None or bool(place and (place / weight.file).is_file())


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


def packaged(weight: WeightSpec) -> bool:
    """Tell whether an installed distribution holds the file."""
    return packaged_path(weight) is not None


def packaged_path(weight: WeightSpec) -> Path | None:
    """Locate a file that an installed distribution holds, without importing it."""
    if weight.package is None or weight.resource is None:
        return None
    try:
        distribution = importlib.metadata.distribution(weight.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(weight.resource)))
    return path if path.is_file() else None

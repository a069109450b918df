"""What a search varies: keys of a recipe's configuration with their choices or ranges, as YAML.

fixed:
  model.members: 1
space:
  model.backbone: [efficientnet_lite0, resnet50]
  train.finetune.learning_rate: {low: 3.0e-5, high: 3.0e-3, log: true}
  model.hidden: {low: 64, high: 512, step: 64}
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from recipes.config import Section, load_config, read_yaml
from recipes.errors import ConfigError
from recipes.search.errors import SpaceError

KEPT = ("seed", "task", "report", "data", "evaluate")
"""Sections and keys that decide what trials are compared on, and so are the same in all."""
FREE = ("data.image_size", "data.keep_aspect", "data.range", "evaluate.tta")
"""Keys in them that may vary: they change what a network sees, not which cases it is asked."""


@dataclass(frozen=True)
class Choices:
    """One of a list of values.

    Attributes:
        values: JSON-able values, at least two, all different.
    """

    values: tuple[Any, ...]

    def plain(self) -> Any:
        """As the YAML has it."""
        return list(self.values)

    def examples(self) -> tuple[Any, ...]:
        """Values that the configuration must accept."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included; whole where both ends are whole.

    Attributes:
        low: Lower end.
        high: Upper end.
        log: Draw evenly on the logarithm.
        step: Distance between values; None has none (1 where whole).
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def plain(self) -> Any:
        """As the YAML has it."""
        content: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.log:
            content["log"] = True
        if self.step is not None:
            content["step"] = self.step
        return content

    def examples(self) -> tuple[Any, ...]:
        """Values that the configuration must accept."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Space:
    """What varies, and what is set in every trial.

    Attributes:
        axes: Dotted key of the configuration to its values, in the order of the file.
        fixed: Dotted key to the one value that all trials have in its place.
    """

    axes: Mapping[str, Choices | Range]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As the YAML has it."""
        return {
            "fixed": dict(self.fixed),
            "space": {key: axis.plain() for key, axis in self.axes.items()},
        }

    def to_yaml(self) -> str:
        """Text that `read_space` reads back to an equal space."""
        return str(yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True))

    def without(self, keys: Iterable[str]) -> Space:
        """The same without some keys, which somebody has decided."""
        gone = set(keys)
        return Space(
            {key: axis for key, axis in self.axes.items() if key not in gone},
            {key: value for key, value in self.fixed.items() if key not in gone},
        )


def leaf_keys(kind: type[Section], prefix: str = "") -> list[str]:
    """Every dotted key of a configuration class that holds a value and no section."""
    keys = []
    for name, one in kind.model_fields.items():
        inner = one.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            keys += leaf_keys(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def read_space(file: Path, kind: type[Section]) -> Space:
    """Read a space from YAML and check every key and value against the configuration.

    Args:
        file: YAML file with `space` and perhaps `fixed`.
        kind: The recipe's configuration class.

    Raises:
        SpaceError: A key is unknown (the nearest known one is named), may not vary, or a value
            does not fit.
        ConfigError: The file cannot be read.
    """
    content = read_yaml(file, "--space")
    unknown = sorted(set(content) - {"space", "fixed"})
    if unknown:
        hint = _nearest(unknown[0], ("space", "fixed"))
        raise SpaceError(f"--space {file.name!r}: unknown section {unknown[0]!r}{hint}")
    for name in content:
        if not isinstance(content[name], dict):
            raise SpaceError(f"--space {file.name!r}: {name} must hold dotted keys and values")
    axes = {key: _axis(key, value) for key, value in content.get("space", {}).items()}
    return checked_space(Space(axes, content.get("fixed", {})), kind)


def checked_space(space: Space, kind: type[Section]) -> Space:
    """The space itself, every key and value of it fitting the configuration.

    Raises:
        SpaceError: See `read_space`.
    """
    known = leaf_keys(kind)
    if not space.axes:
        raise SpaceError("the search space is empty: nothing varies; give --space FILE")
    for key in (*space.axes, *space.fixed):
        if key not in known:
            raise SpaceError(f"unknown key {key!r} in the search space{_nearest(key, known)}")
        kept = key in KEPT or key.split(".")[0] in KEPT
        if kept and key not in FREE:
            raise SpaceError(
                f"{key} may not vary: trials must be compared on the same cases and by the same "
                "rules; give it once with --set"
            )
    both = sorted(set(space.axes) & set(space.fixed))
    if both:
        raise SpaceError(f"{both[0]} is both fixed and in the space; leave one out")
    for key, axis in space.axes.items():
        for value in axis.examples():
            _fits(kind, key, value)
    for key, value in space.fixed.items():
        _fits(kind, key, value)
    return space


def change(key: str, value: Any) -> str:
    """``key=value`` as ``load_config`` takes it."""
    return f"{key}={json.dumps(value)}"


def _axis(key: str, content: Any) -> Choices | Range:
    if isinstance(content, list):
        texts = [json.dumps(value, sort_keys=True) for value in content]
        if len(set(texts)) != len(texts) or len(texts) < 2:
            raise SpaceError(
                f"{key}: choices must be two or more different values, not {content!r}; a single "
                "one belongs under fixed"
            )
        return Choices(tuple(content))
    if not isinstance(content, dict):
        raise SpaceError(
            f"{key}: {content!r} is neither a list of choices nor {{low, high}}; a single value "
            "belongs under fixed"
        )
    unknown = sorted(set(content) - {"low", "high", "log", "step"})
    if unknown:
        hint = _nearest(unknown[0], ("low", "high", "log", "step"))
        raise SpaceError(f"{key}: unknown word {unknown[0]!r}{hint}")
    return _range(key, content)


def _range(key: str, content: Mapping[str, Any]) -> Range:
    low, high = (_end(key, name, content.get(name)) for name in ("low", "high"))
    given = content.get("step")
    step = None if given is None else _end(key, "step", given)
    log = content.get("log", False)
    if not isinstance(log, bool):
        raise SpaceError(f"{key}: log must be true or false, not {log!r}")
    if not low < high:
        raise SpaceError(f"{key}: low={low} must be below high={high}")
    if log and (low <= 0 or step is not None):
        raise SpaceError(f"{key}: log wants low above 0 and no step")
    if step is not None and step <= 0:
        raise SpaceError(f"{key}: step={step} must be above 0")
    return Range(low, high, log, step)


def _end(key: str, name: str, value: Any) -> float:
    """A number of a range; YAML 1.1 reads 1e-5 as a word."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise SpaceError(f"{key}: {name} must be a number, not {value!r}")
    return number


def _fits(kind: type[Section], key: str, value: Any) -> None:
    try:
        load_config(kind, changes=[change(key, value)])
    except ConfigError as error:
        raise SpaceError(f"search space: {error}") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    every = list(known)
    near = difflib.get_close_matches(word, every, n=1, cutoff=0.5)
    if not near:
        by_name = {name.rsplit(".", 1)[-1]: name for name in every}
        last = difflib.get_close_matches(word.rsplit(".", 1)[-1], by_name, n=1)
        near = [by_name[name] for name in last]
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(every)}"

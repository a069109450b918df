"""A whole run as data: read from YAML, changed by ``key=value``, refused when misspelt."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from recipes.errors import ConfigError
from recipes.registry import of_another


class Section(BaseModel):
    """Base of every configuration section: frozen, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    def computed(self) -> dict[str, Any]:
        """The settings that results depend on: all but those of the report."""
        return self.model_dump(mode="json", exclude={"report"})

    def shown(self) -> dict[str, Any]:
        """The settings of the report alone."""
        return self.model_dump(mode="json", include={"report"})


class Columns(Section):
    """Column names of a table, and names of its masks' classes; None leaves the defaults."""

    path: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    patient: str | None = None
    split: str | None = None
    id: str | None = None
    site: str | None = None
    date: str | None = None
    mask: str | None = None
    classes: str | None = None
    encoding: str | None = None


def _word(value: object) -> object:
    """YAML reads a bare yes and no as true and false."""
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


class ReportConfig(Section):
    """What the report shows; changes nothing that is computed.

    Attributes:
        pictures: Pictures of cases: ``auto`` where the DICOM header says that nothing is burned
            in, ``yes`` always (the user has looked at them), ``no`` never.
    """

    pictures: Annotated[Literal["auto", "yes", "no"], BeforeValidator(_word)] = "auto"


C = TypeVar("C", bound=Section)


def load_config(
    kind: type[C],
    *,
    base: Mapping[str, Any] | None = None,
    file: Path | None = None,
    changes: Iterable[str] = (),
) -> C:
    """Build a configuration from defaults, then a YAML file, then ``key=value`` changes.

    Args:
        kind: The recipe's configuration class.
        base: Plain values in place of the defaults, as ``model_dump`` gives them; with it, no file.
        file: YAML file with any subset of the keys, or None.
        changes: ``"train.batch_size=16"`` texts; the value is read as YAML.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: The file cannot be read, a key is unknown (the nearest known one is named)
            or a value does not fit.
    """
    content: dict[str, Any] = copy.deepcopy(dict(base or {}))
    if file is not None:
        content = read_yaml(file, "--config")
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set wants key=value, not {change!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from error
        _put(content, key.strip(), value)
    return build_config(kind, content)


def shortcuts(options: Mapping[str, Any]) -> list[str]:
    """Command-line options that were given, as ``key=value`` changes.

    Args:
        options: Dotted key to value; None is an option that was not given.
    """
    return [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]


def build_config(kind: type[C], content: Mapping[str, Any]) -> C:
    """Validate a mapping; see ``load_config``."""
    task = kind.model_fields.get("task")
    foreign = None if task is None else of_another(content, task.default)
    if foreign is not None:
        raise ConfigError(f"the configuration {foreign}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(kind, item) for item in error.errors())) from None


def to_yaml(config: Section) -> str:
    """The configuration as YAML that ``load_config`` reads back to an equal one."""
    content = config.model_dump(mode="json")
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def digest(content: Any) -> str:
    """Sha256 of JSON-able content, independent of key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def known_keys(kind: type[Section], prefix: str = "") -> list[str]:
    """Every dotted key of a configuration class, sections included."""
    keys = []
    for name, field in kind.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def read_yaml(file: Path, option: str) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Args:
        file: The file; an empty one has no keys.
        option: The option that named it, for messages.

    Raises:
        ConfigError: It cannot be read or holds something else.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {option} {file.name!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {file.name!r} is not UTF-8 text: {error.reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{option} {file.name!r} is not YAML{place}: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{option} {file.name!r} must hold keys and values, not a {type(content).__name__}"
        )
    return content


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = content
    for name in parents:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {key}: {name!r} is a section, and an earlier --set or the --config file "
                f"gives it the value {inner!r}"
            )
        place = inner
    place[last] = value


def _explain(kind: type[Section], item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":  # a rule of ours, whose message names the key
        return f"{key}: {item['ctx']['error']}"
    if item["type"] != "extra_forbidden":
        return f"{key}={item['input']!r}: {item['msg']}"
    known = known_keys(kind)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not near:
        by_name = {name.rsplit(".", 1)[-1]: name for name in known}
        near = [by_name[n] for n in difflib.get_close_matches(key.rsplit(".", 1)[-1], by_name, n=1)]
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"

"""Every concept of the paper points at code that exists and at a test that exists."""

from __future__ import annotations

import ast
import importlib
import tomllib
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONCEPTS: dict[str, Any] = tomllib.loads((ROOT / "seeds/concepts.toml").read_text("utf-8"))
ROWS: list[dict[str, Any]] = CONCEPTS["concept"]
KEYS = {"name", "in_short", "symbols", "tests"}


def defined_tests(path: Path) -> set[str]:
    """Names of the test functions of a file, methods as ``Class::method``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return {name for name in names if name.split("::")[-1].startswith("test_")}


def symbol(dotted: str) -> Any:
    """The object behind ``module:attribute.path``; raises where there is none."""
    module, _, attributes = dotted.partition(":")
    return reduce(getattr, attributes.split("."), importlib.import_module(module))


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_concept_resolves(row: dict[str, Any]) -> None:
    assert set(row) == KEYS
    assert row["symbols"]
    assert row["tests"]
    for dotted in row["symbols"]:
        assert dotted.split(".")[0].split(":")[0] in {"zoo", "recipes", "data_adapters"}
        assert symbol(dotted) is not None
    for node in row["tests"]:
        file, _, name = node.partition("::")
        assert (ROOT / file).is_file(), f"{file} does not exist"
        assert name in defined_tests(ROOT / file), f"{file} has no test {name}"


def test_concepts_are_named_once() -> None:
    names = [row["name"] for row in ROWS]
    assert len(set(names)) == len(names)


def test_a_row_that_points_nowhere_is_noticed() -> None:
    with pytest.raises(ModuleNotFoundError):
        symbol("zoo.no_such_module:thing")
    with pytest.raises(AttributeError):
        symbol("zoo:no_such_thing")
    assert "test_no_such_test" not in defined_tests(Path(__file__))
    assert "test_concept_resolves" in defined_tests(Path(__file__))


def test_the_paper_is_cited() -> None:
    assert CONCEPTS["paper"]["doi"] == "10.1148/rg.2017170077"
    assert CONCEPTS["paper"]["doi"] in (ROOT / "seeds/README.md").read_text(encoding="utf-8")

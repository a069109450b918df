"""Every concept of the paper points at code that exists and at a test that exists.

``python tests/test_seeds.py`` writes the table of ``seeds/README.md`` again.
"""

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
README = ROOT / "seeds/README.md"
HEAD = "| idea | code | test | picture |\n| --- | --- | --- | --- |\n"


def table() -> str:
    """A line for each concept, with links from ``seeds/``."""
    lines = []
    for row in ROWS:
        modules = dict.fromkeys(symbol_file(dotted) for dotted in row["symbols"])
        tests = dict.fromkeys(node.partition("::")[0] for node in row["tests"])
        pictures = [row["picture"]] if "picture" in row else []
        cells = (", ".join(map(link, paths)) for paths in (modules, tests, pictures))
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return HEAD + "\n".join(lines) + "\n"


def link(path: str) -> str:
    """A link to a file of the repository by its name."""
    file = Path(path)
    name = file.parent.name if file.name == "__init__.py" else file.stem
    return f"[{name}](../{path})"


def symbol_file(dotted: str) -> str:
    """Where ``module:attribute`` is written, relative to the repository."""
    module = dotted.partition(":")[0].replace(".", "/")
    return next(p for p in (f"{module}.py", f"{module}/__init__.py") if (ROOT / p).is_file())


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
    assert set(row) - {"picture"} == KEYS
    assert row["symbols"]
    assert row["tests"]
    for dotted in row["symbols"]:
        assert dotted.split(".")[0].split(":")[0] in {"zoo", "recipes", "data_adapters"}
        assert symbol(dotted) is not None
    for node in row["tests"]:
        file, _, name = node.partition("::")
        assert (ROOT / file).is_file(), f"{file} does not exist"
        assert name in defined_tests(ROOT / file), f"{file} has no test {name}"


def test_the_table_links_every_concept_and_every_picture() -> None:
    assert README.read_text(encoding="utf-8").endswith("\n" + table())
    drawn = {row["picture"] for row in ROWS if "picture" in row}
    scripts = {f"examples/primer/{path.name}" for path in (ROOT / "examples/primer").glob("*.py")}
    assert drawn == scripts - {"examples/primer/drawing.py"}


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


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8").partition(HEAD)[0]
    README.write_text(before + table(), encoding="utf-8")

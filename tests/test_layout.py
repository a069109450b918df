"""What the distribution holds, and habits of the tree that a reviewer should not have to check."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import setuptools
import typer

from recipes.cli import app
from recipes.intended_use import INTENDED_USE

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("zoo", "recipes", "data_adapters")
CODE = (*PACKAGES, "tests", "examples", "benchmarks")
FILES = (
    "setup.cfg",
    "pyproject.toml",
    "Makefile",
    "LICENSE",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    ".gitignore",
    ".ci/run",
    "seeds/README.md",
    "seeds/concepts.toml",
    "benchmarks/README.md",
    "benchmarks/requirements.txt",
)
EXTRAS = {
    "gpu",
    "jax",
    "hub",
    "ray",
    "deploy",
    "lite",
    "parquet",
    "search",
    "tfds",
    "umap",
    "jpeg12",
    "test",
}
LONGEST = 400
# Spelt in pieces, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.$}>-])/(?:wor[k]|roo[t]|hom[e]|Use[r]s|tm[p]/[a-z])/", re.ASCII)


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    """``setup.cfg``, read."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    """The non-empty lines of a multi-line value."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sources() -> list[Path]:
    """Every Python file of the project."""
    return sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Top-level names of everything a file imports, at its head or further down."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_distribution_is_three_packages_and_their_subpackages(
    config: configparser.ConfigParser,
) -> None:
    include = lines(config["options.packages.find"]["include"])
    found = set(setuptools.find_packages(str(ROOT), include=include))
    assert {name.split(".")[0] for name in found} == set(PACKAGES)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            dotted = ".".join(path.parent.relative_to(ROOT).parts)
            assert dotted in found, f"{dotted} has no __init__.py: it would not be installed"


def test_data_files_inside_packages_are_installed(config: configparser.ConfigParser) -> None:
    declared = {
        path
        for package, patterns in config["options.package_data"].items()
        for pattern in lines(patterns)
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc"}:
                assert path in declared, f"{path.relative_to(ROOT)} is not in package_data"


def test_extras_and_program(config: configparser.ConfigParser) -> None:
    assert set(config["options.extras_require"]) >= EXTRAS
    assert "tensorflow[and-cuda]" in config["options.extras_require"]["gpu"]
    assert config["metadata"]["name"] == "radzoo"
    assert config["options"]["python_requires"] == ">=3.11"
    assert lines(config["options.entry_points"]["console_scripts"]) == ["radzoo = recipes.cli:main"]


def test_every_dependency_has_a_lower_bound(config: configparser.ConfigParser) -> None:
    wanted = lines(config["options"]["install_requires"])
    for extra in config["options.extras_require"].values():
        wanted += [line for line in lines(extra) if not line.startswith("radzoo[")]
    assert len(wanted) > len(EXTRAS)
    assert [line for line in wanted if not re.search(r"[>=]=\d", line)] == []


def test_every_import_is_a_declared_dependency(config: configparser.ConfigParser) -> None:
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()

    values = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    declared = {normal(line) for value in values for line in lines(value)}
    owners = packages_distributions()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for module in imported_modules(path) - set(sys.stdlib_module_names) - set(PACKAGES):
                owned_by = {normal(name) for name in owners.get(module, [module])}
                assert owned_by & declared, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("name", FILES)
def test_file_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


def test_the_ci_script_runs_the_readme_command() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o100
    commands = [line for line in lines(script.read_text("utf-8")) if line.startswith("make ")]
    assert commands == ["make lint", "make test-jax", "make test"]
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)


def test_readme_states_the_intended_use() -> None:
    assert INTENDED_USE in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_make_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets, f"{name} names {named - targets}"


def documented_commands() -> list[list[str]]:
    """The words of every ``radzoo`` command in the documents' shell blocks."""
    found = []
    for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            split = [shlex.split(line, comments=True) for line in lines(block)]
            found += [words[1:] for words in split if words and words[0] == "radzoo"]
    return found


def test_radzoo_commands_in_the_documents_exist() -> None:
    assert len(documented_commands()) >= 6
    for words in documented_commands():
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            assert words[0] in command.commands, f"no command {words[0]!r}"
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert long == {}


def test_no_path_of_one_machine() -> None:
    own = re.compile("|".join(re.escape(f"{folder}/") for folder in (ROOT, Path.home())))
    found = []
    for path in [*sources(), *(ROOT / name for name in FILES)]:
        # Tests may invent paths of invented users, to see that they stay out of reports.
        pattern = own if ROOT / "tests" in path.parents else MACHINE_PATH
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


def test_the_command_line_starts_without_anything_heavy() -> None:
    heavy = ("tensorflow", "keras", "numpy", "pandas", "pydantic", "cv2", "albumentations")
    code = (
        "import sys, zoo, data_adapters, recipes, recipes.cli\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"

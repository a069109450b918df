"""The search space: typed, editable, every mistake named before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recipes.config import build_config
from recipes.registry import RECIPES, Recipe
from recipes.search.defaults import default_space
from recipes.search.errors import SpaceError
from recipes.search.space import Choices, Range, checked_space, read_space

CLASSIFY = RECIPES[0].config_class()
BOXES = RECIPES[2].config_class()(way="boxes")


def written(path: Path, text: str) -> Path:
    file = path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.command)
def test_each_recipes_own_space_fits_its_configuration_and_reads_back(
    recipe: Recipe, tmp_path: Path
) -> None:
    kind = recipe.config_class()
    space = checked_space(default_space(kind()), kind)
    assert read_space(written(tmp_path, space.to_yaml()), kind) == space
    for key in ("augment.strength",):
        assert len(space.axes[key].examples()) == 4


def test_every_value_of_a_default_space_is_one_the_configuration_takes() -> None:
    """Of a detection of boxes too, which refuses the networks of the other way."""
    for base in [recipe.config_class()() for recipe in RECIPES] + [BOXES]:
        for key, axis in default_space(base).axes.items():
            for value in axis.examples():
                build_config(type(base), put(base.model_dump(mode="json"), key, value))


def put(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Set a dotted key."""
    *sections, last = key.split(".")
    place = content
    for name in sections:
        place = place[name]
    place[last] = value
    return content


def test_numbers_words_and_lists(tmp_path: Path) -> None:
    text = """
fixed: {model.members: 1}
space:
  train.finetune.learning_rate: {low: 1e-5, high: 1.0e-3, log: true}
  model.hidden: {low: 0, high: 512, step: 128}
  model.levels: [[P4], [P4, P5]]
"""
    space = read_space(written(tmp_path, text), CLASSIFY)
    assert space.axes == {
        "train.finetune.learning_rate": Range(1e-5, 1e-3, log=True),
        "model.hidden": Range(0, 512, step=128),
        "model.levels": Choices((["P4"], ["P4", "P5"])),
    }
    assert space.axes["model.hidden"].whole  # type: ignore[union-attr]
    assert not space.axes["train.finetune.learning_rate"].whole  # type: ignore[union-attr]
    assert list(space.without(["model.hidden"]).axes) == [
        "train.finetune.learning_rate",
        "model.levels",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train.finetune.learning_rat: [1, 2]", "did you mean 'train.finetune.learning_rate'"),
        ("finetune.decay: [0.5, 0.6]", "did you mean 'train.finetune.decay'"),
        ("train.finetune: [1, 2]", "unknown key 'train.finetune'"),
        ("seed: [1, 2]", "seed may not vary"),
        ("data.fractions: [[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]]", "data.fractions may not vary"),
        ("model.dropout: {lo: 0, high: 0.5}", "unknown word 'lo'; did you mean 'low'"),
        ("model.dropout: {low: 0.5, high: 0.1}", "low=0.5 must be below high=0.1"),
        (
            "model.dropout: {low: 0.1, high: 1.5}",
            r"model\.dropout.*=1\.5: Input should be less than 1",
        ),
        ("model.dropout: {low: 0, high: 0.5, log: true}", "low above 0"),
        ("model.dropout: {low: nothing, high: 0.5}", "low must be a number, not 'nothing'"),
        ("model.dropout: 0.5", "neither a list of choices nor"),
        ("augment.strength: [strong]", "two or more different values"),
        ("augment.strength: [strong, strong]", "two or more different values"),
        ("augment.strength: [strong, stronger]", "augment.strength='stronger'"),
    ],
)
def test_a_mistake_is_named(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=words):
        read_space(written(tmp_path, f"space:\n  {line}\n"), CLASSIFY)


def test_sections_and_contradictions(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="did you mean 'space'"):
        read_space(written(tmp_path, "spaces: {}\n"), CLASSIFY)
    with pytest.raises(SpaceError, match="nothing varies"):
        read_space(written(tmp_path, "fixed: {model.members: 1}\n"), CLASSIFY)
    text = "fixed: {model.members: 1}\nspace: {model.members: [1, 2]}\n"
    with pytest.raises(SpaceError, match=r"model\.members is both fixed and in the space"):
        read_space(written(tmp_path, text), CLASSIFY)

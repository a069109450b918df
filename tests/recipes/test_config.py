"""Configurations: YAML in and out, changes by key, refusals that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.classification.config import ClassificationConfig
from recipes.config import known_keys, load_config, shortcuts, to_yaml
from recipes.errors import ConfigError


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = load_config(
        ClassificationConfig,
        changes=["train.finetune.epochs=3", "data.range=[-160, 240]", "model.weights=none"],
    )
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert load_config(ClassificationConfig, file=file) == config
    assert config.train.finetune.epochs == 3
    assert config.data.range == (-160.0, 240.0)


def test_changes_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("seed: 4\ntrain:\n  batch_size: 8\n")
    config = load_config(ClassificationConfig, file=file, changes=["train.batch_size=16"])
    assert (config.seed, config.train.batch_size) == (4, 16)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("train.finetune.epoch=3", "train.finetune.epochs"),
        ("train.learning_rat=1", "learning_rate"),
        ("bacbone=x", "model.backbone"),
    ],
)
def test_unknown_key_names_the_nearest(change: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config(ClassificationConfig, changes=[change])


@pytest.mark.parametrize(
    "change",
    [
        "train.batch_size=0",
        "train.batch_size=many",
        "data.range=[5, 1]",
        "data.fractions=[0.5, 0.5, 0.5]",
        "data.fractions=[1.0, 0.0, 0.0]",
        "train.mixup=-1",
        "train.weight_decay=.inf",
        "train.mixup=.nan",
        "data.range=[0, .inf]",
        "seed=-1",
        "seed.x=1",
        "=1",
        "seed",
    ],
)
def test_bad_values_are_refused(change: str) -> None:
    with pytest.raises(ConfigError):
        load_config(ClassificationConfig, changes=[change])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "not a list"),
        ("seed: 1\nb: [", "is not YAML in line 2"),
        ("seed: 1\ntrain: 3", "'train' is a section, and .* gives it the value 3"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(ClassificationConfig, file=file, changes=["train.batch_size=4"])
    assert "\n" not in str(caught.value)


def test_a_rule_over_several_keys_is_told_without_the_whole_section() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(ClassificationConfig, changes=["data.fractions=[0.5, 0.5, 0.5]"])
    assert str(caught.value) == (
        "data: fractions must be three shares (train, val, test) that sum to 1"
    )


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "\tx"])
def test_bad_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_config(ClassificationConfig, file=file)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_config(ClassificationConfig, file=tmp_path / "missing.yaml")


def test_known_keys_reach_into_sections() -> None:
    assert {"seed", "train.finetune.decay", "data.columns.patient"} <= set(
        known_keys(ClassificationConfig)
    )


def test_shortcuts_keep_text_as_text() -> None:
    changes = shortcuts({"data.positive": "0", "seed": None})
    assert load_config(ClassificationConfig, changes=changes).data.positive == "0"

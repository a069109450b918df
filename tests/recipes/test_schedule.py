"""The ``auto`` values: what the size of a data set changes, and what a given value overrides."""

from __future__ import annotations

from recipes.classification.config import ClassificationConfig
from recipes.classification.schedule import SMALL, resolve
from recipes.config import load_config


def test_small_sets_get_more_members_more_epochs_and_a_lower_rate() -> None:
    small = resolve(ClassificationConfig(), train_cases=SMALL - 1)
    large = resolve(ClassificationConfig(), train_cases=SMALL)
    assert small.members > large.members
    assert small.finetune_epochs > large.finetune_epochs
    assert small.finetune_rate < large.finetune_rate


def test_given_values_win() -> None:
    config = load_config(
        ClassificationConfig,
        changes=["train.finetune.epochs=3", "train.finetune.learning_rate=0.01", "model.members=5"],
    )
    settings = resolve(config, train_cases=10)
    assert (settings.finetune_epochs, settings.finetune_rate, settings.members) == (3, 0.01, 5)


def test_from_scratch_nothing_is_frozen_or_held_back() -> None:
    config = load_config(ClassificationConfig, changes=["model.weights=none"])
    settings = resolve(config, train_cases=100)
    assert settings.weights is None
    assert settings.head_epochs == 0
    assert (settings.stages, settings.decay, settings.batch_norm) == ("all", 1.0, "train")


def test_a_path_of_weights_is_not_shown() -> None:
    config = load_config(ClassificationConfig, changes=["model.weights=/data/smith/w.h5"])
    settings = resolve(config, train_cases=100)
    assert settings.weights == "/data/smith/w.h5"
    assert "smith" not in str(settings.to_dict())

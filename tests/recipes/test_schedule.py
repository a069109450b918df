"""The ``auto`` values: what the size of a data set changes, and what a given value overrides."""

from __future__ import annotations

from recipes.classification.config import ClassificationConfig
from recipes.classification.schedule import HEAD_BATCH, HEAD_STEPS, SMALL, resolve
from recipes.config import load_config
from zoo.finetune import FineTunePolicy


def test_small_sets_get_more_epochs_and_a_lower_rate() -> None:
    small = resolve(ClassificationConfig(), train_cases=SMALL - 1)
    large = resolve(ClassificationConfig(), train_cases=SMALL)
    assert small.finetune_epochs > large.finetune_epochs
    assert small.policy.learning_rate < large.policy.learning_rate


def test_a_pretrained_head_sits_below_the_top_and_small_sets_get_as_many_steps() -> None:
    small = resolve(ClassificationConfig(), train_cases=SMALL - 1)
    assert (small.levels, small.pooling, small.hidden > 0) == (("P4",), "stats", True)
    steps = small.head_epochs * -(-(SMALL - 1) // HEAD_BATCH)
    assert steps >= HEAD_STEPS


def test_a_wish_for_the_head_wins() -> None:
    changes = ["model.levels=[P3, P5]", "model.hidden=0", "model.dropout=0.3"]
    settings = resolve(load_config(ClassificationConfig, changes=changes), train_cases=100)
    assert (settings.levels, settings.hidden, settings.dropout) == (("P3", "P5"), 0, 0.3)


def test_given_values_win() -> None:
    config = load_config(
        ClassificationConfig,
        changes=["train.finetune.epochs=3", "train.finetune.learning_rate=0.01", "model.members=5"],
    )
    settings = resolve(config, train_cases=10)
    assert (settings.finetune_epochs, settings.members) == (3, 5)
    assert settings.policy.learning_rate == 0.01


def test_from_scratch_nothing_is_frozen_or_held_back() -> None:
    config = load_config(ClassificationConfig, changes=["model.weights=none"])
    settings = resolve(config, train_cases=100)
    assert settings.weights is None
    assert settings.head_epochs == 0
    assert (settings.levels, settings.pooling, settings.hidden) == (("P5",), "avg", 0)
    assert settings.policy == FineTunePolicy(train="all", batch_norm="train", learning_rate=1e-3)


def test_a_path_of_weights_is_not_shown() -> None:
    config = load_config(ClassificationConfig, changes=["model.weights=/data/smith/w.h5"])
    settings = resolve(config, train_cases=100)
    assert settings.weights == "/data/smith/w.h5"
    assert "smith" not in str(settings.to_dict())

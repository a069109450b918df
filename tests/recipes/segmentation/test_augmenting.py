"""Flips follow anatomy: sides that have a partner change places, others are not mirrored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recipes.config import load_config
from recipes.errors import ConfigError
from recipes.segmentation.augmenting import choose_policy
from recipes.segmentation.config import SegmentationConfig


def policy_of(
    names: tuple[str, ...], *changes: str, volumes: bool = True, sided: float | None = None
) -> Any:
    adapter: Any = SimpleNamespace(class_names=("background", *names), bans=())
    config = load_config(SegmentationConfig, changes=changes)
    return choose_policy(adapter, config, volumes=volumes, sided=sided)


def test_volumes_are_mirrored_along_left_and_right_alone() -> None:
    assert set(policy_of(("liver",)).bans) == {"flip_ap", "flip_si"}
    assert policy_of(("cell",), volumes=False).bans == ()
    assert policy_of(("liver",), "augment.flips=all").bans == ()
    assert policy_of(("liver",), "augment.flips=none").flip == 0


def test_cases_of_one_side_are_not_mirrored_unless_told_or_sides_change_places() -> None:
    assert policy_of(("hippocampus",), sided=0.95).flip == 0
    assert policy_of(("tumour",), sided=0.6).flip > 0
    assert policy_of(("hippocampus",), "augment.flips=sides", sided=1.0).flip > 0
    assert policy_of(("lung_left", "lung_right"), sided=1.0).flip > 0
    assert policy_of(("cell",), volumes=False, sided=None).flip > 0


def test_sides_change_places_where_they_have_a_partner() -> None:
    assert policy_of(("kidney_left", "kidney_right")).swaps == ((1, 2),)
    assert "flip_lr" in policy_of(("kidney_left",)).bans
    chosen = policy_of(("one", "other"), "data.pairs=[[one, other]]")
    assert chosen.swaps == ((1, 2),)
    with pytest.raises(ConfigError, match="'three' is no class of the data: one, other"):
        policy_of(("one", "other"), "data.pairs=[[one, three]]")


def test_no_augmentation_is_none() -> None:
    assert policy_of(("liver",), "augment.strength=none") is None

"""Policies of patches as data."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from data_adapters.errors import DataError
from data_adapters.patches.policy import (
    BANS,
    PRESETS,
    PatchPolicy,
    check_swaps,
    patch_policy,
    side_pairs,
)


@pytest.mark.parametrize("strength", PRESETS)
def test_round_trip_through_json(strength: str) -> None:
    policy = patch_policy(
        strength, bans=["flip_lr", "zoom"], swaps=[[1, 2]], overrides={"noise": 0.11}
    )
    assert PatchPolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert policy.noise == 0.11
    assert policy.p_scale == 0
    assert policy.bans == ("flip_lr", "zoom")
    assert patch_policy(strength).active == (strength != "none")


def test_every_ban_can_be_put_on_every_preset() -> None:
    for strength in PRESETS:
        for ban in BANS:
            policy = patch_policy(strength, bans=[ban])
            assert not any(getattr(policy, key) for key in BANS[ban])
    calm = patch_policy("strong", bans=["intensity"])
    assert calm.p_noise == calm.p_blur == calm.p_gamma == 0
    assert patch_policy("none").p_rotate == 0 < calm.p_rotate


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rotate_deg", -1, "must lie in 0..180"),
        ("p_noise", 1.5, "must lie in 0..1"),
        ("p_noise", float("nan"), "must lie in 0..1"),
        ("elastic", 0.5, "must lie in 0..0.4"),
        ("low_resolution", 0.5, "must lie in 1..4"),
        ("scale", "0.2", "must lie in"),
        ("scale", True, "must lie in"),
        ("flip", None, "must lie in"),
        ("quarter_turns", 1, "true or false"),
        ("mask_by", "cubic", "unknown augmentation mask_by 'cubic'"),
        ("image_order", 2, "must be 1 or 3"),
        ("swaps", [[1, 1]], "pairs of classes"),
        ("swaps", [[0, 1]], "pairs of classes"),
        ("swaps", [[1, 2], [2, 3]], "pairs of classes"),
        ("swaps", [1, 2], "pairs of classes"),
        ("swaps", 3, "must be a list"),
        ("bans", "flip_lr", "must be a list"),
        ("bans", ["flip_left"], "unknown ban 'flip_left'"),
        ("bans", [["flip_lr"]], "unknown ban"),
        ("noize", 0.1, "did you mean 'noise'"),
    ],
)
def test_bad_values_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PatchPolicy.from_json({key: value})


def test_bans_win() -> None:
    with pytest.raises(DataError, match="p_elastic=1 is banned by 'shape'"):
        patch_policy("none", bans=["shape"], overrides={"p_elastic": 1})
    with pytest.raises(DataError, match="beyond 45 degrees"):
        patch_policy("medium", bans=["flip_lr"], overrides={"rotate_deg": 90})
    with pytest.raises(DataError, match="beyond 45 degrees"):
        patch_policy("medium", swaps=[(1, 2)], overrides={"rotate_deg": 90})
    with pytest.raises(DataError, match="left classes"):
        patch_policy("medium", swaps=[(1, 2)], overrides={"quarter_turns": True})
    with pytest.raises(DataError, match="did you mean 'strong'"):
        patch_policy("strongg")
    assert patch_policy("medium", overrides={"rotate_deg": 90}).rotate_deg == 90


def test_sides_are_found_in_class_names() -> None:
    names = ["background", "left kidney", "Right-Kidney", "lung_l", "lung_r", "heart", "left eye"]
    assert side_pairs(names) == ((1, 2), (3, 4))
    assert side_pairs(["background", "left", "right"]) == ((1, 2),)
    assert side_pairs(["background", "leftover", "liver"]) == ()
    policy = patch_policy("light", swaps=side_pairs(names))
    check_swaps(policy, names)
    with pytest.raises(DataError, match="name no class"):
        check_swaps(policy, names[:4])


def test_policies_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        patch_policy("light").noise = 0.3  # type: ignore[misc]

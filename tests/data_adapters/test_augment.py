"""Augmentation: repeatable, label-safe, and in the units it was given."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_adapters.augment import Augmenter, apply_view
from data_adapters.augment_policy import (
    PRESETS,
    STRENGTHS,
    AugmentPolicy,
    policy,
    suggest_bans,
    tta_views,
)
from data_adapters.errors import DataError

HU = (-1000.0, 1000.0)
RNG = np.random.default_rng(5)


def marker(side: int = 48) -> NDArray[np.uint8]:
    """A picture that shows every flip and turn: one bright blob, in the upper left quarter."""
    image = np.zeros((side, side, 1), np.uint8)
    image[side // 6 : side // 3, side // 4 : side // 4 + side // 8] = 255
    return image


def quarter(image: NDArray[Any]) -> tuple[str, str]:
    """Where the centre of mass lies."""
    mass = image[..., 0].astype(float) - image.min()
    rows, columns = np.indices(mass.shape)
    middle = (mass.shape[0] - 1) / 2
    up = (mass * (rows - middle)).sum() < 0
    left = (mass * (columns - middle)).sum() < 0
    return ("up" if up else "down", "left" if left else "right")


def samples(chosen: AugmentPolicy, count: int = 40) -> list[NDArray[Any]]:
    augmenter = Augmenter(chosen, (0, 255))
    return [augmenter(marker(), (0, 0, i)) for i in range(count)]


@pytest.mark.parametrize("strength", ["light", "medium", "strong"])
@pytest.mark.parametrize("modality", [*PRESETS, None])
def test_presets_keep_their_bans(modality: str | None, strength: str) -> None:
    chosen = policy(modality, strength=strength)
    seen = {quarter(image) for image in samples(chosen)}
    heights, sides = {height for height, _ in seen}, {side for _, side in seen}
    assert ("right" in sides) == (chosen.flip_lr or chosen.quarter_turns)
    assert ("down" in heights) == (chosen.flip_ud or chosen.quarter_turns)
    if "flip_lr" in chosen.bans:
        assert sides == {"left"}
    if "flip_ud" in chosen.bans:
        assert heights == {"up"}


def test_the_bans_that_the_modalities_must_have() -> None:
    for modality in ("XR-chest", "xr-chest", "DX", "CR"):
        assert set(policy(modality).bans) == {"flip_lr", "flip_ud"}
    assert policy("US").bans == ("flip_ud",)
    assert policy("US").flip_lr
    assert policy("histology").quarter_turns


@pytest.mark.parametrize("modality", PRESETS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_asked_bans_hold_for_every_preset(modality: str, strength: str) -> None:
    flips = policy(modality, strength=strength, bans=("flip_lr", "flip_ud"))
    assert (flips.flip_lr, flips.flip_ud, flips.quarter_turns) == (False, False, False)
    shape = policy(modality, strength=strength, bans=("shape",))
    assert (shape.zoom, shape.shear, shape.elastic) == (0.0, 0.0, 0.0)
    grey = policy(modality, strength=strength, bans=("intensity",))
    assert not grey.changes_values
    assert {view["view"] for view in tta_views(flips)} <= {"identity", "shift"}


def test_shape_ban_keeps_areas() -> None:
    chosen = policy(
        "CT", strength="strong", bans=("shape", "intensity"), overrides={"translate": 0.02}
    )
    disc = (np.hypot(*(np.indices((96, 96)) - 47.5)) < 24).astype(np.float32)[..., None]
    free = policy("CT", strength="strong", bans=("intensity",), overrides={"translate": 0.02})
    kept = [Augmenter(chosen, (0, 1))(disc, (1, 0, i)).sum() for i in range(20)]
    changed = [Augmenter(free, (0, 1))(disc, (1, 0, i)).sum() for i in range(20)]
    assert np.ptp(kept) / disc.sum() < 0.01
    assert np.ptp(changed) / disc.sum() > 0.1


def test_intensity_ban_keeps_hounsfield_values() -> None:
    flat = np.full((32, 32, 1), 40.0, np.float32)
    flat[8:24, 8:24] = 2500.0
    chosen = policy("CT", strength="strong", bans=("intensity",))
    for i in range(20):
        out = Augmenter(chosen, HU)(flat, (2, 0, i))
        assert out[16, 16, 0] == pytest.approx(2500.0, abs=0.5)


@pytest.mark.parametrize("strength", ["light", "medium", "strong"])
def test_values_stay_finite_and_in_range(strength: str) -> None:
    chosen = policy("CT", strength=strength, overrides={"border": "reflect"})
    image = np.linspace(*HU, 1600, dtype=np.float32).reshape(40, 40, 1)
    results = [Augmenter(chosen, HU)(image, (3, 0, i)) for i in range(30)]
    for out in results:
        assert out.dtype == np.float32
        assert out.shape == image.shape
        assert np.isfinite(out).all()
        assert out.min() >= HU[0] - 1e-3
        assert out.max() <= HU[1] + 1e-3
    assert np.mean([out.mean() for out in results]) == pytest.approx(image.mean(), abs=120)
    assert min(out.std() for out in results) > 0.5 * image.std()


@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_stays_uint8(channels: int) -> None:
    image = RNG.integers(0, 256, (40, 36, channels), np.uint8)
    before = image.copy()
    out = Augmenter(policy("US", strength="strong"), (0, 255))(image, (0, 0, 1))
    assert out.dtype == np.uint8
    assert out.shape == image.shape
    assert (out != image).any()
    np.testing.assert_array_equal(image, before)


def test_both_types_get_the_same_geometry() -> None:
    chosen = policy("CT", strength="medium", bans=("intensity",))
    image = marker(64)
    small = Augmenter(chosen, (0, 255))(image, (4, 1, 7)).astype(float)
    wide = Augmenter(chosen, (0, 255))(image.astype(np.float32), (4, 1, 7))
    np.testing.assert_allclose(small, wide, atol=10)
    assert np.abs(small - wide).mean() < 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_repeats_from_the_seed_and_differs_with_each_part(dtype: type) -> None:
    chosen = policy(None, strength="strong")
    image: NDArray[Any] = RNG.integers(0, 256, (32, 32, 1)).astype(dtype)
    first, second = Augmenter(chosen, (0, 255)), Augmenter(chosen, (0, 255))
    second(image, (9, 9, 9))
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (2**40, 0, 0)]
    results = [first(image, seed) for seed in seeds]
    for seed, result in zip(seeds, results, strict=True):
        np.testing.assert_array_equal(second(image, seed), result)
    for i in range(len(seeds)):
        for j in range(i):
            assert (results[i] != results[j]).any(), (seeds[i], seeds[j])


def test_threads_that_share_an_augmenter_do_not_disturb_each_other() -> None:
    augmenter = Augmenter(policy("US", strength="strong"), (0, 255))
    image = RNG.integers(0, 256, (32, 32, 1), np.uint8)
    alone = [augmenter(image, (0, 0, i)) for i in range(200)]
    gate = threading.Barrier(4)

    def work(part: int) -> list[NDArray[Any]]:
        gate.wait()
        return [augmenter(image, (0, 0, i)) for i in range(part, 200, 4)]

    with ThreadPoolExecutor(4) as pool:
        for part, results in enumerate(pool.map(work, range(4))):
            for place, result in enumerate(results):
                np.testing.assert_array_equal(result, alone[part + 4 * place])


def test_strength_none_changes_nothing() -> None:
    chosen = policy("histology", strength="none")
    image = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    assert not chosen.active
    np.testing.assert_array_equal(Augmenter(chosen, (0, 255))(image, (0, 0, 0)), image)
    assert tta_views(chosen) == [{"view": "identity"}]


def test_strength_scales_the_magnitudes() -> None:
    light, medium, strong = (policy("MR", strength=s) for s in ("light", "medium", "strong"))
    assert light.rotate_deg < medium.rotate_deg < strong.rotate_deg
    assert light.elastic == medium.elastic == 0 < strong.elastic
    spread = [np.std([image.astype(float).sum() for image in samples(p)]) for p in (light, strong)]
    assert spread[0] < spread[1]


def test_borders() -> None:
    image = np.full((40, 40, 1), 500.0, np.float32)
    keys = {"rotate_deg": 30.0, "flip_lr": False}
    for border, lowest in (("constant", HU[0]), ("replicate", 500.0), ("reflect", 500.0)):
        chosen = policy("CT", bans=("intensity",), overrides={**keys, "border": border})
        seen = min(Augmenter(chosen, HU)(image, (0, 0, i)).min() for i in range(5))
        assert seen == pytest.approx(lowest, abs=0.5)


def test_oblong_pictures_keep_their_shape_under_quarter_turns() -> None:
    augmenter = Augmenter(policy("histology"), (0, 255))
    image = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    assert {augmenter(image, (0, 0, i)).shape for i in range(8)} == {(20, 30, 3)}


def test_single_keys_override_and_bans_win() -> None:
    chosen = policy("US", overrides={"rotate_deg": 15, "flip_lr": False, "noise": 0})
    assert chosen.rotate_deg == 15.0
    assert not chosen.flip_lr
    assert chosen.noise == 0.0
    assert json.loads(json.dumps(chosen.to_json()))["rotate_deg"] == 15.0
    with pytest.raises(DataError, match="lift the ban 'flip_lr'"):
        policy("XR-chest", overrides={"flip_lr": True})
    lifted = policy("XR-chest", overrides={"flip_lr": True}, lift=("flip_lr",))
    assert lifted.flip_lr
    assert lifted.bans == ("flip_ud",)
    with pytest.raises(DataError, match="rotate_deg"):
        policy("XR-chest", overrides={"rotate_deg": 180})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"modality": "XR-chst"}, "XR-chest|xr-chest"),
        ({"modality": None, "strength": "string"}, "strong"),
        ({"modality": None, "bans": ("fliplr",)}, "flip_lr"),
        ({"modality": None, "overrides": {"rotate": 3}}, "rotate_deg"),
        ({"modality": None, "overrides": {"rotate_deg": -3}}, "rotate_deg=-3"),
        ({"modality": None, "overrides": {"zoom": float("nan")}}, "zoom=nan"),
        ({"modality": None, "overrides": {"flip_lr": 1}}, "flip_lr=1"),
        ({"modality": None, "overrides": {"noise": "much"}}, "noise='much'"),
        ({"modality": None, "overrides": {"border": "wrap"}}, "border"),
    ],
)
def test_wrong_policies_are_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        policy(**arguments)


def test_class_names_ask_for_bans() -> None:
    assert suggest_bans(["liver", "kidney-left", "kidney-right"]) == ("flip_lr",)
    assert suggest_bans(["normal", "hyperplasia"]) == ("shape",)
    assert suggest_bans(["cardiomegaly", "upper lobe"]) == ("flip_ud", "shape")
    assert suggest_bans(["normal", "pneumonia", "bright spots"]) == ()


def test_views_do_what_they_say() -> None:
    batch = RNG.integers(0, 256, (2, 20, 20, 1), np.uint8)
    np.testing.assert_array_equal(apply_view(batch, {"view": "identity"}), batch)
    np.testing.assert_array_equal(apply_view(batch, {"view": "flip_lr"}), np.flip(batch, 2))
    np.testing.assert_array_equal(apply_view(batch, {"view": "flip_ud"}), np.flip(batch, 1))
    turned = apply_view(batch, {"view": "turn", "quarters": 1})
    np.testing.assert_array_equal(turned[1], np.rot90(batch[1]))
    moved = apply_view(batch, {"view": "shift", "dy": 0.1, "dx": -0.05})
    np.testing.assert_array_equal(moved[:, 2:, :-1], batch[:, :-2, 1:])
    np.testing.assert_array_equal(moved[:, 0, :-1], batch[:, 0, 1:])


def test_views_follow_the_policy() -> None:
    names = [view["view"] for view in tta_views(policy("US"))]
    assert names == ["identity", "flip_lr", "shift", "shift", "shift", "shift"]
    assert "flip_lr" not in {view["view"] for view in tta_views(policy("XR-chest"))}
    turns = tta_views(policy("histology"), square=False)
    assert [view["quarters"] for view in turns if view["view"] == "turn"] == [2]
    still = policy("US", overrides={"translate": 0})
    assert [view["view"] for view in tta_views(still)] == ["identity", "flip_lr"]
    with pytest.raises(DataError, match="square"):
        apply_view(np.zeros((1, 4, 6, 1), np.uint8), {"view": "turn", "quarters": 1})
    with pytest.raises(DataError, match="unknown view"):
        apply_view(np.zeros((1, 4, 4, 1), np.uint8), {"view": "zoom"})

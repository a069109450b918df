"""Changes of values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from data_adapters.patches.intensity import blur, change_values, gamma, low_resolution
from data_adapters.patches.policy import PatchPolicy


def values(seed: int = 0, shape: tuple[int, ...] = (9, 12, 10)) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.7])
def test_gamma_keeps_mean_and_deviation_and_order(exponent: float) -> None:
    before = values()
    after = gamma(before.copy(), exponent)
    assert after.mean() == pytest.approx(before.mean(), abs=1e-5)
    assert after.std() == pytest.approx(before.std(), abs=1e-5)
    assert (np.diff(after.ravel()[np.argsort(before.ravel())]) >= -1e-6).all()
    unit = (before - before.min()) / np.ptp(before)
    power = unit.astype(np.float64) ** exponent
    wanted = (power - power.mean()) / power.std() * before.std() + before.mean()
    np.testing.assert_allclose(after, wanted, atol=1e-4)
    np.testing.assert_array_equal(gamma(np.full(5, 3, np.float32), 2.0), 3)


def test_blur_is_scipys_and_takes_nothing_from_the_padding() -> None:
    before = values()
    wanted = ndimage.gaussian_filter(before, 0.9, mode="nearest", truncate=3)
    np.testing.assert_allclose(blur(before, 0.9), wanted, atol=1e-6)
    inside = np.ones(before.shape, bool)
    inside[:, :4] = False
    padded = np.where(inside, 2.0, 1e6).astype(np.float32)
    after = blur(padded, 0.9, inside)
    np.testing.assert_allclose(after[inside], 2.0, rtol=1e-5)
    np.testing.assert_array_equal(after[~inside], 1e6)
    thick = blur(before, 0.9, None, (True, False, False))
    wanted = ndimage.gaussian_filter(before, (0, 0.9, 0.9), mode="nearest", truncate=3)
    np.testing.assert_allclose(thick, wanted, atol=1e-6)


def test_low_resolution_loses_detail_and_keeps_slopes() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32), (5, 24)).copy()
    after = low_resolution(ramp, 2.0, None, (True, False))
    np.testing.assert_allclose(after[:, 2:-2], ramp[:, 2:-2], atol=0.51)
    assert (np.diff(after, axis=1) >= 0).all()
    stripes = np.tile(np.float32([1, -1]), (6, 12))
    assert low_resolution(stripes, 2.0, None, (True, False)).std() < 0.1
    np.testing.assert_allclose(low_resolution(values(), 1.0), values(), atol=1e-6)
    np.testing.assert_allclose(low_resolution(np.full((7, 5), 3, np.float32), 1.7), 3, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"noise": 0.5, "p_noise": 1},
        {"blur": 1.0, "p_blur": 1},
        {"brightness": 0.5, "p_brightness": 1},
        {"contrast": 0.5, "p_contrast": 1},
        {"gamma": 0.5, "p_gamma": 1},
        {"gamma": 0.5, "p_gamma_inverted": 1},
        {"low_resolution": 2.0, "p_low_resolution": 1},
    ],
)
def test_each_change_changes_and_stays_finite(change: dict[str, Any]) -> None:
    policy = PatchPolicy(**change)
    before = np.stack([values(1), np.zeros((9, 12, 10), np.float32)], axis=-1)
    after = change_values(before.copy(), policy, np.random.default_rng(0))
    assert after.dtype == np.float32
    assert np.isfinite(after).all()
    assert np.abs(after[..., 0] - before[..., 0]).max() > 0.02
    if not {"noise", "blur", "low_resolution"} & set(change):
        order = np.argsort(before[..., 0].ravel())
        assert (np.diff(after[..., 0].ravel()[order]) >= -1e-5).all()
    outside = np.ones(before.shape[:-1], bool)
    kept = change_values(before.copy(), policy, np.random.default_rng(0), outside=outside)
    np.testing.assert_array_equal(kept, before)


def test_the_negative_is_bent_the_other_way() -> None:
    plain = PatchPolicy(gamma=1.0, p_gamma=1)
    turned = PatchPolicy(gamma=1.0, p_gamma_inverted=1)
    flat = np.linspace(-1, 1, 200, dtype=np.float32).reshape(20, 10, 1)
    for policy, side in ((plain, 0), (turned, -1)):
        bent = set()
        for seed in range(6):
            after = change_values(flat.copy(), policy, np.random.default_rng(seed)).ravel()
            steps = np.diff(after.astype(np.float64))
            # A power acts most on the dark end: its steps change by the largest factor there.
            ends = np.abs(np.log(steps[[0, -1]] / np.median(steps)))
            bent.add(int(ends.argmax()))
        assert bent == {side % 2}


def test_magnitudes_follow_the_unit() -> None:
    for change in ({"noise": 0.5, "p_noise": 1}, {"brightness": 0.5, "p_brightness": 1}):
        policy = PatchPolicy(**change)
        one = change_values(values()[..., None].copy(), policy, np.random.default_rng(1))
        many = change_values(
            values()[..., None] * 50, policy, np.random.default_rng(1), unit=50.0
        )  # fmt: skip
        np.testing.assert_allclose(many, one * 50, rtol=1e-4, atol=1e-3)


def test_statistics_leave_the_padding_out() -> None:
    inside = np.ones((9, 12, 10), bool)
    inside[:, :, :5] = False
    before = np.where(inside, values(), -50).astype(np.float32)[..., None]
    policy = PatchPolicy(contrast=1.0, p_contrast=1, gamma=0.5, p_gamma=1)
    after = change_values(before.copy(), policy, np.random.default_rng(3), outside=~inside)
    alone = change_values(
        before[:, :, 5:].copy(), policy, np.random.default_rng(3)
    )  # fmt: skip
    np.testing.assert_allclose(after[:, :, 5:], alone, atol=1e-5)
    assert len(np.unique(after[:, :, :5])) == 1
    assert after[0, 0, 0, 0] <= after.min() + 1e-6

"""Patches and masks changed together."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_adapters.case import Case, Geometry
from data_adapters.errors import DataError
from data_adapters.patches import PatchAugmenter, PatchPolicy, PatchStream, patch_policy
from tests.data_adapters.patches.stores import AXIAL, blobs, store_of

PLACE = Geometry((1.0, 1.0, 1.0), direction=AXIAL)


def patch(shape: tuple[int, ...] = (8, 12, 10)) -> tuple[NDArray[Any], NDArray[Any]]:
    mask = blobs(0, shape)
    return np.random.default_rng(0).standard_normal((*shape, 2)).astype(np.float32), mask


def test_a_policy_without_changes_gives_the_patch_back() -> None:
    image, mask = patch()
    for policy in (PatchPolicy(), patch_policy("none"), PatchPolicy(p_rotate=1, p_noise=1)):
        got, labels = PatchAugmenter(policy)(image, mask, (0, 0, 0), geometry=PLACE)
        np.testing.assert_array_equal(got, image)
        np.testing.assert_array_equal(labels, mask)


def test_flips_are_numpys_and_swap_along_left_right() -> None:
    image, mask = patch()
    augment = PatchAugmenter(PatchPolicy(flip=1.0, swaps=((1, 2),)))
    got, labels = augment(image, mask, (0, 0, 0), geometry=PLACE)
    np.testing.assert_array_equal(got, image[::-1, ::-1, ::-1])
    swapped = np.array([0, 2, 1])[mask]
    np.testing.assert_array_equal(labels, swapped[::-1, ::-1, ::-1])
    banned = PatchAugmenter(patch_policy("none", bans=["flip_lr"], overrides={"flip": 1.0}))
    got, labels = banned(image, mask, (0, 0, 0), geometry=PLACE)
    np.testing.assert_array_equal(got, image[::-1, ::-1])
    np.testing.assert_array_equal(labels, mask[::-1, ::-1])


def test_classes_are_swapped_with_left_and_right_only() -> None:
    image, mask = patch()
    augment = PatchAugmenter(PatchPolicy(flip=0.5, swaps=((1, 2),)))
    turned = 0
    for n in range(20):
        got, labels = augment(image, mask, (0, 0, n), geometry=PLACE)
        axes = (0, 1, 2)
        flips = [
            f
            for f in itertools.product((False, True), repeat=3)
            if np.array_equal(got, np.flip(image, [a for a in axes if f[a]]))
        ]
        assert len(flips) == 1
        classes = np.array([0, 2, 1])[mask] if flips[0][2] else mask
        np.testing.assert_array_equal(labels, np.flip(classes, [a for a in axes if flips[0][a]]))
        turned += flips[0][2]
    assert 0 < turned < 20


def test_half_of_the_flips_and_each_axis_for_itself() -> None:
    image, mask = patch()
    augment = PatchAugmenter(PatchPolicy(flip=0.5))
    seen: dict[bytes, int] = {}
    for n in range(200):
        got, _ = augment(image, mask, (0, 0, n))
        seen[got.tobytes()] = seen.get(got.tobytes(), 0) + 1
    assert len(seen) == 8
    assert min(seen.values()) > 8


@pytest.mark.parametrize("shape", [(9, 9), (4, 9, 9)])
def test_quarter_turns_are_numpys(shape: tuple[int, ...]) -> None:
    image, mask = patch(shape)
    plane = (len(shape) - 2, len(shape) - 1)
    augment = PatchAugmenter(PatchPolicy(quarter_turns=True))
    seen = set()
    for n in range(30):
        got, labels = augment(image, mask, (0, 0, n))
        quarters = [
            k for k in range(4) if np.array_equal(got, np.rot90(image, k, plane))
        ]  # fmt: skip
        assert len(quarters) == 1
        np.testing.assert_array_equal(labels, np.rot90(mask, quarters[0], plane))
        seen.add(quarters[0])
    assert seen == {0, 1, 2, 3}
    oblong, narrow = patch((6, 9))
    assert all(augment(oblong, narrow, (0, 0, n))[1].shape == (6, 9) for n in range(8))


@pytest.mark.parametrize("shape", [(24, 20), (16, 20, 18)])
@pytest.mark.parametrize("by", ["linear", "nearest"])
def test_image_and_mask_move_together(shape: tuple[int, ...], by: str) -> None:
    mask = blobs(2, shape, classes=2)
    image = mask[..., None].astype(np.float32)
    policy = PatchPolicy(
        rotate_deg=30, p_rotate=1, scale=0.3, p_scale=1, elastic=0.15, p_elastic=1, flip=0.5,
        mask_by=by,
    )  # fmt: skip
    for n in range(5):
        got, labels = PatchAugmenter(policy)(image, mask, (7, 0, n))
        known = (labels >= 0) & (np.abs(got[..., 0] - 0.5) > (0.01 if by == "linear" else 0.45))
        np.testing.assert_array_equal(labels[known], got[..., 0][known] > 0.5)
        assert known.mean() > 0.2
        assert not np.array_equal(labels, mask)


def test_the_seed_decides() -> None:
    image, mask = patch()
    augment = PatchAugmenter(patch_policy("strong"))
    first = [augment(image, mask, (1, 2, n))[0] for n in range(8)]
    again = [augment(image, mask, (1, 2, n))[0] for n in reversed(range(8))][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in first}) == 8
    assert not np.array_equal(augment(image, mask, (1, 3, 0))[0], first[0])
    assert not np.array_equal(augment(image, mask, (2, 2, 0))[0], first[0])


def test_the_patch_given_is_left_as_it_is() -> None:
    image, mask = patch()
    kept = image.copy(), mask.copy()
    for n in range(5):
        PatchAugmenter(patch_policy("strong"))(image, mask, (0, 0, n))
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(mask, kept[1])


def test_tissue_around_the_patch_is_read(tmp_path: Path) -> None:
    """A patch well inside a case has no border after a rotation."""
    mask = np.ones((40, 40, 40), np.int16)
    image = np.full((40, 40, 40, 1), 5.0, np.float32)
    image[0] = -9.0
    store = store_of([Case(image, "x", mask=mask)], tmp_path)
    policy = PatchPolicy(rotate_deg=40, p_rotate=1)
    made = PatchStream(
        store, [0], patch_size=(12, 12, 12), batch_size=2, steps=2, seed=0, policy=policy,
        void_outside=True, pad_value=-5.0,
    )  # fmt: skip
    inside = 0
    for n in range(8):
        got, labels = made.sample(0, n)
        start = made.sampler.place(0, n).start
        if all(6 <= a <= 22 for a in start):
            inside += 1
            assert (labels == 1).all()
            assert (got == 5).all()
        np.testing.assert_array_equal(got[..., 0] == -5, labels == -1)
    assert inside > 0


def test_void_stays_void(tmp_path: Path) -> None:
    mask = blobs(4, (20, 20, 20), classes=2)
    mask[mask == 0] = -1
    store = store_of([Case(np.zeros((20, 20, 20, 1), np.float32), "x", mask=mask)], tmp_path)
    made = PatchStream(
        store, [0], patch_size=(8, 8, 8), batch_size=2, steps=2, seed=0,
        policy=patch_policy("strong", overrides={"p_rotate": 1}),
    )  # fmt: skip
    _, labels = made.batch(0, 0)
    assert set(np.unique(labels)) <= {-1, 0, 1}
    assert (labels == -1).any()


def test_the_scanners_padding_gets_no_noise(tmp_path: Path) -> None:
    padding = np.zeros((10, 12, 12), bool)
    padding[:, :4] = True
    image = np.random.default_rng(0).standard_normal((10, 12, 12, 1)).astype(np.float32)
    image[padding] = -4.0
    mask = np.where(padding, 0, 1).astype(np.int16)
    mask[0, 0, 0] = 2
    store = store_of([Case(image, "x", mask=mask, padding=padding)], tmp_path)
    made = PatchStream(
        store, [0], patch_size=(10, 12, 12), batch_size=1, steps=4, seed=0,
        policy=PatchPolicy(noise=0.5, p_noise=1, blur=1.0, p_blur=1),
    )  # fmt: skip
    got, labels = made.sample(0, 0)
    np.testing.assert_array_equal(got[padding & (mask == 0)], -4.0)
    assert (got[~padding] != image[~padding]).mean() > 0.99
    assert got[~padding].mean() > -0.3  # the blur brought nothing of the padding in
    np.testing.assert_array_equal(labels, mask)


def test_neighbouring_slices_are_changed_alike() -> None:
    policy = PatchPolicy(brightness=1.0, p_brightness=1, contrast=0.5, p_contrast=1)
    flat = np.random.default_rng(0).standard_normal((6, 6, 1)).astype(np.float32)
    mask = np.zeros((6, 6), np.int16)

    def read(offset: Any, size: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.repeat(flat, 3, axis=-1), mask.copy()

    alike, _ = PatchAugmenter(policy).read(read, (6, 6), (0, 0, 0), slices=3)
    np.testing.assert_array_equal(alike[..., 0], alike[..., 2])
    apart, _ = PatchAugmenter(policy).read(read, (6, 6), (0, 0, 0))
    assert np.abs(apart[..., 0] - apart[..., 2]).max() > 0.01
    colours = PatchAugmenter(replace(policy, per_channel=False))
    together, _ = colours.read(read, (6, 6), (0, 0, 0))
    np.testing.assert_array_equal(together[..., 0], together[..., 2])
    assert np.abs(together[..., 0] - flat[..., 0]).max() > 0.01


def test_bad_patches_are_refused() -> None:
    image, mask = patch()
    with pytest.raises(DataError, match="wanted"):
        PatchAugmenter(PatchPolicy())(image, mask[:-1], (0, 0, 0))
    with pytest.raises(DataError, match="unit=0"):
        PatchAugmenter(PatchPolicy(), unit=0)

"""Fingerprints: the same pixels hash alike, copies are found, different films are not."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_adapters import digest, hashing
from data_adapters.digest import pixel_sha256
from data_adapters.errors import DataError
from data_adapters.hashing import (
    Fingerprint,
    fingerprint,
    near_duplicates,
    orient,
    perceptual_hashes,
    thumbnail,
)

FAST = settings(max_examples=40, deadline=None, derandomize=True)
PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(1)))


def noise(seed: int, cells: int, side: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0, 255, (cells, cells))
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_CUBIC))


def film(seed: int, *, side: int = 96, anatomy: float = 0.0) -> np.ndarray:
    """A random picture of fine structure over a coarse one that all of them share."""
    mixed = anatomy * noise(999, 5, side) + (1 - anatomy) * noise(seed, 20, side)
    return np.clip(mixed, 0, 255).astype(np.uint8)[..., np.newaxis]


def pairs_of(images: list[np.ndarray], **options: Any) -> list[hashing.NearDuplicate]:
    prints = [fingerprint(image) for image in images]
    phash, thumbs = stacked(prints)
    return near_duplicates(phash, thumbs, **options)


def stacked(prints: list[Fingerprint]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([p.phash for p in prints]), np.stack([p.thumb for p in prints])


# --- exact ---------------------------------------------------------------------------------------


@FAST
@given(PICTURES)
def test_storage_does_not_change_the_digest(image: np.ndarray) -> None:
    digest = pixel_sha256(image)
    for other in (
        image.astype(np.uint16),
        image.astype(np.float32),
        image.astype(">i4"),
        image.astype(np.float64) * -0.0 + image,
        np.repeat(image, 3, axis=2),
        image[np.newaxis],
        np.asfortranarray(image),
        np.ascontiguousarray(image[::-1])[::-1],
    ):
        assert pixel_sha256(other) == digest


@FAST
@given(PICTURES, st.data())
def test_any_changed_pixel_changes_the_digest(image: np.ndarray, data: st.DataObject) -> None:
    where = data.draw(st.integers(0, image.size - 1))
    other = image.copy().reshape(-1)
    other[where] ^= data.draw(st.sampled_from([1, 2, 64, 128]))
    assert pixel_sha256(other.reshape(image.shape)) != pixel_sha256(image)


@FAST
@given(arrays.arrays(np.float32, (3, 4, 1), elements=st.floats(width=32, allow_nan=True)))
def test_float_digest_sees_values_not_types(image: np.ndarray) -> None:
    assert pixel_sha256(image) == pixel_sha256(image.astype(np.float64))
    assert pixel_sha256(image + 0.0) == pixel_sha256(image)
    changed = image.copy()
    changed[1, 2, 0] = 0.25 if changed[1, 2, 0] != 0.25 else 0.75
    assert pixel_sha256(changed) != pixel_sha256(image)


def test_shape_and_depth_are_part_of_the_digest() -> None:
    flat = np.arange(24, dtype=np.uint8)
    digests = {
        pixel_sha256(flat.reshape(shape))
        for shape in [(4, 6, 1), (6, 4, 1), (2, 4, 3), (2, 4, 3, 1), (4, 3, 2), (4, 2, 3, 1)]
    }
    assert len(digests) == 6


def test_digest_is_the_same_everywhere() -> None:
    """A digest written into a splits.csv must still mean the same pixels in a later release."""
    image = np.arange(12, dtype=np.int16).reshape(3, 4, 1) - 1024
    written = b"radzoo-pixels-1|2d|3x4x1|i2|" + struct.pack("<12h", *range(-1024, -1012))
    assert pixel_sha256(image) == hashlib.sha256(written).hexdigest()


def test_png_and_array_hash_alike(tmp_path: Path) -> None:
    image = film(1)
    path = str(tmp_path / "film.png")
    cv2.imwrite(path, image)
    decoded = np.asarray(cv2.imread(path, cv2.IMREAD_COLOR))
    assert decoded.shape == (96, 96, 3)
    assert fingerprint(decoded).sha256 == fingerprint(image).sha256


def test_slabs_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).normal(size=(7, 5, 4, 3))
    image[2, 1, 1, 0] = np.nan
    whole = pixel_sha256(image)
    monkeypatch.setattr(digest, "_SLAB", 13)
    assert pixel_sha256(image) == whole


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4)),
        np.zeros((0, 4, 1)),
        np.zeros((4, 4, 1), complex),
        np.array([[["a"]]]),
        np.zeros((1, 2, 3, 4, 5)),
    ],
)
def test_what_is_no_picture_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot fingerprint"):
        fingerprint(bad)


# --- perceptual ----------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", range(8))
def test_hash_of_an_orientation_is_the_entry_for_it(transform: int) -> None:
    thumbs = np.random.default_rng(3).integers(0, 256, (5, 32, 32)).astype(np.uint8)
    all_eight = perceptual_hashes(thumbs)
    turned = np.ascontiguousarray(orient(thumbs, transform))
    np.testing.assert_array_equal(perceptual_hashes(turned)[:, 0], all_eight[:, transform])


def test_fingerprint_types() -> None:
    found = fingerprint(film(0))
    assert found.phash.shape == (8,)
    assert found.phash.dtype.name == "uint64"
    assert found.thumb.shape == (32, 32)
    assert found.thumb.dtype.name == "uint8"
    assert found.thumb.min() == 0
    assert found.thumb.max() == 255


def test_thumb_ignores_brightness_and_contrast() -> None:
    image = film(2).astype(np.float32)
    for other in (image * 0.3 - 700, image * 40 + 5):
        assert np.abs(thumbnail(other).astype(int) - thumbnail(image)).max() <= 1


def test_volume_thumb_does_not_depend_on_slice_order() -> None:
    volume = np.stack([film(seed) for seed in range(4)])
    np.testing.assert_array_equal(thumbnail(volume[::-1]), thumbnail(volume))


def test_odd_values_leave_a_usable_thumb() -> None:
    image = film(2).astype(np.float32)
    image[3:5, 3:5] = np.nan
    image[0, 0] = np.inf
    assert thumbnail(image).std() > 10
    for flat in (np.full((8, 8, 1), np.nan), np.full((50, 3, 3), 7), np.zeros((1, 1, 1))):
        assert not thumbnail(flat).any()


def test_copies_in_disguise_are_found_in_their_orientation() -> None:
    original = film(10)[..., 0]
    larger = np.asarray(cv2.resize(original, (150, 130), interpolation=cv2.INTER_CUBIC))
    encoded = cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    packed = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
    copies: list[np.ndarray] = [
        larger,
        packed,
        np.clip(original * 0.8 + 20, 0, 255).astype(np.uint8),
        *(np.ascontiguousarray(orient(larger, transform)) for transform in range(8)),
    ]
    for number, copy in enumerate(copies):
        found = pairs_of([original[..., np.newaxis], copy[..., np.newaxis]])
        assert [(p.first, p.second) for p in found] == [(0, 1)]
        assert found[0].transform == (0 if number < 4 else number - 3)
        assert found[0].correlation > 0.98


def test_films_of_one_region_are_no_copies() -> None:
    """Their hashes are close, so it is the detail that tells them apart."""
    images = [film(seed, anatomy=0.8) for seed in range(60)]
    prints = [fingerprint(image) for image in images]
    phash, thumbs = stacked(prints)
    distance = np.bitwise_count(phash[:, 0][:, None] ^ phash[:, 0])[np.triu_indices(60, 1)]
    assert (distance <= hashing.MAX_BITS).sum() > 20
    coarse = np.corrcoef(thumbs.reshape(60, -1))[np.triu_indices(60, 1)]
    assert (coarse > hashing.MIN_CORRELATION).sum() > 20
    assert near_duplicates(phash, thumbs) == []


def body(seed: int) -> np.ndarray:
    """A bright disc, the same in all pictures, with faint organs of its own."""
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    inside = rows**2 + 1.6 * columns**2 < 0.7
    values = np.where(inside, 150 + 0.3 * noise(seed, 12, 96), 10)
    return values.astype(np.uint8)[..., np.newaxis]


def test_a_shared_outline_makes_no_copies_and_hides_none() -> None:
    """The outline correlates by itself; what counts is what two pictures share beyond it."""
    images = [body(seed) for seed in range(40)]
    high = hashing._detail(np.stack([thumbnail(image) for image in images]))[0].reshape(40, -1)
    plain = np.asarray(np.corrcoef(high))
    assert (plain[np.triu_indices(40, 1)] > hashing.MIN_CORRELATION).sum() > 10
    assert pairs_of(images) == []
    rng = np.random.default_rng(0)
    copies = [orient(images[k][..., 0], k)[..., np.newaxis] for k in range(8)]
    noisy = [copy + rng.normal(0, 8, copy.shape) for copy in copies]
    found = pairs_of([*images, *noisy])
    assert [(p.first, p.second) for p in found] == [(k, 40 + k) for k in range(8)]


@pytest.mark.parametrize("view", range(8))
def test_partial_correlation_equals_regression(view: int) -> None:
    rng = np.random.default_rng(view)
    left, right = rng.normal(size=(2, 3, 32, 32), scale=1000).astype(np.float32)
    total = rng.normal(size=(32, 32), scale=2000).astype(np.float32)
    left += 0.5 * total
    right += 0.8 * orient(left, view) + 0.3 * total
    found = hashing._partial_correlation(left, right, total, view)
    for row in range(3):
        others = total - left[row] - right[row]
        given = np.stack([others.ravel(), orient(others, view).ravel()], axis=1)
        rest = []
        for values in (orient(left[row], view).ravel(), right[row].ravel()):
            rest.append(values - given @ np.linalg.lstsq(given, values, rcond=1e-4)[0])
        cosine = rest[0] @ rest[1] / np.linalg.norm(rest[0]) / np.linalg.norm(rest[1])
        assert found[row] == pytest.approx(cosine, abs=1e-4)


def test_copies_are_found_where_all_pictures_are_copies_of_one() -> None:
    original = film(4).astype(np.float32)
    rng = np.random.default_rng(0)
    images = [original * scale + rng.normal(0, 2, original.shape) for scale in (0.5, 0.8, 1, 1.3)]
    assert len(pairs_of(images)) == 6


def test_flat_pictures_are_near_nothing() -> None:
    flats = [np.full((20, 20, 1), value, np.uint8) for value in (0, 0, 9, 255)]
    found = pairs_of([*flats, film(0), film(1)], max_bits=63, min_correlation=-1)
    assert [(p.first, p.second) for p in found] == [(4, 5)]


def test_pairs_equal_a_plain_double_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    base = [film(seed, side=40) for seed in range(12)]
    images = base + [
        np.ascontiguousarray(orient(base[k][..., 0], k % 8)[..., None]) for k in range(0, 12, 2)
    ]
    prints = [fingerprint(image) for image in images]
    phash, thumbs = stacked(prints)
    expected = []
    for i in range(len(images)):
        for j in range(i + 1, len(images)):
            scores = [
                (detail_correlation(orient(prints[i].thumb, k), prints[j].thumb), -k)
                for k in range(8)
                if bin(int(prints[i].phash[k]) ^ int(prints[j].phash[0])).count("1") <= 20
            ]
            if scores and max(scores)[0] >= 0.5:
                expected.append((i, j, -max(scores)[1]))
    assert len(expected) >= 6
    for cells, confirm in ((1 << 21, 1 << 12), (40, 3)):
        monkeypatch.setattr(hashing, "_CELLS", cells)
        monkeypatch.setattr(hashing, "_CONFIRM", confirm)
        found = near_duplicates(phash, thumbs, max_bits=20, min_correlation=0.5)
        assert [(p.first, p.second, p.transform) for p in found] == expected


def detail_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Straightforward reference: blur with OpenCV, subtract, correlate with NumPy."""
    high = []
    for thumb in (one, other):
        values = np.ascontiguousarray(thumb).astype(np.float64)
        high.append(values - cv2.GaussianBlur(values, (17, 17), 2.0, borderType=cv2.BORDER_REFLECT))
    return float(np.corrcoef(high[0].ravel(), high[1].ravel())[0, 1])


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures_have_no_pairs(count: int) -> None:
    images = [film(0)] * count
    phash = np.zeros((0, 8), np.uint64) if not count else stacked([fingerprint(images[0])])[0]
    thumbs = np.zeros((count, 32, 32), np.uint8)
    assert near_duplicates(phash, thumbs) == []


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(DataError, match="do not belong together"):
        near_duplicates(np.zeros((3, 8), np.uint64), np.zeros((2, 32, 32), np.uint8))


# --- real data -----------------------------------------------------------------------------------


def test_breastmnist_near_duplicates_across_parts(radzoo_data: Path) -> None:
    with np.load(radzoo_data / "medmnist" / "breastmnist.npz") as npz:
        images, first_val = [*npz["train_images"], *npz["val_images"]], len(npz["train_images"])
    pairs = pairs_of([image[..., None] for image in images])
    across = sum((p.first < first_val) != (p.second < first_val) for p in pairs)
    assert (len(pairs), across) == (119, 36)


def test_br35h_groups_are_found(radzoo_data: Path) -> None:
    """Pictures of whole groups: recall and precision against the data set's own groups."""
    entries = json.loads((radzoo_data / "br35h" / "train.json").read_text())["images"]
    entries = [entry for entry in entries if entry["group"] < 20]
    group = np.array([entry["group"] for entry in entries])
    folder = radzoo_data / "br35h"
    images = [np.asarray(cv2.imread(str(folder / entry["file_name"]))) for entry in entries]
    pairs = pairs_of(images)
    inside = [p for p in pairs if group[p.first] == group[p.second]]
    possible = (np.equal.outer(group, group).sum() - len(group)) // 2
    assert possible > 50
    assert len(inside) >= 0.9 * possible
    assert len(inside) >= 0.99 * len(pairs)
    with_copy = {row for row in range(len(group)) if (group == group[row]).sum() > 1}
    assert {row for p in inside for row in p[:2]} == with_copy

"""Outlines and run lengths against independent counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from data_adapters.errors import FormatError
from data_adapters.layouts.masks import (
    mask_rle,
    pack_counts,
    polygon_area,
    polygon_mask,
    polygons_mask,
    rle_mask,
    unpack_counts,
)


def star(rng: np.random.Generator, size: float) -> np.ndarray:
    """A simple outline around the middle of a square."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, 12))
    radius = rng.uniform(0.1, 0.48, 12) * size
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius], axis=1) + size / 2


def inside(points: np.ndarray, x: float, y: float) -> bool:
    """Even-odd by the winding of angles, another way than the one tested."""
    turns = 0.0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        a, b = math.atan2(y0 - y, x0 - x), math.atan2(y1 - y, x1 - x)
        turns += (b - a + math.pi) % (2 * math.pi) - math.pi
    return round(turns / (2 * math.pi)) % 2 == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_pixel_belongs_when_its_centre_lies_inside(seed: int) -> None:
    points = star(np.random.default_rng(seed), 40)
    mask = polygon_mask(points, (40, 40))
    wanted = [[inside(points, c + 0.5, r + 0.5) for c in range(40)] for r in range(40)]
    np.testing.assert_array_equal(mask, wanted)
    edge = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum()
    assert abs(mask.sum() - polygon_area(points)) <= edge / 2


def test_a_rectangle_on_the_pixel_grid_has_its_area_and_neighbours_share_nothing() -> None:
    left = polygon_mask([(2, 1), (7, 1), (7, 5), (2, 5)], (9, 12))
    right = polygon_mask([(7, 1), (9, 1), (9, 5), (7, 5)], (9, 12))
    wanted = np.zeros((9, 12), bool)
    wanted[1:5, 2:7] = True
    np.testing.assert_array_equal(left, wanted)
    assert not (left & right).any()
    assert (left | right).sum() == 28
    assert polygon_area([(2, 1), (7, 1), (7, 5), (2, 5)]) == 20


def test_half_pixel_edges_split_between_neighbours() -> None:
    whole = polygon_mask([(0.5, 0.5), (9.5, 0.5), (9.5, 7.5), (0.5, 7.5)], (10, 12))
    a = polygon_mask([(0.5, 0.5), (9.5, 7.5), (0.5, 7.5)], (10, 12))
    b = polygon_mask([(0.5, 0.5), (9.5, 0.5), (9.5, 7.5)], (10, 12))
    np.testing.assert_array_equal(a ^ b, whole)
    assert not (a & b).any()


def test_beyond_the_picture_is_cut_and_parts_add_up() -> None:
    mask = polygon_mask([(-5, -5), (50, -5), (50, 3), (-5, 3)], (6, 7))
    np.testing.assert_array_equal(mask.sum(axis=1), [7, 7, 7, 0, 0, 0])
    twice = polygons_mask([[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]], (8, 8))
    assert twice.sum() == 16 + 16 - 4
    crossed = polygon_mask([(0, 0), (8, 0), (8, 8), (0, 8), (0, 0), (2, 2), (6, 2), (6, 6), (2, 6),
                            (2, 2)], (8, 8))  # fmt: skip
    assert not crossed[3, 3]
    assert crossed[0, 0]


def test_it_agrees_with_pillow_within_the_outline() -> None:
    points = star(np.random.default_rng(5), 200)
    canvas = Image.new("1", (200, 200))
    ImageDraw.Draw(canvas).polygon([tuple(p - 0.5) for p in points], fill=1)
    edge = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum()
    assert (np.asarray(canvas) ^ polygon_mask(points, (200, 200))).sum() <= edge


@given(st.lists(st.integers(0, 2**31), max_size=40))
def test_packed_counts_come_back(runs: list[int]) -> None:
    assert unpack_counts(pack_counts(runs)) == runs


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_run_lengths_come_back(seed: int, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    runs = mask_rle(mask)
    assert sum(runs) == mask.size
    np.testing.assert_array_equal(rle_mask(runs, mask.shape), mask)
    np.testing.assert_array_equal(rle_mask(pack_counts(runs), mask.shape), mask)


def test_run_lengths_go_down_the_columns_and_the_text_is_cocos() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 0] = mask[2, 0] = mask[0, 1] = True
    assert mask_rle(mask) == [1, 3, 8]
    # By hand from maskApi.c: 1 -> '1', 3 -> '3', 8 -> '8'; the fourth number is a difference.
    assert pack_counts([1, 3, 8]) == "138"
    assert unpack_counts("138") == [1, 3, 8]
    # 40 = 8 + 1 * 32: groups 8|32 -> 'X', 1 -> '1'; then 5 - 3 = 2 -> '2'.
    assert pack_counts([40, 3, 8, 5]) == "X1382"
    # 2 - 3 = -1 -> group 31 with the sign bit: chr(31 + 48) = 'O'.
    assert pack_counts([40, 3, 8, 2]) == "X138O"


@pytest.mark.parametrize("counts", ["~~~~", "X", "12", [1, 2], [-1, 13], "o" * 20, "\x00"])
def test_damaged_run_lengths_are_refused(counts: str | list[int]) -> None:
    with pytest.raises(FormatError):
        rle_mask(counts, (3, 4))

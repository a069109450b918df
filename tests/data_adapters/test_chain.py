"""The chain: each step against an independent statement of what it should do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data_adapters.case import Case, Geometry
from data_adapters.chain import (
    apply_chain,
    chain_channels,
    chain_size,
    run_chain,
    undos_from_dicts,
    undos_to_dicts,
    validate_chain,
)
from data_adapters.errors import DataError
from data_adapters.transforms.compose import Compose, invert_mask

RNG = np.random.default_rng(3)


def test_empty_chain_keeps_uint8_and_widens_the_rest() -> None:
    small = RNG.integers(0, 256, (5, 4, 1), np.uint8)
    deep = RNG.integers(0, 65536, (5, 4, 3), np.uint16)
    assert apply_chain(small, []).dtype == np.uint8
    np.testing.assert_array_equal(apply_chain(small, []), small)
    out = apply_chain(deep, [])
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, deep)


def test_luma_is_bt601() -> None:
    colour = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    red, green, blue = (colour[..., k].astype(float) for k in range(3))
    wanted = np.rint(0.299 * red + 0.587 * green + 0.114 * blue)
    out = apply_chain(colour, [{"step": "channels", "count": 1}])
    assert out.shape == (6, 7, 1)
    np.testing.assert_allclose(out[..., 0], wanted, atol=1)
    assert np.mean(out[..., 0] != wanted) < 0.05


def test_luma_of_a_grey_picture_is_that_picture() -> None:
    grey = RNG.integers(0, 256, (16, 16, 1), np.uint8)
    out = apply_chain(np.repeat(grey, 3, axis=-1), [{"step": "channels", "count": 1}])
    np.testing.assert_array_equal(out, grey)


def test_one_channel_is_replicated() -> None:
    grey = RNG.integers(0, 256, (4, 4, 1), np.uint8)
    out = apply_chain(grey, [{"step": "channels", "count": 3}])
    assert out.shape == (4, 4, 3)
    for channel in range(3):
        np.testing.assert_array_equal(out[..., channel], grey[..., 0])


def test_shrinking_by_a_whole_factor_is_the_block_mean() -> None:
    image = RNG.normal(size=(12, 18, 1)).astype(np.float32) * 1000
    out = apply_chain(image, [{"step": "resize", "height": 4, "width": 6}])
    blocks = image[..., 0].reshape(4, 3, 6, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(out[..., 0], blocks, rtol=1e-4, atol=1e-2)


def test_growing_keeps_a_ramp_and_the_range() -> None:
    ramp = np.repeat(np.arange(8, dtype=np.float32)[:, None, None], 8, axis=1)
    out = apply_chain(ramp, [{"step": "resize", "height": 32, "width": 8}])
    wanted = (np.arange(32) + 0.5) / 4 - 0.5
    # Keys' kernel with a = -0.75, OpenCV's, is exact for constants and within 0.042 for ramps.
    np.testing.assert_allclose(out[8:24, 3, 0], wanted[8:24], atol=0.042)
    edge = np.zeros((6, 6, 1), np.float32)
    edge[:, 3:] = -1000.0
    grown = apply_chain(edge, [{"step": "resize", "height": 30, "width": 30}])
    assert grown.min() >= -1000.0
    assert grown.max() <= 0.0


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    image = RNG.integers(0, 256, (40, 5, 3), np.uint8)
    out = apply_chain(image, [{"step": "resize", "height": 10, "width": 20}])
    assert out.shape == (10, 20, 3)
    assert out.dtype == np.uint8


def test_keep_aspect_pads_evenly_with_the_edge_minimum() -> None:
    image = RNG.integers(50, 200, (20, 10, 1)).astype(np.float32)
    image[5, 5] = 7.0
    steps = [{"step": "resize", "height": 20, "width": 20, "keep_aspect": True}]
    out = apply_chain(image, steps)[..., 0]
    np.testing.assert_array_equal(out[:, 5:15], image[..., 0])
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).min()
    assert set(np.unique(out[:, :5])) == {edge}
    assert set(np.unique(out[:, 15:])) == {edge}


def test_planes_are_the_central_ones() -> None:
    volume = RNG.integers(0, 256, (9, 9, 9, 1), np.uint8)
    out = apply_chain(volume, [{"step": "planes"}])
    assert out.shape == (9, 9, 3)
    np.testing.assert_array_equal(out[..., 0], volume[4, :, :, 0])
    np.testing.assert_array_equal(out[..., 1], volume[:, 4, :, 0])
    np.testing.assert_array_equal(out[..., 2], volume[:, :, 4, 0])


@pytest.mark.parametrize(("how", "reduce"), [("mean", np.mean), ("max", np.max)])
def test_planes_may_be_projections(how: str, reduce: Any) -> None:
    volume = RNG.normal(size=(8, 8, 8, 1)).astype(np.float32)
    out = apply_chain(volume, [{"step": "planes", "how": how}])
    for axis in range(3):
        wanted = reduce(volume[..., 0], axis=axis)
        np.testing.assert_allclose(out[..., axis], wanted, atol=1e-6)


def test_planes_of_an_oblong_volume_share_a_square() -> None:
    volume = RNG.integers(0, 256, (4, 10, 20, 1), np.uint8)
    assert apply_chain(volume, [{"step": "planes"}]).shape == (20, 20, 3)


def test_a_chain_survives_json() -> None:
    steps = [
        {"step": "channels", "count": 1},
        {"step": "resize", "height": 9, "width": 9, "keep_aspect": True},
    ]
    image = RNG.integers(0, 256, (30, 20, 3), np.uint8)
    again = json.loads(json.dumps(validate_chain(steps)))
    np.testing.assert_array_equal(apply_chain(image, steps), apply_chain(image, again))


def test_shape_after_the_chain() -> None:
    steps = [{"step": "resize", "height": 9, "width": 7}]
    assert chain_size(steps) == (9, 7)
    assert chain_channels(steps) is None
    assert chain_channels([*steps, {"step": "channels", "count": 1}]) == 1
    assert chain_channels([{"step": "planes"}]) == 3
    assert chain_size([*steps, {"step": "planes"}]) is None


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"step": "resise", "height": 4, "width": 4}], "resize"),
        ([{"step": "resize", "height": 4, "widht": 4}], "width"),
        ([{"step": "resize", "height": 4}], "width=None"),
        ([{"step": "resize", "height": 0, "width": 4}], "height=0"),
        ([{"step": "resize", "height": True, "width": 4}], "height=True"),
        ([{"step": "resize", "height": 4, "width": 4, "keep_aspect": 1}], "keep_aspect=1"),
        ([{"step": "channels", "count": 2}], "count=2"),
        ([{"step": "planes", "how": "median"}], "median"),
        ([{"stop": "planes"}], "step 0"),
        ([{"step": "planes"}], "volumes"),
    ],
)
def test_wrong_chains_are_named(steps: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        apply_chain(np.zeros((4, 4, 1), np.uint8), steps)


def test_wrong_images_are_named() -> None:
    resize = [{"step": "resize", "height": 4, "width": 4}]
    with pytest.raises(DataError, match="planes"):
        apply_chain(np.zeros((4, 4, 4, 1), np.uint8), [])
    with pytest.raises(DataError, match="planes"):
        apply_chain(np.zeros((4, 4, 4, 1), np.uint8), resize)
    with pytest.raises(DataError, match="1 or 3"):
        apply_chain(np.zeros((4, 4, 2), np.uint8), [{"step": "channels", "count": 1}])
    with pytest.raises(DataError, match="NaN"):
        apply_chain(np.full((4, 4, 1), np.nan, np.float32), resize)
    with pytest.raises(DataError, match="shape"):
        apply_chain(np.zeros((4, 4), np.uint8), resize)


GEOMETRY = Geometry((3.0, 1.0, 1.0), (5, 6, 7), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
VOLUME_STEPS = [
    {"step": "crop", "to": "body", "margin": 2.0},
    {"step": "resample", "spacing": [2.0, 1.5, 1.5]},
    {"step": "normalize"},
    {"step": "pad", "multiple": 4},
]


def volume() -> Case:
    """A bright block in noise, with its mask."""
    rng = np.random.default_rng(2)
    image = rng.normal(0, 5, (10, 24, 26, 1)).astype(np.float32)
    mask = np.zeros((10, 24, 26), np.uint8)
    mask[2:8, 5:19, 6:20] = 2
    return Case(image + 300 * (mask[..., None] > 0), "c", mask=mask, geometry=GEOMETRY)


def test_steps_of_cases_run_in_the_same_chain() -> None:
    case = volume()
    again = json.loads(json.dumps(validate_chain(VOLUME_STEPS)))
    done, undos = run_chain(case, again)
    by_hand, _ = Compose.from_dicts(VOLUME_STEPS).apply(case)
    np.testing.assert_array_equal(done.image, by_hand.image)
    assert set(np.unique(done.mask)) == {0, 2}
    stored = undos_from_dicts(json.loads(json.dumps(undos_to_dicts(undos))))
    assert [u.to_dict() for u in stored] == [u.to_dict() for u in undos]
    for records in (undos, stored):
        back = invert_mask(done.mask, records)
        assert back.shape == case.mask.shape
        assert (back == case.mask).mean() > 0.95
    assert records[0].before.geometry == GEOMETRY


def test_a_case_and_then_planes_become_a_picture() -> None:
    steps = [*VOLUME_STEPS, {"step": "planes"}, {"step": "resize", "height": 16, "width": 16}]
    case = volume()
    out = apply_chain(case, steps)
    assert out.shape == (16, 16, 3)
    assert chain_size(steps) == (16, 16)
    assert chain_size([*steps, {"step": "crop"}]) is None
    windows = [{"step": "windows", "windows": [[40, 400], [0, 80]]}]
    assert chain_channels(windows) == apply_chain(case.image[0], windows).shape[-1] == 2
    with pytest.raises(DataError, match="does not move masks"):
        run_chain(case, steps)
    _, undos = run_chain(replace(case, mask=None), steps)
    with pytest.raises(DataError, match="cannot be undone"):
        invert_mask(np.zeros((16, 16), np.uint8), undos)
    grey, undos = run_chain(case, [{"step": "channels", "count": 3}])
    np.testing.assert_array_equal(invert_mask(grey.mask, undos), case.mask)


def test_wrong_steps_of_cases_are_named() -> None:
    with pytest.raises(DataError, match=r"place 1: .*did you mean 'spacing'"):
        validate_chain([{"step": "crop"}, {"step": "resample", "spacin": [1, 1]}])
    with pytest.raises(DataError, match="did you mean 'resample'"):
        validate_chain([{"step": "resampel"}])
    with pytest.raises(DataError, match="voxel size"):
        apply_chain(np.zeros((4, 4, 4, 1), np.uint8), [VOLUME_STEPS[1]])

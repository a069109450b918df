"""Slabs and orthogonal planes against plain indexing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.errors import ZooError
from zoo.planes import neighbouring_slices, orthogonal_planes, slabs

RNG = np.random.default_rng(0)
VOLUME = RNG.integers(0, 1000, (5, 6, 7)).astype("int16")


@pytest.mark.parametrize(
    ("index", "count", "step", "wanted"),
    [
        (2, 3, 1, [1, 2, 3]),
        (0, 3, 1, [0, 0, 1]),
        (4, 5, 1, [2, 3, 4, 4, 4]),
        (2, 3, 2, [0, 2, 4]),
        (1, 3, 3, [0, 1, 4]),
        (2, 4, 1, [1, 2, 3, 4]),
        (3, 1, 1, [3]),
    ],
)
def test_neighbours_repeat_the_edge(index: int, count: int, step: int, wanted: list[int]) -> None:
    found = neighbouring_slices(VOLUME, index, count=count, step=step)
    assert found.dtype == VOLUME.dtype
    np.testing.assert_array_equal(found, VOLUME[wanted])
    assert not np.shares_memory(found, VOLUME)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("channels", [(), (2,)])
def test_slabs_are_all_neighbourhoods(axis: int, channels: tuple[int, ...]) -> None:
    volume = RNG.normal(size=(4, 5, 6, *channels))
    found = slabs(volume, count=3, step=2, axis=axis)
    assert len(found) == volume.shape[axis]
    for index, one in enumerate(found):
        alone = neighbouring_slices(volume, index, count=3, step=2, axis=axis)
        np.testing.assert_array_equal(one, alone)
        np.testing.assert_array_equal(one[1], volume.take(index, axis=axis))


def test_planes_cross_at_the_centre() -> None:
    found = orthogonal_planes(VOLUME, (2, 3, 4), size=3)
    assert found.shape == (3, 3, 3)
    assert found.dtype == VOLUME.dtype
    np.testing.assert_array_equal(found[..., 0], VOLUME[2, 2:5, 3:6])
    np.testing.assert_array_equal(found[..., 1], VOLUME[1:4, 3, 3:6])
    np.testing.assert_array_equal(found[..., 2], VOLUME[1:4, 2:5, 4])


def test_planes_outside_the_volume_are_filled() -> None:
    found = orthogonal_planes(VOLUME, (0, 5, 6), size=5, fill=-7)
    padded = np.pad(VOLUME, 2, constant_values=-7)
    np.testing.assert_array_equal(found[..., 0], padded[2, 5:10, 6:11])
    np.testing.assert_array_equal(found[..., 1], padded[0:5, 7, 6:11])
    np.testing.assert_array_equal(found[..., 2], padded[0:5, 5:10, 8])


def test_channels_come_plane_by_plane() -> None:
    volume = RNG.normal(size=(5, 6, 7, 2))
    found = orthogonal_planes(volume, (2, 3, 4), size=4)
    apart = [orthogonal_planes(volume[..., one], (2, 3, 4), size=4) for one in (0, 1)]
    assert found.shape == (4, 4, 6)
    for plane in range(3):
        for channel in (0, 1):
            np.testing.assert_array_equal(
                found[..., 2 * plane + channel], apart[channel][..., plane]
            )


def test_spacing_makes_square_pixels() -> None:
    """A linear ramp in mm is sampled exactly, whatever the voxels."""
    spacing = (3.0, 0.5, 1.0)
    at = np.meshgrid(
        *(np.arange(n) * s for n, s in zip((9, 40, 30), spacing, strict=True)), indexing="ij"
    )
    ramp = (10 * at[0] + 3 * at[1] - 2 * at[2]).astype("float64")
    centre = (4, 20, 15)
    found = orthogonal_planes(ramp, centre, size=7, spacing=spacing, pixel=0.75)
    away = (np.arange(7) - 3) * 0.75
    middle = ramp[centre]
    np.testing.assert_allclose(found[..., 0], middle + 3 * away[:, None] - 2 * away)
    np.testing.assert_allclose(found[..., 1], middle + 10 * away[:, None] - 2 * away)
    np.testing.assert_allclose(found[..., 2], middle + 10 * away[:, None] + 3 * away)
    smallest = orthogonal_planes(ramp, centre, size=7, spacing=spacing)
    np.testing.assert_allclose(smallest[:, 3, 0], ramp[4, 17:24, 15])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neighbouring_slices(VOLUME, 5, count=3), r"slice 5 .* 5 along axis 0: 0 to 4"),
        (lambda: neighbouring_slices(VOLUME, 0, count=0), "count 0 and step 1 must be 1 or more"),
        (lambda: slabs(VOLUME, count=3, step=0), "step 0"),
        (lambda: slabs(VOLUME, count=3, axis=3), "along axis 3"),
        (lambda: slabs(VOLUME[0], count=3), r"volume of \(6, 7\)"),
        (lambda: orthogonal_planes(VOLUME, (5, 0, 0), size=3), r"centre \(5, 0, 0\) lies outside"),
        (lambda: orthogonal_planes(VOLUME, (0, 0, 0), size=0), "planes of 0 pixels"),
        (
            lambda: orthogonal_planes(VOLUME, (0, 0, 0), size=3, spacing=(1.0, 0.0, 1.0)),
            "positive sizes in mm",
        ),
        (lambda: orthogonal_planes(VOLUME, (0, 0, 0), size=3, pixel=2.0), "spacing None"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        call()

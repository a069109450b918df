"""Folding of first kernels: closed forms and a direct convolution with padding."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from zoo.channels import channel_matrix, fold_kernel, needs_constant, with_constant
from zoo.errors import ZooError
from zoo.preprocessing import constants, preprocess_evenly

MODES = ("tf", "torch", "caffe", "lite", "signed128", "none")


@pytest.mark.parametrize("channels", range(1, 9))
def test_rows_share_and_every_channel_counts(channels: int) -> None:
    matrix = channel_matrix(channels, None)
    assert matrix.shape == (3, channels)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    assert (matrix.sum(axis=0) > 0).all()


def test_known_matrices() -> None:
    np.testing.assert_array_equal(channel_matrix(1, None), np.ones((3, 1)))
    np.testing.assert_array_equal(channel_matrix(3, None), np.eye(3))
    np.testing.assert_array_equal(channel_matrix(2, None), [[1, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(channel_matrix(4, None)[0], [0.5, 0, 0, 0.5])
    np.testing.assert_array_equal(channel_matrix(3, None, base=1), np.full((1, 3), 1 / 3))
    named = channel_matrix(4, ("RGB", "none", "B", (0.1, 0.2, 0.3)))
    np.testing.assert_array_equal(named.T, [[1, 1, 1], [0, 0, 0], [0, 0, 1], [0.1, 0.2, 0.3]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_folded_convolution_equals_preprocessing_then_padding(mode: str, mapped: bool) -> None:
    rng = np.random.default_rng(5)
    channel_map = [tuple(rng.uniform(-1, 1, 3)) for _ in range(4)] if mapped else None
    matrix = channel_matrix(4, channel_map)
    pixels = rng.uniform(0, 255, (1, 6, 7, 4))
    kernel = rng.normal(size=(3, 3, 3, 5)).astype("float32")
    scale, offset = (np.array(part) for part in constants(mode))
    colours = pixels @ matrix.T
    published = (colours[..., ::-1] if mode == "caffe" else colours) * scale + offset
    wanted = keras.ops.conv(published.astype("float32"), kernel, padding="same")

    image = keras.Input((6, 7, 4))
    x = preprocess_evenly(image, mode)
    x = with_constant(x) if needs_constant(mode, matrix) else x
    entered = keras.Model(image, x)(pixels.astype("float32"))
    found = keras.ops.conv(entered, fold_kernel(kernel, mode, matrix), padding="same")
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_the_constant_is_there_only_where_colours_differ() -> None:
    same = channel_matrix(2, None)
    assert [mode for mode in MODES if needs_constant(mode, same)] == ["torch", "caffe"]
    assert needs_constant("tf", channel_matrix(2, ("R", "none")))


@pytest.mark.parametrize(
    ("channel_map", "base", "message"),
    [
        (("R",), 3, "1 entries for 2 channels"),
        ((("R"), (1.0, 2.0)), 3, "needs 3 weights"),
        (((np.nan, 0, 0), "R"), 3, "finite weights"),
        (("none", "none"), 3, "not all 0"),
        (("R", "G"), 1, "takes no colours"),
    ],
)
def test_refused_maps(channel_map: tuple, base: int, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        channel_matrix(2, channel_map, base=base)

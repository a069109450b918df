"""The memory estimate against a count by hand."""

from __future__ import annotations

import keras
import pytest

from recipes.segmentation.inference.memory import FLOAT, RESERVE, live_bytes
from zoo.unets import unet


def test_peak_of_a_unet_is_at_its_finest_join() -> None:
    # Skip, upsampled map and both joined live at once: (16 + 16 + 32) channels.
    wanted = 64 * FLOAT * RESERVE
    for sides in (32, None):
        model = unet(input_shape=(sides,) * 3 + (1,), classes=2, widths=(16, 32))
        assert live_bytes(model, (32, 32, 32)) == pytest.approx(wanted)


def test_a_chain_holds_two_maps_and_narrow_ones_are_filled_up() -> None:
    x = image = keras.Input((10, 10, 8))
    for width in (24, 40, 3):
        x = keras.layers.ReLU()(keras.layers.Conv2D(width, 3, padding="same")(x))
    assert live_bytes(keras.Model(image, x), (10, 10)) == (24 + 40) * FLOAT * RESERVE
    narrow = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    assert live_bytes(narrow, (10, 10)) == (8 + 8) * FLOAT * RESERVE

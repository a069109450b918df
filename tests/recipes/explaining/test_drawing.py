"""Pictures with maps: one column for each method, one row for each plane."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from data_adapters.case import Case, Geometry
from recipes.explaining.drawing import drawn, scale


def pixels(uri: str) -> np.ndarray:
    """A data URI as numbers."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)


def coloured(picture: np.ndarray, limit: float = 60) -> np.ndarray:
    """Where a picture is not grey."""
    return np.asarray(np.ptp(picture, axis=-1) > limit)


def test_a_map_lies_where_it_is_high() -> None:
    rng = np.random.default_rng(0)
    case = Case(rng.integers(0, 200, (20, 30, 1)).astype(np.uint8), "a")
    heat = np.zeros((20, 30), np.float32)
    heat[2:6, 20:28] = 1.0
    shown = pixels(drawn(case, {"Grad-CAM": heat}))
    warm = coloured(shown)
    width = shown.shape[1]
    assert not warm[:, : width // 2].any()  # the case alone
    places = np.argwhere(warm)
    assert len(places) > 50
    middle = places.mean(axis=0)
    # the map's middle is at 0.8 of the second panel and at 0.2 of its height
    assert middle[1] / width == pytest.approx(0.5 + 0.5 * 0.8, abs=0.04)
    truth = np.zeros((20, 30), bool)
    truth[10:14, 5:9] = True
    assert coloured(pixels(drawn(case, {"Grad-CAM": heat}, truth=truth)))[:, : width // 2].any()
    many = pixels(drawn(case, {str(k): heat for k in range(6)}))  # four beside the case, then two
    assert coloured(many[: len(many) // 2]).sum() > 1.5 * coloured(many[len(many) // 2 :]).sum() > 0


def test_a_volume_is_shown_where_the_score_is_taken_from() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (12, 16, 20, 1)).astype(np.float32)
    geometry = Geometry((2.0, 1.0, 1.0), direction=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    case = Case(image, "a", geometry=geometry)
    heat = np.zeros(image.shape[:3], np.float32)
    heat[3, 4, 5] = 1.0
    here = heat > 0
    elsewhere = np.zeros_like(here)
    elsewhere[9, 12, 15] = True
    assert coloured(pixels(drawn(case, {"a": heat}))).any()  # through the highest place
    assert not coloured(pixels(drawn(case, {"a": heat}, focus=elsewhere))).any()
    one = pixels(drawn(case, {"a": heat}, focus=here))
    assert coloured(one).any()
    assert one.shape[0] > one.shape[1]  # three planes below each other


def test_planes_as_channels_are_shown_one_by_one() -> None:
    image = np.random.default_rng(2).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    heat = np.ones((16, 16), np.float32)
    flat, split = (
        pixels(drawn(Case(image, "a"), {"a": heat}, planes=planes)) for planes in (False, True)
    )
    assert split.shape[0] > 2.5 * flat.shape[0]


def test_the_scale_of_a_map() -> None:
    heat = np.zeros(1000, np.float32)
    assert scale(heat) == 1.0
    heat[0] = 5.0
    assert scale(heat) == 5.0  # one pixel in a thousand
    heat[:500] = np.linspace(1, 2, 500)
    assert 1.9 < scale(heat) < 2.0

"""The numbers kept of a case."""

from __future__ import annotations

import numpy as np
import pytest

from data_adapters.lint.examine import SAMPLE, _stride, examine
from tests.data_adapters.lint.deliveries import clean


def test_a_large_volume_is_sampled_in_every_column_and_channel() -> None:
    rng = np.random.default_rng(8)
    shape = (20, 256, 256, 3)
    image = rng.normal(0, 10, shape).astype(np.float32)
    image[..., 1] += 500 * rng.random()
    image[:, :, ::2] += 200
    padding = rng.random(shape[:3]) < 0.3
    image[padding] = -5000
    assert image.size > 4 * SAMPLE
    assert np.gcd(_stride(shape), 256 * 3) == 1
    data = clean()
    data.change(0, image=image, padding=padding)
    facts = examine(data, 0)
    measured = image[~padding]
    ranks = [float((measured <= value).mean()) for value in facts.quantiles]
    assert ranks == pytest.approx([0.01, 0.5, 0.99], abs=0.004)
    assert facts.limits == (measured.min(), measured.max())
    assert not facts.binary


def test_a_small_case_is_taken_whole() -> None:
    data = clean()
    facts = examine(data, 0)
    assert facts.quantiles == tuple(np.percentile(data.cases[0].image, (1, 50, 99)))


def test_two_values_are_binary() -> None:
    data = clean()
    data.change(0, image=(data.cases[0].image > 0).astype(np.uint8))
    assert examine(data, 0).binary
    assert not examine(data, 1).binary

"""CT windows and statistics of a case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from data_adapters.case import Case, check_case
from data_adapters.errors import DataError
from data_adapters.transforms.intensity import Normalize, Windows
from data_adapters.transforms.region import otsu


def brain(seed: int = 1, *, scale: float = 1.0) -> Case:
    """Noise around 300 in a dark surround, two channels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(10, 3, (12, 14, 16, 2))
    image[3:9, 3:11, 4:12] += rng.normal(300, 40, (6, 8, 8, 2))
    return Case((image * scale).astype(np.float32), "c")


def head() -> np.ndarray:
    """Where it is bright."""
    inside = np.zeros((12, 14, 16), bool)
    inside[3:9, 3:11, 4:12] = True
    return inside


def test_windows_are_channels() -> None:
    values = np.array([-2000, -160, 40, 140, 240, 3000], np.float32).reshape(1, 2, 3, 1)
    done, _ = Windows(((40.0, 400.0), (-600.0, 1500.0))).apply(Case(values, "c"))
    check_case(done)
    assert done.image.shape == (1, 2, 3, 2)
    np.testing.assert_allclose(done.image[..., 0].ravel(), [0, 0, 0.5, 0.75, 1, 1], atol=1e-6)
    expected = np.clip((values.ravel() + 1350) / 1500, 0, 1)
    np.testing.assert_allclose(done.image[..., 1].ravel(), expected, atol=1e-6)
    with pytest.raises(DataError, match="one channel"):
        Windows().apply(done)
    for bad in ((), ((40.0, 0.0),), ((40.0,),), 40, ((40.0, np.nan),)):
        with pytest.raises(DataError, match="windows"):
            Windows(bad)


@pytest.mark.parametrize("region", ["image", "foreground"])
def test_zscore_of_the_region(region: str) -> None:
    done, undo = Normalize("zscore", region=region, low=0, high=100).apply(brain())
    inside = head() if region == "foreground" else np.ones((12, 14, 16), bool)
    for c in range(2):
        values = done.image[..., c][inside].astype(np.float64)
        assert abs(values.mean()) < 1e-5
        assert values.std() == pytest.approx(1, abs=1e-5)
    shift, scale = undo.facts["scales"][0]
    np.testing.assert_allclose(
        done.image[..., 0] * scale + shift, brain().image[..., 0], rtol=0, atol=1e-3
    )


def test_the_scale_and_offset_of_a_scanner_do_not_matter() -> None:
    base, _ = Normalize("zscore", region="foreground").apply(brain())
    case = brain(scale=37.0)
    other, _ = Normalize("zscore", region="foreground").apply(
        replace(case, image=case.image - np.float32(900))
    )
    np.testing.assert_allclose(other.image, base.image, atol=2e-3)


def test_percentiles_become_zero_and_one() -> None:
    case = brain()
    done, _ = Normalize("percentile", low=2, high=98).apply(case)
    low, high = np.percentile(case.image[..., 1], (2, 98))
    expected = np.clip((case.image[..., 1] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(done.image[..., 1], expected, atol=1e-5)


def test_a_few_hot_voxels_do_not_decide() -> None:
    case = brain()
    hot = case.image.copy()
    hot[5, 5, 5] = 1.7e6
    base, _ = Normalize("zscore", region="foreground").apply(case)
    done, _ = Normalize("zscore", region="foreground").apply(replace(case, image=hot))
    rest = np.ones(hot.shape[:3], bool)
    rest[5, 5, 5] = False
    assert np.abs(done.image[rest] - base.image[rest]).max() < 0.2


@pytest.mark.parametrize("how", ["zscore", "percentile"])
@pytest.mark.parametrize("region", ["image", "foreground"])
def test_padding_is_left_out_of_statistics(how: str, region: str) -> None:
    case = brain()
    padding = np.zeros((12, 14, 16), bool)
    padding[:, :, 12:] = True
    for value in (-1024.0, 5000.0):
        image = np.where(padding[..., None], value, case.image).astype(np.float32)
        done, _ = Normalize(how, region=region).apply(replace(case, image=image, padding=padding))
        cut, _ = Normalize(how, region=region).apply(
            replace(case, image=case.image[:, :, :12].copy())
        )
        np.testing.assert_allclose(done.image[:, :, :12], cut.image, atol=1e-5)
        lowest = cut.image.min(axis=(0, 1, 2))
        np.testing.assert_allclose(done.image[padding], np.tile(lowest, (padding.sum(), 1)))


def test_statistics_of_what_is_marked() -> None:
    case = replace(brain(), mask=head().astype(np.uint8))
    done, _ = Normalize(region="mask", low=0, high=100).apply(case)
    assert abs(done.image[head()].mean()) < 1e-5
    masks = np.stack([head(), ~head() & False], axis=-1).astype(np.uint8)
    again, _ = Normalize(region="mask", low=0, high=100).apply(
        replace(case, mask=None, masks=masks)
    )
    np.testing.assert_array_equal(again.image, done.image)
    for nothing in ({"mask": None}, {"mask": np.zeros((12, 14, 16), np.uint8)}):
        with pytest.raises(DataError, match="normalize"):
            Normalize(region="mask").apply(replace(case, **nothing))


def test_constant_channels_become_zero() -> None:
    for value in (0.0, 7.0, 1e30):
        case = Case(np.full((3, 4, 5, 1), value, np.float32), "c")
        for how in ("zscore", "percentile"):
            for region in ("image", "foreground"):
                done, _ = Normalize(how, region=region).apply(case)
                assert (done.image == 0).all()
    unmeasured = Case(np.zeros((2, 2, 1), np.uint8), "c", padding=np.ones((2, 2), bool))
    with_one, _ = Normalize().apply(replace(unmeasured, padding=np.eye(2, dtype=bool)))
    assert (with_one.image == 0).all()
    with pytest.raises(DataError, match="no voxel"):
        Normalize().apply(unmeasured)


def test_whole_numbers_are_normalised_as_floats() -> None:
    values = np.random.default_rng(3).integers(0, 65536, (9, 9, 3)).astype(np.uint16)
    done, _ = Normalize(low=0, high=100).apply(Case(values, "c"))
    expected = (values - values.mean(axis=(0, 1))) / values.std(axis=(0, 1))
    np.testing.assert_allclose(done.image, expected, atol=1e-4)


def test_options_that_make_no_sense() -> None:
    for options in ({"how": "minmax"}, {"region": "head"}, {"low": 50, "high": 50}, {"low": -1},
                    {"high": 101}, {"low": np.nan}):  # fmt: skip
        with pytest.raises(DataError, match="normalize"):
            Normalize(**options)


def test_otsu_equals_scikit_image() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.normal(0, 5, 3000), rng.normal(rng.uniform(40, 90), 9, 900)])
        values = np.minimum(values, np.percentile(values, 99.5)).astype(np.float32)
        theirs = threshold_otsu(values, nbins=256)
        # In an empty stretch between dark and bright any threshold divides alike.
        assert ((values > otsu(values)) == (values > theirs)).mean() > 0.999

"""Steps in a row: there, back to the original grid, and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_adapters.case import Case, Geometry, check_case
from data_adapters.errors import DataError
from data_adapters.transforms.base import STEPS, step_from_dict
from data_adapters.transforms.compose import Compose, invert_mask, invert_probabilities
from data_adapters.transforms.guides import Prior, Region
from data_adapters.transforms.intensity import Normalize, Windows
from data_adapters.transforms.layout import Crop, Pad, Reorient
from data_adapters.transforms.resample import Resample
from tests.data_adapters.grids import irregular, regular

EVERY = (
    Region(margin=2.0),
    Crop("body", margin=3.0),
    Resample((1.5, 1.0, 1.0), image="bspline", mask="onehot"),
    Reorient("RAS"),
    Windows(((40.0, 400.0), (0.0, 80.0))),
    Normalize("percentile", region="foreground", low=1.0, high=99.0),
    Prior(high=255.0),
    Pad(size=(8, 8, 8), multiple=(2, 4, 4), value=-1.5),
)
QUICK = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def ball(geometry: Geometry, shape: tuple[int, ...]) -> Case:
    """A bright ball (in voxels, so an ellipsoid in space) and its mask."""
    away = (np.moveaxis(np.indices(shape), 0, -1) - (np.asarray(shape) - 1) / 2) / shape
    apart = np.linalg.norm(away, axis=-1)
    image = 300.0 / (1 + np.exp((apart - 0.3) / 0.04))
    return Case(
        image.astype(np.float32)[..., None],
        "c",
        mask=(apart < 0.3).astype(np.uint8),
        geometry=geometry,
    )


@given(geometry=st.one_of(regular(), irregular(slices=12)), seed=st.integers(0, 2**31))
@QUICK
def test_crop_resample_predict_and_back(geometry: Geometry, seed: int) -> None:
    """What is predicted on the grid of the network comes back on the case's own voxels."""
    rng = np.random.default_rng(seed)
    case = ball(geometry, (12, 14, 16))
    spacing = tuple((np.asarray(geometry.spacing) * rng.uniform(0.5, 1.1, 3)).tolist())
    steps = Compose(
        (
            Crop("body", margin=1.0),
            Resample(spacing),
            Reorient("LPS"),
            Normalize(low=0, high=100),
            Pad(multiple=4),
        )
    )
    done, undos = steps.apply(case)
    check_case(done)
    assert all(n % 4 == 0 for n in done.image.shape[:3])
    shift, scale = undos[3].facts["scales"][0]
    share = np.clip((done.image[..., 0] * scale + shift) / 300, 0, 1).astype(np.float32)
    back = invert_probabilities(np.stack([1 - share, share], axis=-1), undos)
    assert back.shape == (12, 14, 16, 2)
    assert undos[0].before.geometry == geometry
    # Between slices a millimetre apart a grid of three millimetres loses something.
    least = 0.75 if geometry.positions else 0.9
    marked, truth = back.argmax(axis=-1) == 1, case.mask == 1
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) > least
    mask = invert_mask((share > 0.5).astype(np.uint8), undos)
    assert mask.shape == (12, 14, 16)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > least - 0.2
    assert (case.image == ball(geometry, (12, 14, 16)).image).all(), "the case itself is untouched"


def test_without_resampling_the_way_back_is_exact() -> None:
    rng = np.random.default_rng(4)
    axes = ((0.0, 0.6, 0.8), (0.0, 0.8, -0.6), (-1.0, 0.0, 0.0))
    case = Case(
        rng.normal(size=(7, 8, 9, 1)).astype(np.float32),
        "c",
        mask=rng.integers(0, 4, (7, 8, 9)).astype(np.uint8),
        geometry=Geometry((3.0, 0.5, 0.7), (1, 2, 3), axes),
    )
    done, undos = Compose((Reorient("RAS"), Pad(multiple=8), Normalize())).apply(case)
    np.testing.assert_array_equal(invert_mask(done.mask, undos), case.mask)
    shares = rng.dirichlet([1] * 4, done.image.shape[:3]).astype(np.float32)
    back = invert_probabilities(shares, undos)
    np.testing.assert_array_equal(back.argmax(-1), invert_mask(shares.argmax(-1), undos))


def test_every_step_is_json_and_comes_back_equal() -> None:
    steps = Compose(EVERY)
    text = json.dumps(steps.to_dicts())
    again = Compose.from_dicts(json.loads(text))
    assert again == steps
    assert json.dumps(again.to_dicts()) == text
    assert {step.name for step in EVERY} == set(STEPS)
    defaults = [step_from_dict({"step": name}).to_dict() for name in set(STEPS) - {"resample"}]
    assert all(len(step) > 1 for step in defaults)


def test_two_reads_of_one_chain_give_one_result() -> None:
    case = ball(Geometry((2.0, 1.0, 1.0), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0))), (9, 9, 9))
    led = {"masks": case.mask[..., None], "mask": None, "meta": {"region": (2, 2, 2, 7, 7, 7)}}
    case = replace(case, **led)
    first, _ = Compose(EVERY).apply(case)
    again, _ = Compose.from_dicts(json.loads(json.dumps(Compose(EVERY).to_dicts()))).apply(case)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.image.shape[-1] == 3


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"step": "resampel"}, "did you mean 'resample'"),
        ({"step": 3}, "unknown step"),
        ({}, "unknown step"),
        ({"step": "resample"}, "wants options spacing"),
        ({"step": "resample", "spacing": [1, 1], "imag": "linear"}, "did you mean 'image'"),
        ({"step": "crop", "to": ["body"]}, "must be one of"),
        ({"step": "windows", "windows": [[40, 400], 3]}, "must be numbers"),
        ({"step": "pad", "value": "zero"}, "must be numbers"),
        ({"step": "normalize", "low": "1"}, "must be numbers"),
        ({"step": "normalize", "low": True}, "must be numbers"),
        ({"step": "reorient", "to": None}, "letters"),
    ],
)
def test_steps_that_do_not_fit(step: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Compose.from_dicts([step])


def test_predictions_of_another_size_or_class_are_refused() -> None:
    case = Case(np.zeros((4, 4, 4, 1), np.float32), "c")
    done, undos = Compose((Pad(multiple=8), Normalize())).apply(case)
    with pytest.raises(DataError, match="on a grid of"):
        invert_mask(np.zeros((4, 4, 4), np.uint8), undos)
    shares = np.zeros((*done.image.shape[:3], 2), np.float32)
    with pytest.raises(DataError, match="none of 2 classes"):
        invert_probabilities(shares, undos, background=2)
    assert Compose().apply(case)[0] is case
    assert replace(case).image is case.image

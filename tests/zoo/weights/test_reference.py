"""The reference image is the documented one, and its values notice what they must."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.errors import WeightsMismatchError
from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights import reference
from zoo.weights.files import read_layers
from zoo.weights.finding import FoundWeights, find_weights
from zoo.weights.reference import check_reference, features_of, measure, reference_image
from zoo.weights.sets import WeightSet


def _value(c: int, z: int, y: int, x: int, shape: tuple[int, int, int]) -> int:
    """The formula again, on Python's integers."""
    depth, height, width = shape
    h = (((c * depth + z) * height + y) * width + x) * 2654435761 % 2**32
    h ^= h >> 15
    h = h * 2246822519 % 2**32
    h ^= h >> 13
    return (5 * y + 3 * x + 7 * z + 67 * c) % 192 + h % 64


def test_the_image_is_that_of_the_formula() -> None:
    flat, deep = reference_image(), reference_image(1, dims=3)
    assert flat.shape == (96, 96, 3)
    assert deep.shape == (32, 64, 64, 1)
    assert flat.dtype == deep.dtype == "float32"
    rng = np.random.default_rng(0)
    for c, y, x in rng.integers(0, (3, 96, 96), (200, 3)):
        assert flat[y, x, c] == _value(int(c), 0, int(y), int(x), (1, 96, 96))
    for z, y, x in rng.integers(0, (32, 64, 64), (200, 3)):
        assert deep[z, y, x, 0] == _value(0, int(z), int(y), int(x), (32, 64, 64))


def test_grey_is_the_first_colour() -> None:
    assert np.array_equal(reference_image(1), reference_image(3)[..., :1])


def test_values_are_signed_means() -> None:
    top = np.random.default_rng(1).normal(size=(1, 2, 5, 30))
    means = top.mean(axis=(0, 1, 2))
    signs = [-1 if (c + 1) * 5 * 2654435761 % 2**32 >= 2**31 else 1 for c in range(30)]
    assert -20 < sum(signs) < 20
    assert features_of(top)[2] == pytest.approx(np.dot(signs, means) / 30, rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        pytest.param("efficientnet_lite1", marks=pytest.mark.big),
        pytest.param("efficientnet_lite2", marks=pytest.mark.big),
    ],
)
def test_packaged_weights_give_what_their_authors_network_gave(name: str) -> None:
    spec = get_spec(name)
    found = find_weights(spec, "imagenet")
    assert found is not None
    values = check_reference(spec, found, what=name)
    assert spec.weights[0].reference is not None
    np.testing.assert_allclose(values, spec.weights[0].reference, rtol=0, atol=2e-6)


def test_one_scaled_middle_kernel_is_noticed(own_set: WeightSet, tiny: BackboneSpec) -> None:
    layers = read_layers(own_set.path)
    layers["block3_dwconv"] = [1.02 * layers["block3_dwconv"][0]]
    found = FoundWeights(path=None, weight=own_set.manifest.weight(), layers=layers)
    with pytest.raises(WeightsMismatchError, match=r"mine give .* as reference value"):
        check_reference(tiny, found, what="mine")


def test_not_a_number_is_noticed() -> None:
    with pytest.raises(WeightsMismatchError, match="give nan as reference value 1"):
        reference.check_values([1.0, float("nan")], [1.0, 2.0], what="x")


def test_what_was_measured_at_import_is_measured_again(
    own_set: WeightSet, tiny: BackboneSpec
) -> None:
    found = find_weights(tiny, "mygroup")
    assert found is not None
    assert measure(tiny, found) == own_set.manifest.reference

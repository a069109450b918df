"""The machinery that all converters share: tensors taken once, and layouts told apart."""

from __future__ import annotations

import types

import numpy as np
import pytest

from zoo.errors import WeightsMismatchError
from zoo.weights import converters
from zoo.weights.converters import Layout, State, detect


def test_kernels_turn_into_keras_axis_order() -> None:
    rng = np.random.default_rng(0)
    flat, deep = rng.normal(size=(6, 2, 3, 3)), rng.normal(size=(6, 4, 3, 5, 7))
    state = State(
        {"a.weight": flat, "a.bias": np.arange(6.0), "b.weight": deep, "c.weight": flat[:, :1]}
    )
    kernel, bias = state.conv("a", 4, 6, 3, bias=True, groups=2)
    assert kernel.dtype == "float32"
    assert bias.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(kernel[2, 1, 1, 5], flat[5, 1, 2, 1], rtol=1e-6)
    np.testing.assert_allclose(
        state.conv("b", 4, 6, (3, 5, 7))[0][2, 1, 6, 3, 5], deep[5, 3, 2, 1, 6], rtol=1e-6
    )
    np.testing.assert_allclose(state.depthwise("c", 6, 3)[0][2, 1, 5, 0], flat[5, 0, 2, 1])
    state.finish()


def test_another_epsilon_goes_into_gamma() -> None:
    rng = np.random.default_rng(1)
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = [rng.uniform(1e-6, 1e-4, 5) for _ in names]
    state = State({f"n.{name}": array for name, array in zip(names, arrays, strict=True)})
    gamma, beta, mean, variance = state.norm("n", 5, epsilon=1e-5, ours=1e-3)
    x = rng.normal(size=5)
    wanted = arrays[0] * (x - arrays[2]) / np.sqrt(arrays[3] + 1e-5) + arrays[1]
    np.testing.assert_allclose(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, wanted, 1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "'x.pth' has no tensor 'a.weight'"), (("a.weight",), r"shape \(2, 2\), not \(2, 3\)")],
)
def test_what_is_missing_or_misshapen_is_named(names: tuple[str, ...], message: str) -> None:
    state = State({name: np.zeros((2, 2)) for name in names}, "x.pth")
    with pytest.raises(WeightsMismatchError, match=message):
        state.dense("a", 3, 2)


def test_leftovers_are_named_and_counters_are_not() -> None:
    state = State({"a.num_batches_tracked": np.zeros(()), "fc.weight": np.zeros(1)}, "x.pth")
    with pytest.raises(WeightsMismatchError, match=r"1 tensors too many, among them 'fc\.weight'"):
        state.finish()
    state.drop("fc")
    state.finish()


def _family(found: Layout | None) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        SIGNS=("stem.0.weight|first", "a.b"), recognise=lambda tensors: found
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no tensors"),
        (("other",), "none of its 1 tensors .the first is 'other'."),
        (("a.b", "stem.weight"), r"'known'.*'stem.0.weight' or 'first' .it has 'stem.w"),
        (("a.b", "first"), "resembles the family 'known', but its widths"),
    ],
)
def test_an_unknown_layout_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(converters, "FAMILIES", ("known",))
    monkeypatch.setattr(converters, "family_module", lambda name: _family(None))
    with pytest.raises(WeightsMismatchError, match=message):
        detect({name: np.zeros(1) for name in names})

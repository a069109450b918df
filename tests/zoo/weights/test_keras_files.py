"""Which of a file's layers belong to a network: names, order, tops, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.errors import WeightsMismatchError
from zoo.weights.keras_files import Matched, PlannedLayer, match_layers

PLAN = (
    PlannedLayer(name="conv2d", shapes=((3, 3, 1, 2), (2,))),
    PlannedLayer(name="conv2d_1", shapes=((3, 3, 2, 2), (2,))),
    PlannedLayer(name="stage/bn".replace("/", "_"), shapes=((2,), (2,))),
)
HEAD = {"dense": [np.zeros((2, 4)), np.zeros(4)]}


def stored(*names: str) -> dict[str, list[np.ndarray]]:
    """Arrays of the planned shapes, marked by their rank."""
    return {
        name: [np.full(shape, rank, "float32") for shape in layer.shapes]
        for rank, (name, layer) in enumerate(zip(names, PLAN, strict=True))
    }


def match(file: dict[str, list[np.ndarray]], *, ordered: bool = True) -> Matched:
    return match_layers(
        file, PLAN, automatic={"conv2d"}, ordered=ordered, source="'x.h5'", network="net"
    )


def marks(found: Matched) -> dict[str, float]:
    return {name: float(arrays[0].flat[0]) for name, arrays in found.layers.items()}


def test_automatic_names_go_by_creation_not_by_place() -> None:
    file = stored("conv2d_99", "conv2d_100", "stage/bn")
    shuffled = {name: file[name] for name in ("stage/bn", "conv2d_100", "conv2d_99")}
    assert marks(match({**shuffled, **HEAD}, ordered=False)) == {
        "conv2d": 0,
        "conv2d_1": 1,
        "stage_bn": 2,
    }
    assert match({**shuffled, **HEAD}).top == ("dense",)


def test_other_names_go_by_order() -> None:
    found = match({**stored("a", "b", "c"), **HEAD})
    assert marks(found) == {"conv2d": 0, "conv2d_1": 1, "stage_bn": 2}
    assert found.top == ("dense",)
    with pytest.raises(WeightsMismatchError, match=r"3 layers missing \(conv2d, conv2d_1, stage"):
        match(stored("a", "b", "c"), ordered=False)


def test_a_larger_network_is_not_a_network_with_a_top() -> None:
    file = stored("conv2d", "conv2d_1", "stage_bn") | {"conv2d_2": [np.zeros((3, 3, 2, 2))]}
    with pytest.raises(
        WeightsMismatchError, match=r"'x.h5' does not fit 'net': 1 layers left over"
    ):
        match(file)


def test_misfits_are_named() -> None:
    file = stored("conv2d", "conv2d_1", "stage_bn")
    del file["conv2d_1"]
    file["stage_bn"] = [np.zeros(3), np.zeros(3)]
    with pytest.raises(WeightsMismatchError) as caught:
        match(file)
    assert "1 layers missing (conv2d_1)" in str(caught.value)
    assert "stage_bn ((3,), (3,)) for ((2,), (2,))" in str(caught.value)

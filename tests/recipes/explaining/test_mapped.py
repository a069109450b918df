"""Maps in the report: over the pictures that may be shown, of the class that was answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from recipes.classification.mapped import Maps
from recipes.classification.thumbnails import Thumbnails
from recipes.explaining.cam import class_activation
from recipes.explaining.network import Explained
from recipes.report.cases import mistakes
from tests.recipes.explaining.nets import SIDE, classifier
from tests.recipes.report_inputs import binary


def thumbnails(images: np.ndarray, pictures: Any) -> Thumbnails:
    index = [SimpleNamespace(case_id=f"c{i}") for i in range(len(images))]
    prepared: Any = SimpleNamespace(
        adapter=SimpleNamespace(index=index), decoded=SimpleNamespace(images=images),
        input_range=(-2.0, 2.0),
    )  # fmt: skip
    return Thumbnails(prepared, pictures)


def test_the_brightest_place_is_the_maps() -> None:
    images = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 2)).astype(np.float32)
    images[:] = images[..., :1]  # both channels alike, so that grey is grey
    model = classifier()
    shown = thumbnails(images[..., :1], "yes")
    shown.stored = lambda case_id: images[int(case_id[1:])]  # type: ignore[method-assign]
    maps = Maps(shown, lambda: model, 3)
    for k in range(3):
        weights = np.eye(3, dtype=np.float32)[k : k + 1]
        heat = class_activation(Explained(model), images[1:], weights)[0]
        found = maps("c1", k)
        assert found is not None
        assert found.shape == (SIDE, SIDE, 3)
        colour = found.astype(int).max(axis=-1) - found.astype(int).min(axis=-1)
        if heat.max() > 0:
            assert (colour[heat <= 0] == 0).all(), "grey where nothing speaks for the class"
            assert colour[heat > 0.5 * heat.max()].min() > 20
    assert not np.array_equal(maps("c1", 0), maps("c1", 1))


def test_no_map_where_no_picture_may_be_shown_or_the_network_has_none() -> None:
    images = np.zeros((1, SIDE, SIDE, 2), np.float32)
    opened = []
    maps = Maps(thumbnails(images, "no"), lambda: opened.append(1), 3)  # type: ignore[arg-type]
    assert maps("c0", 0) is None
    assert opened == []
    image = keras.Input((SIDE, SIDE, 2))
    flat = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(image)))
    assert Maps(thumbnails(images, "yes"), lambda: flat, 3)("c0", 0) is None


def test_mistakes_are_mapped_for_the_class_that_was_answered() -> None:
    asked: dict[str, int] = {}

    def maps(case: str, k: int) -> np.ndarray:
        asked[case] = k
        return np.zeros((4, 4, 3), np.uint8)

    inputs = binary(maps=maps)
    groups = mistakes(inputs)
    cards = [card for group in groups for card in group["cards"]]
    assert cards
    assert all(card["map"].startswith("data:image/png") for card in cards)
    rows = {case: i for i, case in enumerate(inputs.case_ids)}
    assert all(k == int(inputs.prob[rows[case]].argmax()) for case, k in asked.items())
    assert all(k != inputs.y[rows[case]] for case, k in asked.items())
    assert [card["map"] for group in mistakes(binary()) for card in group["cards"]] == [None] * len(
        cards
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)

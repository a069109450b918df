"""What is compiled after some uses gives what was given before."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.explaining.gradients import Rectify
from recipes.explaining.network import OFTEN, Explained
from tests.recipes.explaining.nets import classifier, images, one_hot


@pytest.mark.parametrize("rectify", [None, "guided"])
def test_the_tenth_use_gives_what_the_first_gave(rectify: Rectify | None) -> None:
    network = Explained(classifier())
    x = images(network.model)
    uses = [network.gradients(x, one_hot(1), rectify=rectify) for _ in range(OFTEN + 2)]
    for scores, _, (gradient,) in (uses[-1], uses[-3]):
        assert np.allclose(scores, uses[0][0], atol=1e-6)
        assert np.allclose(gradient, uses[0][2][0], atol=1e-6)
    # weights of the moment, not of the moment of compiling
    kernel, bias = network.model.get_layer("logits").get_weights()
    network.model.get_layer("logits").set_weights([kernel, bias + 1])
    moved = network.gradients(x, one_hot(1), rectify=rectify)[0]
    assert np.allclose(moved, uses[0][0] + 1, atol=1e-5)
    assert network._compiled

"""What the networks of this package share: a loss of their own in the place of Keras'."""

from __future__ import annotations

from typing import Any

import keras


class Learner(keras.Model):
    """A model around a network, with a loss made of its inputs and outputs."""

    def __init__(self, network: keras.Model, *, name: str) -> None:
        """Keep the network, which is trained in place."""
        super().__init__(name=name)
        self.network = network

    def loss_of(self, x: Any, y: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar; every subclass has its own.

        Args:
            x: Inputs.
            y: Targets; None where there are none.
            y_pred: What `call` made of the inputs.
        """
        raise NotImplementedError

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """`loss_of`, as Keras asks for it."""
        return self.loss_of(x, y, y_pred)

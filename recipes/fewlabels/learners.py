"""The networks of self-supervised pretraining, each with its loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import zoo
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.learning import Learner
from recipes.fewlabels.losses import masked_error, nt_xent, regression_loss
from recipes.fewlabels.rebuilding import rebuilder
from zoo.finetune.optimizer import averages
from zoo.heads import create_model
from zoo.weights.loading import weighted_layers


class SimCLR(Learner):
    """Two views of each case are to be found by each other (arXiv:2002.05709)."""

    def __init__(self, network: keras.Model, *, temperature: float) -> None:
        """Keep the network from pictures to embeddings, and the temperature."""
        super().__init__(network, name="simclr")
        self.temperature = temperature
        self.built = True

    def call(self, views: Any, training: bool | None = None) -> Any:
        """Embeddings of both views, one behind the other."""
        return self.network(keras.ops.concatenate(views, axis=0), training=training)

    def loss_of(self, x: Any, y: Any, y_pred: Any) -> Any:
        """NT-Xent of the batch."""
        count = keras.ops.shape(x[0])[0]
        return nt_xent(y_pred[:count], y_pred[count:], temperature=self.temperature)


class BYOL(Learner):
    """One view predicts what a moving average of the network makes of the other one.

    Grill et al. 2020, arXiv:2006.07733. The target network is the optimizer's moving average of
    the weights, so that a checkpoint holds it.
    """

    def __init__(self, network: keras.Model, *, hidden: int) -> None:
        """Keep the network and put a predictor of one hidden layer behind it."""
        super().__init__(network, name="byol")
        dims = int(network.output.shape[-1])
        z = keras.Input((dims,), name="embedding_in")
        x = keras.layers.Dense(hidden, name="predictor_hidden")(z)
        x = keras.layers.BatchNormalization(name="predictor_norm")(x)
        x = keras.layers.ReLU(name="predictor_relu")(x)
        x = keras.layers.Dense(dims, name="prediction")(x)
        behind = keras.Model(z, x, name="predictor")
        self.online = keras.Model(network.input, behind(network.output), name="online")
        self.built = True

    def call(self, views: Any, training: bool | None = None) -> Any:
        """Predictions from both views, one behind the other."""
        return self.online(keras.ops.concatenate(views, axis=0), training=training)

    def loss_of(self, x: Any, y: Any, y_pred: Any) -> Any:
        """Distance of each prediction from the target's embedding of the other view."""
        ops = keras.ops
        first = ops.equal(self.optimizer.iterations, 0)  # there is no average yet
        pairs = [(own, ops.where(first, own, mean)) for own, mean in averages(self.optimizer)]
        swapped = ops.concatenate([x[1], x[0]], axis=0)
        with keras.StatelessScope(state_mapping=pairs):
            target = self.network(swapped, training=True)
        return regression_loss(y_pred, ops.stop_gradient(target))


class Masked(Learner):
    """Hidden patches are to be rebuilt from the others (SimMIM, arXiv:2111.09886).

    Of pictures, or of volumes: ``(B, *sides, C)`` has two or three sides.
    """

    def __init__(self, network: keras.Model, *, input_range: tuple[float, float]) -> None:
        """Keep the network from pictures to pictures in 0-1, and the values' range."""
        super().__init__(network, name="masked")
        self.input_range = input_range
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Pictures ``(B, *sides, C)`` in 0-1 from those with grey patches."""
        pictures, hidden = inputs
        grey = 0.5 * sum(self.input_range)
        return self.network(pictures * (1.0 - hidden) + grey * hidden, training=training)

    def loss_of(self, x: Any, y: Any, y_pred: Any) -> Any:
        """Mean absolute error over the hidden pixels, of values scaled to 0-1."""
        low, high = self.input_range
        pictures = keras.ops.clip((x[0] - low) / (high - low), 0.0, 1.0)
        return masked_error(pictures, y_pred, x[1])


def make_learner(
    config: PretrainConfig, input_shape: tuple[int, ...], input_range: tuple[float, float]
) -> keras.Model:
    """Build the network of a method, its backbone with the weights it starts from.

    Args:
        config: The configuration.
        input_shape: ``(H, W, C)``; ``(D, H, W, C)`` for ``masked`` on volumes.
        input_range: Modality units that map to 0-255.

    Raises:
        ZooError: The backbone or its weights are not to be had, or the input is too small.
    """
    weights = None if config.model.weights == "none" else config.model.weights
    if config.method == "masked":
        network = rebuilder(
            config.model.backbone,
            input_shape,
            input_range,
            weights=weights,
            level=config.model.level,
        )
        return Masked(network, input_range=input_range)
    network = create_model(
        config.model.backbone,
        input_shape=input_shape,
        classes=config.model.dims,
        weights=weights,
        dropout=0.0,
        input_range=input_range,
        hidden=config.model.hidden,
        task="embedding",
    )
    if config.method == "simclr":
        return SimCLR(network, temperature=config.train.temperature)
    return BYOL(network, hidden=config.model.hidden)


def watching(learner: keras.Model) -> keras.Model:
    """From pictures to the pooled top features ``(B, f)`` and the embeddings ``(B, d)``.

    Where a method has no embedding, the features stand in for it.
    """
    network = learner.network
    if isinstance(learner, Masked):
        pooled = network.pooled
        return keras.Model(pooled.input, [pooled.output, pooled.output], name="watching")
    features = network.get_layer("pool").output
    return keras.Model(network.input, [features, network.output], name="watching")


def bare_backbone(learner: keras.Model, backbone: str, input_shape: tuple[int, ...]) -> keras.Model:
    """The backbone alone, as ``zoo.create_backbone`` builds it, with the learner's weights.

    Args:
        learner: What was trained.
        backbone: Its backbone's name.
        input_shape: ``(H, W, C)`` or ``(D, H, W, C)``.
    """
    bare = zoo.create_backbone(
        backbone, input_shape=input_shape, weights=None, dims=len(input_shape) - 1
    )
    trained = {layer.name: layer for layer in learner._flatten_layers()}
    for name in weighted_layers(bare):
        bare.get_layer(name).set_weights(trained[name].get_weights())
    return bare


def hidden_patches(
    rng: np.random.Generator,
    shape: Sequence[int],
    *,
    patches: int | Sequence[int],
    share: float,
) -> npt.NDArray[np.float32]:
    """Draw patches to hide.

    Args:
        rng: Source of the draw.
        shape: Sides of the picture or volume.
        patches: Patches along each side, one number for all or one for each.
        share: Share of them that is hidden; at least one is, and at least one is not.

    Returns:
        ``(*shape, 1)``, 1 where a pixel or voxel is hidden.
    """
    counts = (patches,) * len(shape) if isinstance(patches, int) else tuple(patches)
    total = math.prod(counts)
    count = min(max(1, round(share * total)), total - 1)
    grid = np.zeros(total, "float32")
    grid[rng.permutation(total)[:count]] = 1.0
    places = [np.arange(side) * n // side for side, n in zip(shape, counts, strict=True)]
    return grid.reshape(counts)[np.ix_(*places)][..., None]

"""Networks of the textbooks, trained from scratch: multilayer perceptron, LeNet-5, AlexNet.

They show what depth and pretraining add, and serve as small baselines. All take modality values
within ``input_range``, which is brought to [0, 1] inside, and give float32 logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from zoo.errors import ZooError

Range = tuple[float, float]


def multilayer_perceptron(
    *,
    input_shape: Sequence[int],
    classes: int,
    hidden: Sequence[int] = (128, 64),
    dropout: float = 0.0,
    input_range: Range = (0.0, 255.0),
) -> keras.Model:
    """Build a perceptron with hidden layers (ReLU); neighbourhood of pixels means nothing to it.

    Args:
        input_shape: ``(height, width, channels)``, or any other fixed shape.
        classes: Number of logits.
        hidden: Units of the hidden layers; none is logistic regression.
        dropout: Rate behind every hidden layer, in [0, 1).
        input_range: Lower and upper bound of the input.

    Returns:
        A model ``multilayer_perceptron`` from ``image`` to ``logits`` ``(batch, classes)``.

    Raises:
        ZooError: For arguments out of range.
    """
    image, x = _input(input_shape, classes, input_range, minimum=1)
    if any(units < 1 for units in hidden) or not 0.0 <= dropout < 1.0:
        raise ZooError(
            f"hidden {tuple(hidden)} must be 1 or more each, dropout {dropout} in [0, 1)"
        )
    x = layers.Flatten(name="flatten")(x)
    for i, units in enumerate(hidden, 1):
        x = layers.Dense(units, activation="relu", name=f"hidden{i}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return _model(image, x, classes, "multilayer_perceptron")


def lenet5(
    *,
    input_shape: Sequence[int] = (32, 32, 1),
    classes: int = 10,
    activation: str = "tanh",
    input_range: Range = (0.0, 255.0),
) -> keras.Model:
    """Build LeNet-5 (LeCun et al., Proc. IEEE 1998;86(11):2278-2324) in its common variant.

    61,706 parameters for 32 x 32 digits. The paper's own has 60,000 before its output: there C3
    sees some of the six maps only (1,516 instead of 2,416), subsampling has a learned scale and
    shift (44), and the output is a radial basis function with fixed codes instead of a dense
    layer (850).

    Args:
        input_shape: ``(height, width, channels)``, at least 16 a side.
        classes: Number of logits.
        activation: ``"tanh"`` as in 1998, ``"relu"``, or another Keras name.
        input_range: Lower and upper bound of the input.

    Returns:
        A model ``lenet5`` from ``image`` to ``logits`` ``(batch, classes)``; its layers bear the
        paper's names ``c1, s2, c3, s4, c5, f6``.

    Raises:
        ZooError: For arguments out of range.
    """
    image, x = _input(input_shape, classes, input_range, minimum=16, rank=3)
    x = layers.Conv2D(6, 5, activation=activation, name="c1")(x)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation=activation, name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, activation=activation, name="c5")(x)
    x = layers.Dense(84, activation=activation, name="f6")(x)
    return _model(image, x, classes, "lenet5")


def alexnet(
    *,
    input_shape: Sequence[int] = (227, 227, 3),
    classes: int = 1000,
    groups: int = 2,
    norm: str = "none",
    width: float = 1.0,
    dropout: float = 0.5,
    input_range: Range = (0.0, 255.0),
) -> keras.Model:
    """Build AlexNet (Krizhevsky et al., NIPS 2012) in the sizes of its paper.

    60,965,224 parameters with the paper's two groups, 62,378,344 with one. Local response
    normalisation has no built-in layer and is left out: it has no parameters, and was found not to
    help (Simonyan and Zisserman, arXiv:1409.1556, section 2.3). ``norm="batch"`` puts a
    BatchNorm in its two places.

    Args:
        input_shape: ``(height, width, channels)``, at least 67 a side. The paper's 224 gives its
            55 x 55 maps with a border only; 227 gives them without.
        classes: Number of logits.
        groups: Groups of the second, fourth and fifth convolution: 2 as on the paper's two GPUs,
            or 1.
        norm: ``"none"`` or ``"batch"``.
        width: Factor on the channels and hidden units, for small training sets.
        dropout: Rate before each hidden layer, in [0, 1).
        input_range: Lower and upper bound of the input.

    Returns:
        A model ``alexnet`` from ``image`` to ``logits`` ``(batch, classes)``.

    Raises:
        ZooError: For arguments out of range.
    """
    image, x = _input(input_shape, classes, input_range, minimum=67, rank=3)
    if groups not in (1, 2) or norm not in ("none", "batch") or not width > 0:
        raise ZooError(
            f"groups {groups} must be 1 or 2, norm {norm!r} 'none' or 'batch', width {width} "
            "above 0"
        )
    if not 0.0 <= dropout < 1.0:
        raise ZooError(f"dropout is {dropout}; it must lie in [0, 1)")

    def channels(count: int) -> int:
        return max(2, 2 * round(count * width / 2))

    def convolution(index: int, count: int, size: int, **options: Any) -> Any:
        return layers.Conv2D(
            channels(count), size, activation="relu", name=f"conv{index}", **options
        )

    def reduced(x: keras.KerasTensor, index: int) -> keras.KerasTensor:
        if norm == "batch" and index < 3:
            x = layers.BatchNormalization(name=f"norm{index}")(x)
        return layers.MaxPooling2D(3, strides=2, name=f"pool{index}")(x)

    x = reduced(convolution(1, 96, 11, strides=4)(x), 1)
    x = reduced(convolution(2, 256, 5, padding="same", groups=groups)(x), 2)
    x = convolution(3, 384, 3, padding="same")(x)
    x = convolution(4, 384, 3, padding="same", groups=groups)(x)
    x = reduced(convolution(5, 256, 3, padding="same", groups=groups)(x), 5)
    x = layers.Flatten(name="flatten")(x)
    for index in (6, 7):
        x = layers.Dropout(dropout, name=f"dropout{index}")(x)
        x = layers.Dense(channels(4096), activation="relu", name=f"dense{index}")(x)
    return _model(image, x, classes, "alexnet")


def _input(
    input_shape: Sequence[int],
    classes: int,
    input_range: Range,
    *,
    minimum: int,
    rank: int | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Make the input and bring it to [0, 1]."""
    shape, (low, high) = tuple(input_shape), input_range
    if not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ZooError(f"input_shape {shape} must have fixed sides of 1 or more")
    if rank is not None and len(shape) != rank:
        raise ZooError(f"input_shape {shape} is not (height, width, channels)")
    if min(shape[:-1], default=minimum) < minimum:
        raise ZooError(f"input_shape {shape} is too small: at least {minimum} pixels a side")
    if classes < 1:
        raise ZooError(f"classes is {classes}; a classifier needs at least 1 logit")
    if not low < high:
        raise ZooError(f"input_range {input_range} is empty; give (lower, upper)")
    image = keras.Input(shape, name="image", dtype="float32")
    scale = 1.0 / (high - low)
    return image, layers.Rescaling(scale, offset=-low * scale, name="input_scale")(image)


def _model(image: keras.KerasTensor, x: keras.KerasTensor, classes: int, name: str) -> keras.Model:
    x = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, x, name=name)

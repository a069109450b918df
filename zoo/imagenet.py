"""The 1000-class ImageNet classifier whose head comes with the packaged weights."""

from __future__ import annotations

import keras

from zoo.architectures.lite_plan import IMAGENET_CLASSES
from zoo.backbones import create_backbone
from zoo.weights.lite import TOP_LAYER, lite_weights


def imagenet_classifier(
    name: str, *, input_shape: tuple[int | None, int | None, int] = (224, 224, 3)
) -> keras.Model:
    """Build an EfficientNet-Lite with its original classification head.

    Mostly a proof that architecture, preprocessing and weights fit together; any input size
    works, the native one (224, 240, 260) classifies best.

    Args:
        name: ``"efficientnet_lite0"``, ``"efficientnet_lite1"`` or ``"efficientnet_lite2"``.
        input_shape: ``(height, width, channels)``, None for sides that vary.

    Returns:
        A model from ``image`` (0-255 RGB) to ``predictions``: raw float32 logits
        ``(batch, 1000)`` in the order of ILSVRC-2012 (0 = tench, 281 = tabby cat).

    Raises:
        UnknownBackboneError: For a name without a packaged head.
        WeightsNotFoundError: When the package of the weights is not installed.
        ZooError: For an input shape the backbone refuses.
    """
    head = lite_weights(name, include_top=True)[TOP_LAYER]
    backbone = create_backbone(name, input_shape=input_shape)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output["P5"])
    dense = keras.layers.Dense(IMAGENET_CLASSES, dtype="float32", name=TOP_LAYER)
    model = keras.Model(backbone.input, dense(pooled), name=f"{name}_imagenet")
    dense.set_weights(head)
    return model

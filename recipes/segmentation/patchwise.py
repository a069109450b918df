"""Segmentation by a classifier of the centre voxel of patches, slid over a case or made dense.

The way of Ciresan et al. (Deep neural networks segment neuronal membranes, NIPS 2012): patches are
drawn from all classes in turn, a classifier learns the class of their centre, and sliding it over a
case labels every voxel. `whole_case` turns the trained classifier into a fully convolutional
network with the same scores at every voxel, which is what is validated, saved and used; `slide` is
the sliding window that it equals.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.errors import ConfigError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.plan import Network, Plan
from zoo.errors import NotExactError, ZooError
from zoo.patch import patch_classifier, patch_field, to_dense
from zoo.unpadded import patch_backbone

Floats = npt.NDArray[np.float32]

HIDDEN = 64
BODY_SIDE = 97
"""Side of patches for a pretrained body: lite0 sees 91 pixels at stride 8."""
SIDES = {2: 65, 3: 25}
"""Sides of patches: what tells membranes from other edges in the paper is 65 pixels or more."""
WIDTHS = {2: (16, 32, 64), 3: (16, 32)}
BATCH = {2: 32, 3: 16}
_PADDING = {2: keras.layers.ZeroPadding2D, 3: keras.layers.ZeroPadding3D}


def plan_classifier(
    config: SegmentationConfig, patch: tuple[int, ...], why: list[str], *, eight: bool
) -> Network:
    """The plan of a classifier of patches, with as many stages as they hold.

    Args:
        config: What the plan is told.
        patch: Sides.
        why: Takes the reason.
        eight: Whether the chain leaves values at 0 to 255, not 0 to 1.

    Raises:
        ConfigError: Patches are too small for one stage, or volumes for a pretrained body.
    """
    model = config.model
    if model.centre == "backbone":
        if len(patch) != 2:
            raise ConfigError("model.centre=backbone is 2D; the plan is 3D: leave it out")
        why.append(
            f"body {model.backbone} ({model.weights}) to {model.level}, without padding; every "
            "class is at the centre of equally many patches"
        )
        return Network(
            kind="patch",
            backbone=model.backbone,
            level=model.level,
            weights=model.weights,
            input_range=(0.0, 255.0) if eight else (0.0, 1.0),
            deep_supervision=False,
        )
    widths = WIDTHS[len(patch)]
    if config.plan.width != "auto":
        widths = tuple(config.plan.width * 2**k for k in range(len(widths)))
    widths = widths[: _stages(min(patch))]
    if not widths:
        raise ConfigError(
            f"a patch of {' x '.join(map(str, patch))} is too small for a classifier of its "
            "centre: its convolutions take 4 off every side; cases or plan.patch must be larger"
        )
    why.append(
        f"{' and '.join(map(str, widths))} channels; every class is at the centre of equally many "
        "patches"
    )
    return Network(kind="patch", widths=widths, deep_supervision=False)


def check_choices(config: SegmentationConfig) -> None:
    """Refuse what does not go with a classifier of patches.

    Raises:
        ConfigError: Another loss, norm or way to apply it is asked for.
    """
    for key, value, only, why in (
        ("train.loss", config.train.loss, "dice_ce", "it trains with cross-entropy"),
        (
            "train.class_weights",
            config.train.class_weights,
            {},
            "draws all of them equally often, and undoes that in its logits",
        ),
        ("model.norm", config.model.norm, "batch", "its dense form wants BatchNorm"),
        ("evaluate.mode", config.evaluate.mode, "auto", "its dense form is exact in tiles"),
    ):
        if value not in (only, "tiles" if key == "evaluate.mode" else only):
            raise ConfigError(
                f"{key}={value}: model.network=patch classifies single voxels and {why}; leave "
                f"{key} out"
            )


def _stages(side: int) -> int:
    """Stages of two convolutions that a side allows, halved between them."""
    return 0 if side < 5 else 1 + _stages((side - 4) // 2)


def build_classifier(plan: Plan) -> keras.Model:
    """The plan's classifier with new weights: patches to logits ``(batch, classes)``.

    Raises:
        ConfigError: The body cannot do without padding, or patches are too small for it.
    """
    network = plan.network
    if network.backbone is not None:
        try:
            return patch_backbone(
                network.backbone,
                patch_shape=(*plan.patch, plan.channels),
                classes=len(plan.classes),
                level=network.level,
                weights=None if network.weights in (None, "none") else network.weights,
                hidden=HIDDEN,
                input_range=network.input_range,
            )
        except (NotExactError, ZooError) as error:
            raise ConfigError(f"model.centre=backbone: {error}") from error
    return patch_classifier(
        patch_shape=(*plan.patch, plan.channels),
        classes=len(plan.classes),
        widths=plan.network.widths,
        hidden=HIDDEN,
    )


def centre_labels(mask: Any, patch: tuple[int, ...]) -> tuple[Any, Any]:
    """Class of the centre voxel and its weight, 0 where the truth is unknown.

    Args:
        mask: Tensor ``(batch, *patch)`` of classes, -1 unknown.
        patch: Sides; the centre is voxel ``side // 2``.

    Returns:
        Two tensors ``(batch,)``.
    """
    label = mask[(slice(None), *(side // 2 for side in patch))]
    return keras.ops.maximum(label, 0), keras.ops.cast(label >= 0, "float32")


def log_priors(counts: npt.NDArray[Any]) -> Floats:
    """What drawing all classes equally often has added to their logits, negated.

    Adding log(true share / share in training) to the logit of a class gives the posterior under the
    true shares (Saerens et al., Neural Computation 2002).

    Args:
        counts: Voxels of each class in the training cases, the unknown left out.

    Returns:
        ``(K,)`` float32; 0 for a class that the training cases lack.
    """
    true = np.asarray(counts, np.float64) / max(float(np.sum(counts)), 1.0)
    there = true > 0
    return np.where(there, np.log(np.where(there, true, 1) * max(there.sum(), 1)), 0).astype(
        np.float32
    )


def whole_case(classifier: keras.Model, shift: Floats) -> keras.Model:
    """The dense form of a classifier: logits for every voxel, zeros around the case.

    Args:
        classifier: As `build_classifier` gives it, trained.
        shift: Added to the logits, ``(K,)``.

    Returns:
        A functional model with a copy of the weights, from the patch's size (any size is fine) to
        logits of the same grid.
    """
    field = patch_field(classifier)
    dense = to_dense(classifier)
    dims = len(field.patch)
    image = keras.Input(classifier.input_shape[1:], name="image", dtype="float32")
    around = [(c, side - 1 - c) for c, side in zip(field.centre, field.patch, strict=True)]
    padding = _PADDING[dims](tuple(around), name="around")

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if args and args[0] is image and not isinstance(layer, keras.layers.InputLayer):
            return layer(padding(image), *args[1:], **kwargs)
        return layer(*args, **kwargs)

    model = keras.models.clone_model(dense, input_tensors=image, call_function=called)
    refresh(model, classifier, shift)
    return model


def refresh(model: keras.Model, classifier: keras.Model, shift: Floats) -> None:
    """Copy a classifier's weights of the moment into its dense form.

    Args:
        model: As `whole_case` gives it for this classifier.
        classifier: Trained further since.
        shift: As of `whole_case`.
    """
    for own, other in zip(model.weights, classifier.weights, strict=True):
        own.assign(keras.ops.reshape(other, own.shape))
    bias = model.get_layer("logits").bias
    bias.assign_add(shift)


def slide(classifier: keras.Model, image: Floats, *, batch: int = 256) -> Floats:
    """Logits of every voxel, a patch at a time: what `whole_case` gives at once, slowly.

    Args:
        classifier: Patches to logits ``(batch, K)``.
        image: ``(*grid, C)``; zeros are around it.
        batch: Patches a pass.

    Returns:
        float32 ``(*grid, K)``.
    """
    field = patch_field(classifier)
    around = [(c, side - 1 - c) for c, side in zip(field.centre, field.patch, strict=True)]
    padded = np.pad(image, [*around, (0, 0)])
    grid = image.shape[:-1]
    places = itertools.product(*map(range, grid))
    logits = []
    while some := list(itertools.islice(places, batch)):
        patches = np.stack(
            [
                padded[tuple(slice(at, at + n) for at, n in zip(place, field.patch, strict=True))]
                for place in some
            ]
        )
        logits.append(keras.ops.convert_to_numpy(classifier(patches, training=False)))
    return np.concatenate(logits).reshape(*grid, -1).astype(np.float32)

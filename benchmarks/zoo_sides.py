"""One side of ``zoo_speed.py``: a network, its training step and its inference, in one process.

Each builder returns the model of one case on one side; what is timed is the same for all:
``train`` is one step of AdamW on every layer with cross-entropy, BatchNorm updated; ``infer`` is
the model in inference mode from an array in memory to logits in memory, radzoo's after
``zoo.for_inference``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sides import Step, serve

CLASSES = 2
RATE = 1e-4
DECAY = 1e-4
WIDTHS = (16, 32, 64, 128)


@dataclass(frozen=True)
class Case:
    """What a network is fed: sides and channels of the input; ``dense`` labels every voxel."""

    shape: tuple[int, ...]
    dense: bool

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Noise: ``(size, *shape)`` float32 in 0-255, and class numbers."""
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (size, *self.shape)).astype("float32")
        return pixels, rng.integers(0, CLASSES, (size, *(self.shape[:-1] if self.dense else ())))


CASES = {
    "resnet50": Case(shape=(224, 224, 3), dense=False),
    "unet_densenet121": Case(shape=(256, 256, 3), dense=True),
    "unet3d": Case(shape=(64, 64, 64, 1), dense=True),
}


def radzoo_model(case: str) -> Any:
    """radzoo's network, compiled as its recipes compile it."""
    import keras

    keras.utils.set_random_seed(0)
    if case == "resnet50":
        from workers import radzoo_model as classifier

        return classifier("resnet50", CASES[case].shape, batch_norm="train")
    if case == "unet_densenet121":
        from zoo.segmenters import create_segmenter

        return compiled(
            create_segmenter(
                "densenet121", input_shape=CASES[case].shape, classes=CLASSES, weights=None
            )
        )
    from zoo.unets import unet

    return compiled(unet(input_shape=CASES[case].shape, classes=CLASSES, widths=WIDTHS))


def medicai_model(case: str) -> Any:
    """The nearest network of medicai; it has no plain U-Net: its decoder on its own blocks."""
    from medicai import models

    shape = CASES[case].shape
    if case == "resnet50":
        return compiled(
            models.ResNet50(input_shape=shape, num_classes=CLASSES, classifier_activation="linear")
        )
    options: dict[str, Any] = {"num_classes": CLASSES, "classifier_activation": "linear"}
    if case == "unet_densenet121":
        return compiled(models.UNet(encoder_name="densenet121", input_shape=shape, **options))
    return compiled(
        models.UNet(
            encoder=medicai_encoder(shape),
            encoder_depth=3,
            decoder_filters=WIDTHS[2::-1],
            decoder_block_type="upsampling",
            **options,
        )
    )


def medicai_encoder(shape: tuple[int, ...]) -> Any:
    """Contracting path of a U-Net of medicai's own blocks, its levels named as its decoder asks."""
    import keras
    from medicai.layers import ConvBnAct

    image = keras.Input(shape)
    x, levels = image, {}
    for level, width in enumerate(WIDTHS):
        if level:
            x = keras.layers.MaxPooling3D(2)(x)
        for index in range(2):
            block = ConvBnAct(
                filters=width,
                kernel_size=3,
                padding="same",
                normalization="batch",
                activation="relu",
                name=f"level{level}_{index}",
            )
            x = block(x)
        levels[f"P{level}"] = x
    encoder = keras.Model(image, x)
    encoder.pyramid_outputs = levels
    return encoder


def compiled(model: Any) -> Any:
    """Give a Keras model the optimizer and loss that every side has."""
    import keras

    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=RATE, weight_decay=DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def keras_steps(
    model_of: Callable[[str], Any], case: str, size: int
) -> tuple[dict[str, Step], dict[str, Any]]:
    """Steps of a compiled Keras model on TensorFlow."""
    import keras
    import tensorflow as tf

    model = model_of(case)
    pixels, labels = CASES[case].batch(size)
    # The recipes' own loss takes distributions over the classes.
    soft = not CASES[case].dense and model_of is radzoo_model
    x, y = tf.constant(pixels), tf.one_hot(labels, CLASSES) if soft else tf.constant(labels)

    kernels: Callable[[Any], Any] = contextlib.nullcontext
    ready = model
    if model_of is radzoo_model:
        import zoo

        ready = zoo.for_inference(model)  # as the recipes predict
        from recipes.engine.batchnorm import fused_batch_norm as kernels  # the recipes' own loop

    def train() -> float:
        with kernels(model):
            return float(np.mean(model.train_on_batch(x, y)))

    def infer() -> float:
        return float(np.ravel(ready.predict_on_batch(pixels))[0])

    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    if model_of is medicai_model:
        import medicai

        versions = {"medicai": medicai.__version__}
    return {"train": train, "infer": infer}, {"parameters": parameters, "versions": versions}


def torch_model(case: str) -> Any:
    """The same network in PyTorch."""
    from torch_models import Classifier, UNet3D

    if case == "resnet50":
        return Classifier("resnet50", classes=CLASSES, dropout=0.2)
    if case == "unet_densenet121":
        import segmentation_models_pytorch
        from torch import nn

        model = segmentation_models_pytorch.Unet(
            "densenet121", encoder_weights=None, in_channels=3, classes=CLASSES
        )
        # Its last convolution is 3x3, ours 1x1.
        model.segmentation_head[0] = nn.Conv2d(16, CLASSES, 1)
        return model
    return UNet3D(channels=1, widths=WIDTHS, classes=CLASSES)


def monai_model(case: str) -> Any:
    """MONAI's nearest network of its own."""
    from monai.networks import nets
    from torch_models import monai_unet3d

    if case == "resnet50":
        return nets.resnet50(spatial_dims=2, n_input_channels=3, num_classes=CLASSES)
    if case == "unet3d":
        return monai_unet3d(channels=1, widths=WIDTHS, classes=CLASSES)
    raise SystemExit("MONAI has no U-Net on DenseNet121")


def torch_steps(
    model_of: Callable[[str], Any], case: str, size: int, *, channels_last: bool
) -> tuple[dict[str, Step], dict[str, Any]]:
    """Steps of an eager PyTorch model in one of its two memory layouts."""
    import torch

    torch.manual_seed(0)
    pixels, labels = CASES[case].batch(size)
    last = torch.channels_last if pixels.ndim == 4 else torch.channels_last_3d
    layout = last if channels_last else torch.contiguous_format
    model = model_of(case).to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    x = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy()).contiguous(memory_format=layout)
    y = torch.from_numpy(labels)

    def train() -> float:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    def infer() -> float:
        model.eval()
        with torch.inference_mode():
            return float(model(x).flatten()[0])

    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    versions = {"torch": torch.__version__}
    return {"train": train, "infer": infer}, {"parameters": parameters, "versions": versions}


def build(case: str, size: int, threads: int) -> tuple[dict[str, Step], dict[str, Any]]:
    """Dispatch on the side, the script's argument; 0 threads leave the library's own choice."""
    side = sys.argv[1]
    if side in ("radzoo", "medicai"):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if side == "radzoo":
            from recipes.quiet import quiet_backend

            quiet_backend()  # what every command does before Keras loads
        if threads:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        return keras_steps(radzoo_model if side == "radzoo" else medicai_model, case, size)
    import torch

    if threads:
        torch.set_num_threads(threads)
    model_of = monai_model if side.startswith("monai") else torch_model
    return torch_steps(model_of, case, size, channels_last=side.endswith("channels_last"))


if __name__ == "__main__":
    serve(build)

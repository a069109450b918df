"""One side of ``sliding_window.py``: a 3D U-Net of given weights over a volume, in one process.

All sides draw the same weights and volume, so that their logits can be compared. ``predict`` goes
from an array in memory to logits in memory.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from sides import Step, serve

CLASSES = 3
WIDTHS = (16, 32, 64, 128)
OVERLAP = 0.5


def drawn(widths: tuple[int, ...]) -> dict[str, list[np.ndarray]]:
    """Weights by layer of radzoo's U-Net, in Keras' layouts."""
    rng = np.random.default_rng(0)
    weights: dict[str, list[np.ndarray]] = {}

    def block(name: str, inputs: int, outputs: int) -> None:
        for index, channels in ((1, inputs), (2, outputs)):
            scale = np.sqrt(2.0 / (27 * channels))
            weights[f"{name}_{index}_conv"] = [
                rng.normal(size=(3, 3, 3, channels, outputs)) * scale
            ]
            weights[f"{name}_{index}_norm"] = [
                rng.uniform(0.8, 1.2, outputs),
                rng.normal(size=outputs) * 0.1,
                rng.normal(size=outputs) * 0.1,
                rng.uniform(0.8, 1.2, outputs),
            ]

    for level, width in enumerate(widths):
        block(f"encoder_{level}", widths[level - 1] if level else 1, width)
    for level in range(len(widths) - 2, -1, -1):
        inputs, outputs = widths[level + 1], widths[level]
        kernel = rng.normal(size=(2, 2, 2, outputs, inputs)) / np.sqrt(inputs)
        weights[f"decoder_{level}_up"] = [kernel, rng.normal(size=outputs) * 0.1]
        block(f"decoder_{level}", 2 * outputs, outputs)
    head = rng.normal(size=(1, 1, 1, widths[0], CLASSES))
    weights["logits"] = [head, rng.normal(size=CLASSES) * 0.1]
    return {name: [w.astype("float32") for w in each] for name, each in weights.items()}


def volume(side: int) -> np.ndarray:
    """Noise, ``(side, side, side, 1)`` float32."""
    return np.random.default_rng(1).normal(size=(side, side, side, 1)).astype("float32")


def keras_model(patch: int) -> Any:
    """radzoo's U-Net for patches of this side."""
    from zoo.unets import unet

    model = unet(input_shape=(patch, patch, patch, 1), classes=CLASSES, widths=WIDTHS)
    for name, weights in drawn(WIDTHS).items():
        model.get_layer(name).set_weights(weights)
    return model


def torch_model() -> Any:
    """The same U-Net in PyTorch, with the same weights."""
    import torch
    from torch_models import UNet3D

    model = UNet3D(channels=1, widths=WIDTHS, classes=CLASSES).eval()
    weights = drawn(WIDTHS)

    def fill(module: Any, name: str) -> None:
        kernel, *rest = (torch.from_numpy(w) for w in weights[name])
        if isinstance(module, torch.nn.BatchNorm3d):
            bias, module.running_mean, module.running_var = rest
            module.weight.data, module.bias.data, module.eps = kernel, bias, 1e-5
        else:
            module.weight.data = kernel.permute(4, 3, 0, 1, 2).contiguous()
            if rest:
                module.bias.data = rest[0]

    def fill_block(sequence: Any, name: str) -> None:
        parts = [m for m in sequence if not isinstance(m, torch.nn.ReLU)]
        ends = ("1_conv", "1_norm", "2_conv", "2_norm")
        for module, end in zip(parts, ends, strict=True):
            fill(module, f"{name}_{end}")

    for level, sequence in enumerate(model.down):
        fill_block(sequence, f"encoder_{level}")
    levels = range(len(WIDTHS) - 2, -1, -1)
    for level, up, sequence in zip(levels, model.up, model.join, strict=True):
        fill(up, f"decoder_{level}_up")
        fill_block(sequence, f"decoder_{level}")
    fill(model.head, "logits")
    return model


def radzoo_side(mode: str, image: np.ndarray, patch: int) -> Any:
    """radzoo's prediction: whole or in tiles (``auto``), or blended."""
    from recipes.quiet import quiet_backend

    quiet_backend()  # what every command does before Keras loads
    from recipes.segmentation.inference import predict_logits

    model = keras_model(patch)
    return lambda: predict_logits(model, image, patch_size=(patch,) * 3, mode=mode)


def medicai_side(image: np.ndarray, patch: int, batch: int) -> Any:
    """medicai's sliding window over radzoo's network, TensorFlow as its user starts it."""
    from medicai.utils.inference import SlidingWindowInference

    model = keras_model(patch)
    model.compile(jit_compile=False)  # XLA's convolutions are many times slower on a CPU
    predict = SlidingWindowInference(
        model,
        num_classes=CLASSES,
        roi_size=(patch,) * 3,
        sw_batch_size=batch,
        overlap=OVERLAP,
        mode="gaussian",
    )
    return lambda: np.asarray(predict(image[None]))[0]


def monai_side(image: np.ndarray, patch: int, batch: int, *, channels_last: bool) -> Any:
    """MONAI's sliding window over the same network in PyTorch."""
    import torch
    from monai.inferers import sliding_window_inference

    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    model = torch_model().to(memory_format=layout)
    x = torch.from_numpy(np.moveaxis(image, -1, 0)[None].copy()).contiguous(memory_format=layout)

    def predict() -> np.ndarray:
        with torch.inference_mode():
            logits = sliding_window_inference(
                x, (patch,) * 3, batch, model, overlap=OVERLAP, mode="gaussian"
            )
        return np.moveaxis(logits[0].numpy(), 0, -1)

    return predict


def build(
    *, side: int, patch: int, batch: int, threads: int, out: str
) -> tuple[dict[str, Step], dict[str, Any]]:
    """Dispatch on the side, the script's argument; its first logits are written to ``out``."""
    name, image = sys.argv[1], volume(side)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if name.startswith("monai"):
        import monai
        import torch

        versions = {"monai": monai.__version__, "torch": torch.__version__}
        torch.set_num_threads(threads or torch.get_num_threads())
        predict = monai_side(image, patch, batch, channels_last=name.endswith("last"))
    else:
        if name == "medicai":
            import medicai

            versions = {"medicai": medicai.__version__}
            predict = medicai_side(image, patch, batch)
        else:
            predict = radzoo_side("blend" if name.endswith("blend") else "auto", image, patch)
            import keras
            import tensorflow as tf

            versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    logits = predict()
    np.save(out, logits.astype("float32"))
    return {"predict": lambda: float(predict()[0, 0, 0, 0])}, {"versions": versions}


if __name__ == "__main__":
    serve(build)

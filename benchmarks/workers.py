"""Training steps of one side of ``training_step.py``, run in a process of its own.

The talk is that of ``sides.serve``: ``build`` makes a model and reports its trainable parameters
and versions, ``steps`` takes training steps on one fixed batch. A side waits, blocked, while the
other one is timed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from sides import Step, serve

CLASSES = 2
DROPOUT = 0.2
RATE = 1e-4
DECAY = 1e-4


def batch(size: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """One batch of noise: ``(size, side, side, 3)`` float32 in 0-255 and its class numbers."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size, side, side, 3)).astype("float32")
    return pixels, rng.integers(0, CLASSES, size)


def radzoo_model(
    name: str,
    input_shape: tuple[int, int, int],
    *,
    classes: int = CLASSES,
    input_range: tuple[float, float] = (0.0, 255.0),
    batch_norm: str = "frozen",
    head: dict[str, Any] | None = None,
) -> Any:
    """A model compiled as ``radzoo classify fit`` compiles it for its second phase.

    ``head`` holds options of ``zoo.create_model``; None gives the usual head.
    """
    import keras
    import tensorflow as tf

    import zoo
    from recipes.engine.losses import make_loss
    from zoo.finetune import LayerwiseAdamW, rate_multipliers, set_trainable

    keras.utils.set_random_seed(0)
    model = zoo.create_model(
        name,
        input_shape=input_shape,
        classes=classes,
        weights=None,
        input_range=input_range,
        **(head or {"dropout": DROPOUT}),
    )
    spec = zoo.get_spec(name)
    set_trainable(model, spec, stages="all", batch_norm=batch_norm)
    multipliers = rate_multipliers(model, spec, decay=0.7)
    model.compile(
        optimizer=LayerwiseAdamW(learning_rate=RATE, weight_decay=DECAY, multipliers=multipliers),
        loss=make_loss(np.ones(classes, "float32"), task="single"),
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )
    return model


def build_keras(name: str, side: int, size: int, batch_norm: str) -> tuple[Step, dict[str, Any]]:
    """radzoo's side: one call of the compiled training function."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from recipes.quiet import quiet_backend

    quiet_backend()  # what every command does before Keras loads
    import keras
    import tensorflow as tf

    from recipes.engine.batchnorm import fused_batch_norm

    model = radzoo_model(name, (side, side, 3), batch_norm=batch_norm)
    pixels, labels = batch(size, side)
    x, y = tf.constant(pixels), tf.one_hot(labels, CLASSES)

    def step() -> float:
        with fused_batch_norm(model):
            return float(model.train_on_batch(x, y))

    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return step, {"parameters": parameters, "versions": versions}


def build_torch(
    name: str, side: int, size: int, batch_norm: str, *, channels_last: bool
) -> tuple[Step, dict[str, Any]]:
    """The same network and step in PyTorch, eager, in one of its two memory layouts."""
    import torch
    from torch_models import Classifier

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Classifier(name, classes=CLASSES, dropout=DROPOUT).to(device, memory_format=layout)
    model.train()
    if batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
                module.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=DECAY)
    pixels, labels = batch(size, side)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device).contiguous(memory_format=layout)
    y = torch.from_numpy(labels).to(device)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    parameters = sum(p.numel() for p in trained)
    return step, {"parameters": parameters, "versions": {"torch": torch.__version__}}


def build(**request: Any) -> tuple[dict[str, Step], dict[str, Any]]:
    """Dispatch on the side, the script's argument: keras, torch or torch_channels_last."""
    side = sys.argv[1]
    if side == "keras":
        step, about = build_keras(**request)
    else:
        step, about = build_torch(**request, channels_last=side == "torch_channels_last")
    return {"train": step}, about


if __name__ == "__main__":
    serve(build)

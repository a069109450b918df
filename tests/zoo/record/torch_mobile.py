"""Record what PyTorch makes of drawn EfficientNet and ConvNeXt checkpoints; needs torch and timm.

Run from the root of the project: ``python -m tests.zoo.record.torch_mobile``. The checkpoints are
drawn by numpy from the recorded names and shapes, so only those and the outputs are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision

from tests.zoo.weights.converters.drawn import draw, picture

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = ((64, 96), (65, 97))
NETWORKS = {
    "efficientnet_b0_symmetric": lambda: torchvision.models.efficientnet_b0(num_classes=7),
    "convnext_atto": lambda: timm.create_model("convnext_atto", num_classes=7),
}


def main() -> None:
    """Write ``torch_mobile.json`` (names and shapes) and ``torch_mobile.npz`` (outputs)."""
    layouts: dict[str, Any] = {
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "timm": timm.__version__,
        }
    }
    outputs = {}
    for name, make in NETWORKS.items():
        network = make().eval()
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        layouts[name] = shapes
        tensors = draw({key: tuple(shape) for key, shape in shapes.items()}, seed=3)
        network.load_state_dict({key: torch.from_numpy(one) for key, one in tensors.items()})
        features = getattr(network, "features", None) or network.forward_features
        for sides in SIZES:
            x = torch.from_numpy(picture(*sides).transpose(0, 3, 1, 2).copy())
            with torch.no_grad():
                found = features(x).permute(0, 2, 3, 1).numpy()
                # Every fifth channel at every place.
                outputs[f"{name}/{sides[0]}/features"] = found[..., ::5]
                outputs[f"{name}/{sides[0]}/logits"] = network(x).numpy()
    (GOLDEN / "torch_mobile.json").write_text(json.dumps(layouts, separators=(",", ":")) + "\n")
    np.savez_compressed(GOLDEN / "torch_mobile.npz", **outputs)


if __name__ == "__main__":
    main()

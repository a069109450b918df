"""Record what PyTorch makes of narrow networks, for ``test_recorded_torch.py``; needs torch.

Plain, grouped and "D" ResNets come from timm (whose names for the first two are torchvision's), the
rest from torchvision and MONAI. Run from the root of the project:
``python -m tests.zoo.record.torch_networks``.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet as VolumeResNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models import DenseNet
from torchvision.models.vgg import VGG, make_layers

from tests.zoo.weights.converters.recorded import CLASSES, draw, inputs
from tests.zoo.weights.converters.test_against_torch import CASES, dilate

GOLDEN = Path(__file__).parents[1] / "golden"
_NARROW = {"num_classes": CLASSES, "channels": (8, 16, 32, 64)}
_VGG = [4, "M", 6, "M", 8, 8, "M", 10, 10, "M", 12, 12, "M"]


def networks() -> dict[str, Any]:
    """Instantiate the networks that ``recorded.PLANS`` describes."""
    return {
        "resnet": ResNet(BasicBlock, (1, 2, 1, 1), **_NARROW),
        "resnext": ResNet(Bottleneck, (1, 1, 2, 1), cardinality=2, base_width=32, **_NARROW),
        "resnet_d": ResNet(
            Bottleneck, (2, 1, 1, 1), stem_width=32, stem_type="deep", avg_down=True, **_NARROW
        ),
        "densenet": DenseNet(4, (2, 1, 2, 1), 8, num_classes=CLASSES),
        "vgg": _vgg(norm=False),
        "vgg_bn": _vgg(norm=True),
        "medicalnet_a": _medicalnet("basic", [1, 2, 1, 1], "A"),
        "medicalnet_b": _medicalnet("bottleneck", [1, 1, 1, 1], "B"),
    }


def _vgg(*, norm: bool) -> Any:
    network = VGG(make_layers(_VGG, batch_norm=norm), num_classes=CLASSES)
    network.classifier = torch.nn.Identity()  # its dense layers are those of wide networks
    return network


def _medicalnet(block: str, repeats: list[int], shortcut: str) -> Any:
    network = VolumeResNet(
        block,
        repeats,
        [4, 8, 16, 32],
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type=shortcut,
        feed_forward=False,
        bias_downsample=False,
    )
    for stage, dilation in ((network.layer3, 2), (network.layer4, 4)):
        dilate(stage, dilation)
    return network


def record_published() -> None:
    """Write names and shapes of the published networks, and what they are."""
    published: dict[str, dict[str, Any]] = {}
    for case in CASES:
        with torch.device("meta"):
            state = case.make().state_dict()
        published[str(case)] = {
            "backbone": case.backbone,
            "publisher": case.publisher,
            "channels": case.channels,
            "classes": case.classes,
            "shapes": {key: list(value.shape) for key, value in state.items()},
        }
    text = json.dumps(published, indent=1).encode()
    (GOLDEN / "torch_published.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))


def main() -> None:
    """Write layouts as JSON, feature maps (channels last) and logits as one archive."""
    record_published()
    layouts: dict[str, dict[str, list[int]]] = {}
    outputs: dict[str, np.ndarray] = {}
    for name, network in networks().items():
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        layouts[name] = {key: list(shape) for key, shape in shapes.items()}
        values = {key: torch.tensor(value) for key, value in draw(shapes).items()}
        network.load_state_dict(values)
        kept: list[Any] = []
        top = network.features if hasattr(network, "features") else network.layer4
        top.register_forward_hook(lambda _, entered, left, kept=kept: kept.append(left.clone()))
        with torch.no_grad():
            logits = network.eval()(torch.tensor(inputs(name)))
        features = np.moveaxis(kept[0].numpy(), 1, -1)
        outputs[name] = np.maximum(features, 0.0) if name == "densenet" else features
        if logits.shape[-1] == CLASSES:
            outputs[f"{name}_logits"] = logits.numpy()
    text = json.dumps(layouts, indent=None, separators=(",", ":"))
    (GOLDEN / "torch_networks.json").write_text(text.replace('},"', '},\n"') + "\n")
    np.savez_compressed(GOLDEN / "torch_networks.npz", **outputs)


if __name__ == "__main__":
    main()

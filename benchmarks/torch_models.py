"""PyTorch versions of the benchmarked networks, with the parameters of radzoo's to the last one.

Both take RGB in 0-255, channels first, and return ``(batch, classes)`` logits. They exist to be
timed, so they start from random weights.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

# expansion, channels, repeats, stride, kernel (Tan & Le 2019, arXiv:1905.11946; the Lite variant
# drops squeeze-and-excitation and uses ReLU6)
LITE0_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# width, blocks, stride of the first block (He et al. 2015, arXiv:1512.03385)
RESNET50_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def _conv_norm(
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution, batch normalisation and, if given, an activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]
    return nn.Sequential(*layers, *([activation] if activation is not None else []))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection, and the shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = []
        if expansion != 1:
            layers.append(_conv_norm(inputs, hidden, kernel=1, activation=nn.ReLU6(inplace=True)))
        layers.append(
            _conv_norm(
                hidden,
                hidden,
                kernel=kernel,
                stride=stride,
                groups=hidden,
                activation=nn.ReLU6(inplace=True),
            )
        )
        layers.append(_conv_norm(hidden, outputs, kernel=1))
        self.body = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, inputs, h, w)`` to ``(batch, outputs, h / stride, w / stride)``."""
        return x + self.body(x) if self.shortcut else self.body(x)


class Bottleneck(nn.Module):
    """The three-convolution residual block of ResNet50, stride on the first, biases kept."""

    def __init__(self, inputs: int, width: int, stride: int, *, project: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv_norm(inputs, width, kernel=1, stride=stride, bias=True, activation=nn.ReLU(True)),
            _conv_norm(width, width, kernel=3, bias=True, activation=nn.ReLU(True)),
            _conv_norm(width, 4 * width, kernel=1, bias=True),
        )
        self.shortcut = (
            _conv_norm(inputs, 4 * width, kernel=1, stride=stride, bias=True)
            if project
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, inputs, h, w)`` to ``(batch, 4 * width, h / stride, w / stride)``."""
        return torch.relu_(self.body(x) + self.shortcut(x))


def _efficientnet_lite0() -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [
        _conv_norm(3, 32, kernel=3, stride=2, activation=nn.ReLU6(inplace=True))
    ]
    channels = 32
    for expansion, outputs, repeats, stride, kernel in LITE0_STAGES:
        for index in range(repeats):
            step = stride if index == 0 else 1
            layers.append(InvertedResidual(channels, outputs, expansion, step, kernel))
            channels = outputs
    layers.append(_conv_norm(channels, 1280, kernel=1, activation=nn.ReLU6(inplace=True)))
    return nn.Sequential(*layers), 1280


def _resnet50() -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [
        _conv_norm(3, 64, kernel=7, stride=2, bias=True, activation=nn.ReLU(True)),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for width, blocks, stride in RESNET50_STAGES:
        for index in range(blocks):
            first = index == 0
            layers.append(Bottleneck(channels, width, stride if first else 1, project=first))
            channels = 4 * width
    return nn.Sequential(*layers), channels


BODIES = {"efficientnet_lite0": _efficientnet_lite0, "resnet50": _resnet50}


def create_body(name: str) -> nn.Sequential:
    """Layers of a backbone without its head."""
    return BODIES[name]()[0]


class Classifier(nn.Module):
    """Scaled input, backbone, global average pooling, dropout, linear head."""

    def __init__(self, name: str, *, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone, features = BODIES[name]()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, 3, h, w)`` in 0-255 to ``(batch, classes)`` logits."""
        pooled = self.backbone((x - 127.0) / 128.0).mean(dim=(2, 3))
        return self.head(self.dropout(pooled))


def _two_convs(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv3d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm3d(outputs, eps=1e-3),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet3D(nn.Module):
    """Plain 3D U-Net (Çiçek et al. 2016, arXiv:1606.06650): radzoo's, to the last parameter."""

    def __init__(self, *, channels: int, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        inputs = (channels, *widths[:-1])
        self.down = nn.ModuleList(_two_convs(i, o) for i, o in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose3d(i, o, 2, stride=2) for i, o in pairs)
        self.join = nn.ModuleList(_two_convs(2 * o, o) for _, o in pairs)
        self.head = nn.Conv3d(widths[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, channels, d, h, w)`` to ``(batch, classes, d, h, w)`` logits."""
        skips: list[torch.Tensor] = []
        for index, block in enumerate(self.down):
            x = block(nn.functional.max_pool3d(x, 2) if index else x)
            skips.append(x)
        for skip, up, join in zip(skips[-2::-1], self.up, self.join, strict=True):
            x = join(torch.cat([skip, up(x)], dim=1))
        return self.head(x)


def monai_unet3d(*, channels: int, widths: tuple[int, ...], classes: int) -> nn.Module:
    """The same U-Net of the blocks that MONAI's ``BasicUNet`` is made of."""
    from monai.networks.nets.basic_unet import Down, TwoConv, UpCat

    options = {"act": "relu", "norm": ("batch", {"eps": 1e-3}), "bias": False}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = TwoConv(3, channels, widths[0], **options)
            self.down = nn.ModuleList(Down(3, i, o, **options) for i, o in pairwise(widths))
            ups = zip(widths[:0:-1], widths[-2::-1], strict=True)
            self.up = nn.ModuleList(UpCat(3, i, o, o, **options) for i, o in ups)
            self.head = nn.Conv3d(widths[0], classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = [self.first(x)]
            for block in self.down:
                skips.append(block(skips[-1]))
            x = skips[-1]
            for skip, block in zip(skips[-2::-1], self.up, strict=True):
                x = block(x, skip)
            return self.head(x)

    return Net()

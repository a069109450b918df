"""The ResNets of PyTorch as plain data: which blocks, of which width, stride and dilation.

After He et al. (arXiv:1512.03385) with the stride in the 3x3 convolution ("v1.5", Goyal et al.,
arXiv:1706.02677), its wide (Zagoruyko and Komodakis, arXiv:1605.07146) and grouped (ResNeXt, Xie
et al., arXiv:1611.05431) variants, the "D" variants with a deep stem and pooled shortcuts (He et
al., arXiv:1812.01187), and the 3D networks of MedicalNet (Chen et al., arXiv:1904.00625), whose
last two stages dilate instead of striding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STEM_FILTERS = 64
DEEP_STEM_FILTERS = 32


@dataclass(frozen=True, kw_only=True)
class ResNetPlan:
    """One variant.

    Attributes:
        repeats: Number of residual blocks in each of the four stages.
        bottleneck: Whether a block is 1x1, 3x3, 1x1 with fourfold output, or two 3x3.
        width: Channels inside the blocks of the first stage; they double from stage to stage.
        filters: Channels of the first stage, before the fourfold expansion of a bottleneck.
        groups: Groups of the 3x3 convolutions of bottlenecks.
        stem: Channels of the 7x7 stem.
        deep_stem: Whether three 3x3 convolutions replace the 7x7 stem.
        shortcut: What a changed shape passes through: a strided 1x1 convolution, an average
            pooling and a 1x1 convolution, or a subsampling padded with zero channels.
        strides: Stride of each stage.
        dilations: Dilation of the 3x3 convolutions of each stage.
    """

    repeats: tuple[int, int, int, int]
    bottleneck: bool
    width: int = 64
    filters: int = 64
    groups: int = 1
    stem: int = STEM_FILTERS
    deep_stem: bool = False
    shortcut: Literal["conv", "pool", "pad"] = "conv"
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class ResidualBlock:
    """One residual block.

    Attributes:
        name: ``"conv<stage>_block<number>"``, as in the ResNets of keras.applications.
        source: Its name in PyTorch, ``"layer<stage>.<number>"``.
        filters_in: Channels that enter.
        width: Channels inside.
        filters_out: Channels that leave.
        stride: Stride of its first 3x3 convolution.
        dilation: Dilation of its 3x3 convolutions.
        shortcut: Whether the shape changes, so that the input is projected before the sum.
    """

    name: str
    source: str
    filters_in: int
    width: int
    filters_out: int
    stride: int
    dilation: int
    shortcut: bool


def residual_blocks(plan: ResNetPlan) -> tuple[ResidualBlock, ...]:
    """List the blocks of one variant, from the stem to the last stage."""
    blocks: list[ResidualBlock] = []
    filters_in = plan.stem
    for stage, repeats in enumerate(plan.repeats):
        filters_out = plan.filters * (4 if plan.bottleneck else 1) << stage
        for index in range(repeats):
            stride = plan.strides[stage] if index == 0 else 1
            blocks.append(
                ResidualBlock(
                    name=f"conv{stage + 2}_block{index + 1}",
                    source=f"layer{stage + 1}.{index}",
                    filters_in=filters_in,
                    width=plan.width << stage,
                    filters_out=filters_out,
                    stride=stride,
                    dilation=plan.dilations[stage],
                    shortcut=stride != 1 or filters_in != filters_out,
                )
            )
            filters_in = filters_out
    return tuple(blocks)


def _medical(
    repeats: tuple[int, int, int, int], *, bottleneck: bool, shortcut: Literal["conv", "pad"]
) -> ResNetPlan:
    return ResNetPlan(
        repeats=repeats,
        bottleneck=bottleneck,
        shortcut=shortcut,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
    )


PLANS: dict[str, ResNetPlan] = {
    "resnet18": ResNetPlan(repeats=(2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetPlan(repeats=(3, 4, 6, 3), bottleneck=False),
    "resnet50_v1_5": ResNetPlan(repeats=(3, 4, 6, 3), bottleneck=True),
    "resnet101_v1_5": ResNetPlan(repeats=(3, 4, 23, 3), bottleneck=True),
    "resnet152_v1_5": ResNetPlan(repeats=(3, 8, 36, 3), bottleneck=True),
    "wide_resnet50_2": ResNetPlan(repeats=(3, 4, 6, 3), bottleneck=True, width=128),
    "wide_resnet101_2": ResNetPlan(repeats=(3, 4, 23, 3), bottleneck=True, width=128),
    "resnext50_32x4d": ResNetPlan(repeats=(3, 4, 6, 3), bottleneck=True, width=128, groups=32),
    "resnext101_32x8d": ResNetPlan(repeats=(3, 4, 23, 3), bottleneck=True, width=256, groups=32),
    "resnet18d": ResNetPlan(
        repeats=(2, 2, 2, 2), bottleneck=False, deep_stem=True, shortcut="pool"
    ),
    "resnet34d": ResNetPlan(
        repeats=(3, 4, 6, 3), bottleneck=False, deep_stem=True, shortcut="pool"
    ),
    "resnet50d": ResNetPlan(repeats=(3, 4, 6, 3), bottleneck=True, deep_stem=True, shortcut="pool"),
    "medicalnet_resnet10": _medical((1, 1, 1, 1), bottleneck=False, shortcut="conv"),
    "medicalnet_resnet18": _medical((2, 2, 2, 2), bottleneck=False, shortcut="pad"),
    "medicalnet_resnet34": _medical((3, 4, 6, 3), bottleneck=False, shortcut="pad"),
    "medicalnet_resnet50": _medical((3, 4, 6, 3), bottleneck=True, shortcut="conv"),
}

"""VGG as plain data (Simonyan and Zisserman, arXiv:1409.1556): 3x3 convolutions per block."""

from __future__ import annotations

from dataclasses import dataclass

_FILTERS = (64, 128, 256, 512, 512)


@dataclass(frozen=True, kw_only=True)
class VGGPlan:
    """One variant.

    Attributes:
        repeats: Convolutions in each of the five blocks, a 2x2 maximum pooling after each block.
        norm: Whether a batch normalisation stands behind each convolution.
        filters: Channels of each block.
    """

    repeats: tuple[int, int, int, int, int]
    norm: bool = False
    filters: tuple[int, int, int, int, int] = _FILTERS


@dataclass(frozen=True, kw_only=True)
class VGGConv:
    """One convolution: block and number in Keras, index among PyTorch's ``features``."""

    block: int
    number: int
    index: int
    filters_in: int
    filters_out: int


def vgg_convs(plan: VGGPlan, channels: int) -> tuple[VGGConv, ...]:
    """List the convolutions of one variant on an input of so many channels."""
    convs: list[VGGConv] = []
    index, filters_in = 0, channels
    for block, (repeats, filters) in enumerate(zip(plan.repeats, plan.filters, strict=True), 1):
        for number in range(1, repeats + 1):
            convs.append(
                VGGConv(
                    block=block,
                    number=number,
                    index=index,
                    filters_in=filters_in,
                    filters_out=filters,
                )
            )
            index, filters_in = index + (3 if plan.norm else 2), filters
        index += 1
    return tuple(convs)


PLANS: dict[str, VGGPlan] = {
    "vgg11": VGGPlan(repeats=(1, 1, 2, 2, 2)),
    "vgg11_bn": VGGPlan(repeats=(1, 1, 2, 2, 2), norm=True),
    "vgg13": VGGPlan(repeats=(2, 2, 2, 2, 2)),
    "vgg13_bn": VGGPlan(repeats=(2, 2, 2, 2, 2), norm=True),
    "vgg16": VGGPlan(repeats=(2, 2, 3, 3, 3)),
    "vgg16_bn": VGGPlan(repeats=(2, 2, 3, 3, 3), norm=True),
    "vgg19": VGGPlan(repeats=(2, 2, 4, 4, 4)),
    "vgg19_bn": VGGPlan(repeats=(2, 2, 4, 4, 4), norm=True),
}

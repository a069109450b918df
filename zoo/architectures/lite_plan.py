"""EfficientNet-Lite as plain data: which blocks, in which order, of which width.

EfficientNet-Lite (Liu et al., 2020, "Higher accuracy on vision models with EfficientNet-Lite",
TensorFlow blog; after Tan and Le, arXiv:1905.11946) takes the EfficientNet stages, drops
squeeze-and-excitation, replaces swish with ReLU6 and leaves stem and head unscaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STEM_FILTERS = 32
TOP_FILTERS = 1280
IMAGENET_CLASSES = 1000

# (repeats, kernel side, stride, expansion, filters out) of the unscaled network.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# (width, depth) multipliers by registry name.
_SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One inverted residual block.

    Attributes:
        name: ``"block<stage><letter>"``, as in the EfficientNets of keras.applications.
        filters_in: Channels that enter.
        filters_out: Channels that leave.
        kernel: Side of the depthwise kernel in pixels.
        stride: Stride of the depthwise convolution.
        expansion: Factor of the 1x1 expansion; 1 means the block has none.
    """

    name: str
    filters_in: int
    filters_out: int
    kernel: int
    stride: int
    expansion: int

    @property
    def skip(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.filters_in == self.filters_out


def lite_blocks(name: str) -> tuple[Block, ...]:
    """List the blocks of one variant, from the stem to the head.

    Args:
        name: Registry name, ``"efficientnet_lite0"`` to ``"efficientnet_lite4"``.

    Raises:
        KeyError: For any other name.
    """
    width, depth = _SCALES[name]
    blocks: list[Block] = []
    filters_in = STEM_FILTERS
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES, start=1):
        filters_out = scaled_filters(filters, width)
        fixed = stage in (1, len(_STAGES))
        for index in range(repeats if fixed else math.ceil(depth * repeats)):
            blocks.append(
                Block(
                    name=f"block{stage}{chr(ord('a') + index)}",
                    filters_in=filters_in,
                    filters_out=filters_out,
                    kernel=kernel,
                    stride=stride if index == 0 else 1,
                    expansion=expansion,
                )
            )
            filters_in = filters_out
    return tuple(blocks)


def scaled_filters(filters: int, width: float, *, divisor: int = 8, atleast: float = 0.9) -> int:
    """Scale a channel count to the nearest multiple of eight, never below a share of itself."""
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < atleast * scaled else rounded

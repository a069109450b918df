"""EfficientNet and EfficientNetV2 as plain data: which blocks, in which order, of which width.

Tan and Le, ICML 2019, arXiv:1905.11946, and ICML 2021, arXiv:2104.00298. The networks of
keras.applications, torchvision and timm share these numbers; they differ in padding, in the
epsilon of batch normalisation and in preprocessing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from zoo.architectures.lite_plan import STEM_FILTERS, TOP_FILTERS, lite_blocks, scaled_filters

KERAS_EPSILON = 1e-3
TORCH_EPSILON = 1e-5
_SYMMETRIC = "_symmetric"

# (fused, repeats, kernel side, stride, expansion, filters out) of the unscaled network.
_Stage = tuple[bool, int, int, int, int, int]
_V1_STAGES: tuple[_Stage, ...] = (
    (False, 1, 3, 1, 1, 16),
    (False, 2, 3, 2, 6, 24),
    (False, 2, 5, 2, 6, 40),
    (False, 3, 3, 2, 6, 80),
    (False, 3, 5, 1, 6, 112),
    (False, 4, 5, 2, 6, 192),
    (False, 1, 3, 1, 6, 320),
)
_V2_B_STAGES: tuple[_Stage, ...] = (
    (True, 1, 3, 1, 1, 16),
    (True, 2, 3, 2, 4, 32),
    (True, 2, 3, 2, 4, 48),
    (False, 3, 3, 2, 4, 96),
    (False, 5, 3, 1, 6, 112),
    (False, 8, 3, 2, 6, 192),
)
_V2_STAGES: dict[str, tuple[_Stage, ...]] = {
    "s": (
        (True, 2, 3, 1, 1, 24),
        (True, 4, 3, 2, 4, 48),
        (True, 4, 3, 2, 4, 64),
        (False, 6, 3, 2, 4, 128),
        (False, 9, 3, 1, 6, 160),
        (False, 15, 3, 2, 6, 256),
    ),
    "m": (
        (True, 3, 3, 1, 1, 24),
        (True, 5, 3, 2, 4, 48),
        (True, 5, 3, 2, 4, 80),
        (False, 7, 3, 2, 4, 160),
        (False, 14, 3, 1, 6, 176),
        (False, 18, 3, 2, 6, 304),
        (False, 5, 3, 1, 6, 512),
    ),
    "l": (
        (True, 4, 3, 1, 1, 32),
        (True, 7, 3, 2, 4, 64),
        (True, 7, 3, 2, 4, 96),
        (False, 10, 3, 2, 4, 192),
        (False, 19, 3, 1, 6, 224),
        (False, 25, 3, 2, 6, 384),
        (False, 7, 3, 1, 6, 640),
    ),
}

# (width, depth) multipliers.
_SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One inverted residual block.

    Attributes:
        name: ``"block<stage><letter>"``, as in keras.applications.
        filters_in: Channels that enter.
        filters_out: Channels that leave.
        kernel: Side of the spatial kernel in pixels.
        stride: Stride of the spatial convolution.
        expansion: Factor of the expansion; 1 means the block has none.
        squeezed: Channels inside squeeze-and-excitation; 0 without.
        fused: Whether one full convolution takes the place of expansion and depthwise convolution
            (and of squeeze-and-excitation).
        depthwise: Name of the depthwise layer, which keras.applications calls otherwise in V2.
    """

    name: str
    filters_in: int
    filters_out: int
    kernel: int
    stride: int
    expansion: int
    squeezed: int
    fused: bool
    depthwise: str

    @property
    def inner(self) -> int:
        """Channels inside the block."""
        return self.filters_in * self.expansion

    @property
    def skip(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.filters_in == self.filters_out


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One network.

    Attributes:
        stem: Channels of the first convolution (3x3, stride 2).
        blocks: From the stem to the top.
        top: Channels of the last convolution (1x1).
        epsilon: That of batch normalisation.
    """

    stem: int
    blocks: tuple[Block, ...]
    top: int
    epsilon: float

    @property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks, grouped by stage."""
        numbers = sorted({_stage(block) for block in self.blocks})
        return tuple(
            tuple(block for block in self.blocks if _stage(block) == number) for number in numbers
        )


def efficientnet_plan(name: str) -> Plan:
    """Give the plan of a network by its registry name.

    Args:
        name: ``"efficientnet_b0"`` to ``"efficientnet_b7"``, ``"efficientnet_v2_b0"`` to ``"b3"``,
            ``"efficientnet_v2_s"``, ``"m"`` and ``"l"``; for PyTorch's padding and epsilon
            followed by ``"_symmetric"``. ``"efficientnet_lite0"`` to ``"lite4"`` too.

    Raises:
        KeyError: For any other name.
    """
    bare = name.removesuffix(_SYMMETRIC)
    variant = bare.rpartition("_")[2]
    if variant.startswith("lite"):
        return _lite(bare)
    if bare == f"efficientnet_{variant}":
        # torchvision keeps TensorFlow's epsilon for B5 to B7, whose weights come from there.
        torch = name.endswith(_SYMMETRIC) and variant < "b5"
        epsilon = TORCH_EPSILON if torch else KERAS_EPSILON
        return _scaled(_V1_STAGES, *_SCALES[variant], epsilon=epsilon, atleast=0.9)
    if bare != f"efficientnet_v2_{variant}":
        raise KeyError(name)
    if variant in _V2_STAGES:
        stages = _V2_STAGES[variant]
        stem = stages[0][-1]
        return Plan(stem=stem, blocks=_blocks(stages, stem), top=1280, epsilon=KERAS_EPSILON)
    return _scaled(_V2_B_STAGES, *_SCALES[variant], epsilon=KERAS_EPSILON, atleast=0.0)


def _lite(name: str) -> Plan:
    blocks = tuple(
        Block(
            **dataclasses.asdict(block),
            squeezed=0,
            fused=False,
            depthwise=f"{block.name}_dwconv",
        )
        for block in lite_blocks(name)
    )
    return Plan(stem=STEM_FILTERS, blocks=blocks, top=TOP_FILTERS, epsilon=KERAS_EPSILON)


def _scaled(
    stages: tuple[_Stage, ...], width: float, depth: float, *, epsilon: float, atleast: float
) -> Plan:
    def filters(count: int) -> int:
        return scaled_filters(count, width, atleast=atleast)

    grown = tuple(
        (fused, math.ceil(depth * repeats), kernel, stride, expansion, filters(count))
        for fused, repeats, kernel, stride, expansion, count in stages
    )
    stem = filters(32)
    return Plan(stem=stem, blocks=_blocks(grown, stem), top=filters(1280), epsilon=epsilon)


def _blocks(stages: tuple[_Stage, ...], filters_in: int) -> tuple[Block, ...]:
    blocks: list[Block] = []
    suffix = "dwconv2" if stages[0][0] else "dwconv"
    for number, (fused, repeats, kernel, stride, expansion, filters) in enumerate(stages, start=1):
        for index in range(repeats):
            name = f"block{number}{chr(ord('a') + index)}"
            blocks.append(
                Block(
                    name=name,
                    filters_in=filters_in,
                    filters_out=filters,
                    kernel=kernel,
                    stride=stride if index == 0 else 1,
                    expansion=expansion,
                    squeezed=max(1, filters_in // 4),
                    fused=fused,
                    depthwise=f"{name}_{suffix}",
                )
            )
            filters_in = filters
    return tuple(blocks)


def _stage(block: Block) -> int:
    return int(block.name.removeprefix("block")[:-1])

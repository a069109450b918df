"""DenseNet as plain data (Huang et al., arXiv:1608.06993): growth, stem and layers per block."""

from __future__ import annotations

from dataclasses import dataclass

BOTTLENECK = 4


@dataclass(frozen=True, kw_only=True)
class DenseNetPlan:
    """One variant.

    Attributes:
        growth: Channels that each layer adds.
        stem: Channels of the 7x7 stem.
        repeats: Layers in each of the four dense blocks; a transition halves the channels after
            each block but the last.
    """

    growth: int
    stem: int
    repeats: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class DenseBlock:
    """One dense block: its name in Keras, its number in PyTorch, channels at start and end."""

    name: str
    number: int
    filters_in: int
    repeats: int
    filters_out: int


def dense_blocks(plan: DenseNetPlan) -> tuple[DenseBlock, ...]:
    """List the blocks of one variant; each but the first takes half of what the last gave."""
    blocks: list[DenseBlock] = []
    filters = plan.stem
    for number, repeats in enumerate(plan.repeats, start=1):
        leaving = filters + repeats * plan.growth
        blocks.append(
            DenseBlock(
                name=f"conv{number + 1}",
                number=number,
                filters_in=filters,
                repeats=repeats,
                filters_out=leaving,
            )
        )
        filters = leaving // 2
    return tuple(blocks)


PLANS: dict[str, DenseNetPlan] = {
    "densenet121": DenseNetPlan(growth=32, stem=64, repeats=(6, 12, 24, 16)),
    "densenet161": DenseNetPlan(growth=48, stem=96, repeats=(6, 12, 36, 24)),
    "densenet169": DenseNetPlan(growth=32, stem=64, repeats=(6, 12, 32, 32)),
    "densenet201": DenseNetPlan(growth=32, stem=64, repeats=(6, 12, 48, 32)),
}

"""ConvNeXt and ConvNeXtV2 as plain data: depth and width of each stage.

Liu et al., CVPR 2022, arXiv:2201.03545, and Woo et al., CVPR 2023, arXiv:2301.00808. The variants
below "tiny" of the first generation are timm's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One network.

    Attributes:
        depths: Blocks of each of the four stages.
        widths: Channels of each stage.
        responses: Whether blocks normalise their global responses (ConvNeXtV2) in place of
            scaling their output (LayerScale).
    """

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    responses: bool = False


_DEPTHS = {
    "atto": (2, 2, 6, 2),
    "femto": (2, 2, 6, 2),
    "pico": (2, 2, 6, 2),
    "nano": (2, 2, 8, 2),
    "tiny": (3, 3, 9, 3),
    "small": (3, 3, 27, 3),
    "base": (3, 3, 27, 3),
    "large": (3, 3, 27, 3),
    "xlarge": (3, 3, 27, 3),
}
_FIRST_WIDTH = {
    "atto": 40,
    "femto": 48,
    "pico": 64,
    "nano": 80,
    "tiny": 96,
    "small": 96,
    "base": 128,
    "large": 192,
    "xlarge": 256,
}

VARIANTS = tuple(f"convnext_{size}" for size in _DEPTHS) + tuple(
    f"convnext_v2_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large")
)


def convnext_plan(name: str) -> Plan:
    """Give the plan of a network by its registry name.

    Args:
        name: ``"convnext_atto"`` to ``"convnext_xlarge"``, ``"convnext_v2_atto"`` and so on.

    Raises:
        KeyError: For any other name.
    """
    family, _, variant = name.rpartition("_")
    if family not in ("convnext", "convnext_v2"):
        raise KeyError(name)
    first = _FIRST_WIDTH[variant]
    return Plan(
        depths=_DEPTHS[variant],
        widths=(first, 2 * first, 4 * first, 8 * first),
        responses=family == "convnext_v2",
    )

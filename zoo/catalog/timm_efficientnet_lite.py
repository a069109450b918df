"""EfficientNet-Lite3 and 4, whose weights timm publishes."""

from __future__ import annotations

from zoo.catalog._torch_mobile import lite
from zoo.spec import BackboneSpec


def _lite(number: int, *, input_size: int, params: int, widths: tuple[int, ...]) -> BackboneSpec:
    layers = [f"block{stage}a_expand_activation" for stage in (2, 3, 4, 6)]
    return BackboneSpec(
        name=f"efficientnet_lite{number}",
        family="efficientnet_lite",
        builder="zoo.architectures.efficientnet_lite:efficientnet_lite",
        taps=tuple(zip((2, 4, 8, 16, 32), (*layers, "top_activation"), strict=True)),
        preprocessing="tf",
        min_size=32,
        input_size=input_size,
        params=params,
        weights=(lite(number, name="imagenet"),),
        licence="Apache-2.0",
        paper="Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946 (Lite variant: Liu, 2020)",
        widths=widths,
    )


SPECS: tuple[BackboneSpec, ...] = (
    _lite(3, input_size=300, params=6_992_768, widths=(144, 192, 288, 816, 1280)),
    _lite(4, input_size=380, params=11_837_936, widths=(144, 192, 336, 960, 1280)),
)

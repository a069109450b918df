"""The "D" ResNets of timm: a stem of three 3x3 convolutions, pooled shortcuts."""

from __future__ import annotations

from zoo.catalog._torch_weights import timm
from zoo.spec import BackboneSpec

_PAPER = "He et al., Bag of Tricks, CVPR 2019, arXiv:1812.01187"


def _resnet_d(
    name: str, repeats: tuple[int, int, int, int], params: int, file: str
) -> BackboneSpec:
    ends = tuple(f"conv{stage}_block{count}_out" for stage, count in enumerate(repeats, start=2))
    return BackboneSpec(
        name=name,
        family="resnet_d",
        builder="zoo.architectures.resnet:resnet",
        taps=tuple(zip((2, 4, 8, 16, 32), ("conv1_relu", *ends), strict=True)),
        preprocessing="torch",
        min_size=32,
        input_size=224,
        params=params,
        weights=(timm("resnet", file, "v0.1-weights"),),
        licence="Apache-2.0",
        paper=_PAPER,
        widths=(64, 256, 512, 1024, 2048) if name == "resnet50d" else (64, 64, 128, 256, 512),
    )


SPECS: tuple[BackboneSpec, ...] = (
    _resnet_d("resnet18d", (2, 2, 2, 2), 11_205_472, "resnet18d_ra2-48a79e06.pth"),
    _resnet_d("resnet34d", (3, 4, 6, 3), 21_321_056, "resnet34d_ra2-f8dcfcaf.pth"),
    _resnet_d("resnet50d", (3, 4, 6, 3), 23_580_512, "resnet50d_ra2-464e36ba.pth"),
)

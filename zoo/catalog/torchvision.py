"""The ResNets, VGGs and DenseNet161 of torchvision, with its ImageNet weights.

``imagenet`` is torchvision's first set (``IMAGENET1K_V1``), ``imagenet-v2`` the one of its later,
longer recipe (``IMAGENET1K_V2``): more accurate on ImageNet, not always better to start from.
"""

from __future__ import annotations

from zoo.catalog._torch_weights import XRV_RESNET, torchvision
from zoo.spec import BackboneSpec, WeightSpec

_RESNET = "He et al., Deep Residual Learning, CVPR 2016, arXiv:1512.03385"
_V1_5 = f"{_RESNET}; stride in the 3x3: Goyal et al., 2017, arXiv:1706.02677"
_WIDE = "Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, arXiv:1605.07146"
_RESNEXT = "Xie et al., Aggregated Residual Transformations, CVPR 2017, arXiv:1611.05431"
_VGG = "Simonyan and Zisserman, Very Deep Networks, ICLR 2015, arXiv:1409.1556"
_DENSENET = "Huang et al., Densely Connected Networks, CVPR 2017, arXiv:1608.06993"
_BASIC = (64, 64, 128, 256, 512)
_BOTTLENECK = (64, 256, 512, 1024, 2048)


def _backbone(
    name: str,
    family: str,
    builder: str,
    taps: tuple[str, ...],
    widths: tuple[int, ...],
    params: int,
    weights: tuple[WeightSpec, ...],
    paper: str,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        family=family,
        builder=f"zoo.architectures.{builder}",
        taps=tuple(zip((2, 4, 8, 16, 32), taps, strict=True)),
        preprocessing="torch",
        min_size=32,
        input_size=224,
        params=params,
        weights=weights,
        licence="Apache-2.0",
        paper=paper,
        widths=widths,
    )


def _resnet(
    name: str,
    repeats: tuple[int, int, int, int],
    params: int,
    files: tuple[str, ...],
    paper: str,
    *,
    further: tuple[WeightSpec, ...] = (),
) -> BackboneSpec:
    """Write down a ResNet; its files are torchvision's first and, if any, second set."""
    ends = tuple(f"conv{stage}_block{count}_out" for stage, count in enumerate(repeats, start=2))
    sets = zip(("imagenet", "imagenet-v2"), files, strict=False)
    weights = tuple(torchvision("resnet", file, name=one) for one, file in sets)
    widths = _BASIC if name in ("resnet18", "resnet34") else _BOTTLENECK
    return _backbone(
        name,
        "resnet_v1_5",
        "resnet:resnet",
        ("conv1_relu", *ends),
        widths,
        params,
        weights + further,
        paper,
    )


def _vgg(name: str, repeats: tuple[int, ...], params: int, file: str) -> BackboneSpec:
    last = "relu" if name.endswith("_bn") else "conv"
    taps = tuple(f"block{number}_{last}{count}" for number, count in enumerate(repeats, start=2))
    weights = (torchvision("vgg", file),)
    widths = (128, 256, 512, 512, 512)
    return _backbone(name, "vgg", "vgg:vgg", (*taps, "block5_pool"), widths, params, weights, _VGG)


SPECS: tuple[BackboneSpec, ...] = (
    _resnet("resnet18", (2, 2, 2, 2), 11_186_112, ("resnet18-f37072fd.pth",), _RESNET),
    _resnet("resnet34", (3, 4, 6, 3), 21_301_696, ("resnet34-b627a593.pth",), _RESNET),
    _resnet(
        "resnet50_v1_5",
        (3, 4, 6, 3),
        23_561_152,
        ("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
        _V1_5,
        further=(XRV_RESNET,),
    ),
    _resnet(
        "resnet101_v1_5",
        (3, 4, 23, 3),
        42_605_504,
        ("resnet101-63fe2227.pth", "resnet101-cd907fc2.pth"),
        _V1_5,
    ),
    _resnet(
        "resnet152_v1_5",
        (3, 8, 36, 3),
        58_295_232,
        ("resnet152-394f9c45.pth", "resnet152-f82ba261.pth"),
        _V1_5,
    ),
    _resnet(
        "wide_resnet50_2",
        (3, 4, 6, 3),
        66_902_464,
        ("wide_resnet50_2-95faca4d.pth", "wide_resnet50_2-9ba9bcbe.pth"),
        _WIDE,
    ),
    _resnet(
        "wide_resnet101_2",
        (3, 4, 23, 3),
        124_975_552,
        ("wide_resnet101_2-32ee1156.pth", "wide_resnet101_2-d733dc28.pth"),
        _WIDE,
    ),
    _resnet(
        "resnext50_32x4d",
        (3, 4, 6, 3),
        23_048_128,
        ("resnext50_32x4d-7cdf4587.pth", "resnext50_32x4d-1a0047aa.pth"),
        _RESNEXT,
    ),
    _resnet(
        "resnext101_32x8d",
        (3, 4, 23, 3),
        86_945_216,
        ("resnext101_32x8d-8ba56ff5.pth", "resnext101_32x8d-110c445d.pth"),
        _RESNEXT,
    ),
    _vgg("vgg11", (1, 2, 2, 2), 9_220_480, "vgg11-8a719046.pth"),
    _vgg("vgg11_bn", (1, 2, 2, 2), 9_231_488, "vgg11_bn-6002323d.pth"),
    _vgg("vgg13", (2, 2, 2, 2), 9_404_992, "vgg13-19584684.pth"),
    _vgg("vgg13_bn", (2, 2, 2, 2), 9_416_768, "vgg13_bn-abd245e5.pth"),
    _vgg("vgg16_bn", (2, 3, 3, 3), 14_731_584, "vgg16_bn-6c64b313.pth"),
    _vgg("vgg19_bn", (2, 4, 4, 4), 20_046_400, "vgg19_bn-c79401a0.pth"),
    _backbone(
        "densenet161",
        "densenet",
        "densenet:densenet",
        ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu"),
        (96, 384, 768, 2112, 2208),
        26_691_936,
        (torchvision("densenet", "densenet161-8d451a50.pth"),),
        _DENSENET,
    ),
)

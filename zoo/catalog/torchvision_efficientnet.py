"""EfficientNet and EfficientNetV2 with PyTorch's padding: torchvision's, and timm's plain ones.

``efficientnet_b0_symmetric`` and so on differ from ``efficientnet_b0`` in padding alone (and in the
epsilon of their norms); weights of the one lose accuracy in the other.
"""

from __future__ import annotations

from zoo.catalog._torch_mobile import signed
from zoo.catalog._torch_weights import timm, torchvision
from zoo.catalog._widths import WIDTHS
from zoo.spec import BackboneSpec, WeightSpec

_V1_PAPER = "Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946"
_V2_PAPER = "Tan and Le, EfficientNetV2, ICML 2021, arXiv:2104.00298"
_V1_TAPS = ("block2a_expand_activation", "block3a_expand_activation")
_TIMM = {
    0: "efficientnet_b0_ra-3dd342df.pth",
    1: "efficientnet_b1-533bc792.pth",
    2: "efficientnet_b2_ra-bcdf34b7.pth",
    3: "efficientnet_b3_ra2-cf984f9c.pth",
    4: "efficientnet_b4_ra2_320-7eb33cd5.pth",
}


def _entry(
    name: str,
    taps: tuple[str, str],
    input_size: int,
    params: int,
    paper: str,
    *weights: WeightSpec,
) -> BackboneSpec:
    layers = (*taps, "block4a_expand_activation", "block6a_expand_activation", "top_activation")
    return BackboneSpec(
        name=f"{name}_symmetric",
        family=name.rpartition("_")[0],
        builder="zoo.architectures.efficientnet:efficientnet",
        taps=tuple(zip((2, 4, 8, 16, 32), layers, strict=True)),
        preprocessing="torch",
        min_size=32,
        input_size=input_size,
        params=params,
        weights=weights,
        licence="BSD-3-Clause",
        paper=paper,
        widths=WIDTHS[name],
    )


def _v1(number: int, digits: str, input_size: int, params: int) -> BackboneSpec:
    name = f"efficientnet_b{number}"
    weights = [torchvision("efficientnet", f"{name}_{digits}.pth")]
    if number == 1:
        weights.append(
            torchvision("efficientnet", "efficientnet_b1-c27df63c.pth", name="imagenet-v2")
        )
    if number in _TIMM:
        weights.append(timm("efficientnet", _TIMM[number], "v0.1-weights", name="imagenet-timm"))
    return _entry(name, _V1_TAPS, input_size, params, _V1_PAPER, *weights)


def _v2(
    size: str, taps: tuple[str, str], weight: WeightSpec, input_size: int, params: int
) -> BackboneSpec:
    return _entry(f"efficientnet_v2_{size}", taps, input_size, params, _V2_PAPER, weight)


SPECS: tuple[BackboneSpec, ...] = (
    _v1(0, "rwightman-7f5810bc", 224, 4_049_564),
    _v1(1, "rwightman-bac287d4", 240, 6_575_232),
    _v1(2, "rwightman-c35c1473", 288, 7_768_562),
    _v1(3, "rwightman-b3899882", 300, 10_783_528),
    _v1(4, "rwightman-23ab8bcd", 380, 17_673_816),
    _v1(5, "lukemelas-1a07897c", 456, 28_513_520),
    _v1(6, "lukemelas-24a108a5", 528, 40_960_136),
    _v1(7, "lukemelas-c5b4e57e", 600, 64_097_680),
    _v2(
        "s",
        ("block1b_add", "block2d_add"),
        torchvision("efficientnet", "efficientnet_v2_s-dd5fe13b.pth"),
        384,
        20_331_360,
    ),
    _v2(
        "m",
        ("block1c_add", "block2e_add"),
        torchvision("efficientnet", "efficientnet_v2_m-dc08266a.pth"),
        480,
        53_150_388,
    ),
    _v2(
        "l",
        ("block1d_add", "block2g_add"),
        signed(torchvision("efficientnet", "efficientnet_v2_l-59c71312.pth")),
        480,
        117_746_848,
    ),
)

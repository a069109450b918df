"""Weight sets of EfficientNet and ConvNeXt that are published as PyTorch files.

Files, addresses, means and deviations are those of torchvision 0.29 (its ``*_Weights``
enumerations) and timm 1.0.31 (``timm.get_pretrained_cfg``). Where a file's name ends in the first
digits of its SHA-256 they are checked; the authors' ConvNeXt files have none.
"""

from __future__ import annotations

import dataclasses

from zoo.catalog._torch_weights import timm, torchvision
from zoo.spec import WeightSpec

_EFFICIENTNET = "efficientnet"
_V2_RELEASE = "v0.1-effv2-weights"
_RELEASE = "v0.1-weights"
_FACEBOOK = "https://dl.fbaipublicfiles.com/convnext/"

# Digits by variant: B0, B1...
_NOISY_STUDENT = (
    "c0e6a31c",
    "99dd0c41",
    "00306e48",
    "9d44bf68",
    "d6313a46",
    "6f26d0cf",
    "51548356",
    "1dbc32de",
)
_ADVPROP = (
    "f262efe1",
    "44ef0a3d",
    "2f8e7636",
    "aad25bdd",
    "dedb23e6",
    "9e82fae8",
    "4ffb161f",
    "ddb28fec",
)
_V2_B = ("c7cc451f", "be6e41b0", "847de54e", "57773f13")
_LITE = ("0aa007d2", "bde8b488", "dcccb7df", "b733e338", "741542c3")
_V2_21K = {"s": "d7dafa41", "m": "bf41664a", "l": "60127a9d"}


def signed(weight: WeightSpec) -> WeightSpec:
    """Give a weight set that was trained on ``x / 127.5 - 1``."""
    return dataclasses.replace(
        weight,
        preprocessing="tf",
        input_convention="RGB, 0-255, x / 127.5 - 1",
        input_range=(-1.0, 1.0),
    )


def facebook(file: str, *, name: str, licence: str, citation: str) -> WeightSpec:
    """Write down a file of the authors of ConvNeXt, below their download folder."""
    base = timm("convnext", file.rpartition("/")[2], "", name=name)
    return dataclasses.replace(
        base, url=_FACEBOOK + file, licence=licence, citation=citation, sha256_prefix=None
    )


def lite(number: int, *, name: str) -> WeightSpec:
    """Write down Google's EfficientNet-Lite weights as timm has them."""
    file = f"tf_efficientnet_lite{number}-{_LITE[number]}.pth"
    return signed(timm(_EFFICIENTNET, file, _RELEASE, name=name))


def _tf_efficientnet(number: int) -> tuple[WeightSpec, ...]:
    """Google's weights with TensorFlow's padding: noisy student and adversarial propagation."""
    base = f"tf_efficientnet_b{number}"
    student = timm(
        _EFFICIENTNET, f"{base}_ns-{_NOISY_STUDENT[number]}.pth", _RELEASE, name="noisy-student"
    )
    adversarial = timm(_EFFICIENTNET, f"{base}_ap-{_ADVPROP[number]}.pth", _RELEASE, name="advprop")
    return (
        dataclasses.replace(student, citation="Xie et al., CVPR 2020, arXiv:1911.04252"),
        dataclasses.replace(
            signed(adversarial), citation="Xie et al., CVPR 2020, arXiv:1911.09665"
        ),
    )


def _tf_efficientnet_v2(size: str, digits: str) -> WeightSpec:
    file = f"tf_efficientnetv2_{size}_21ft1k-{digits}.pth"
    return signed(timm(_EFFICIENTNET, file, _V2_RELEASE, name="imagenet21k"))


def _convnext(size: str, digits: str | None) -> tuple[WeightSpec, ...]:
    citation = "Liu et al., A ConvNet for the 2020s, CVPR 2022, arXiv:2201.03545"
    found = [
        facebook(f"convnext_{size}_22k_{end}", name=name, licence="MIT", citation=citation)
        for name, end in (
            ("imagenet22k", "224.pth"),
            ("imagenet22k-1k", "1k_224_ema.pth" if size == "xlarge" else "1k_224.pth"),
        )
    ]
    if digits is not None:
        file = f"convnext_{size}-{digits}.pth"
        found.insert(0, torchvision("convnext", file, name="imagenet-torchvision"))
    return tuple(found)


# Beside Keras' own files, for networks of keras.applications.
MOBILE_BESIDE_KERAS: dict[str, tuple[WeightSpec, ...]] = {
    **{f"efficientnet_b{number}": _tf_efficientnet(number) for number in range(8)},
    **{
        f"efficientnet_v2_b{number}": (
            timm(
                _EFFICIENTNET,
                f"tf_efficientnetv2_b{number}-{digits}.pth",
                _V2_RELEASE,
                name="imagenet-timm",
            ),
        )
        for number, digits in enumerate(_V2_B)
    },
    **{
        f"efficientnet_v2_{size}": (_tf_efficientnet_v2(size, digits),)
        for size, digits in _V2_21K.items()
    },
    "convnext_tiny": _convnext("tiny", "983f1562"),
    "convnext_small": _convnext("small", "0c510722"),
    "convnext_base": _convnext("base", "6075fbad"),
    "convnext_large": _convnext("large", "ea097f82"),
    "convnext_xlarge": _convnext("xlarge", None),
}

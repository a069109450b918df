"""How an entry of keras.applications is written down: what its members share, by family."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.catalog._torch_mobile import MOBILE_BESIDE_KERAS
from zoo.catalog._torch_weights import BESIDE_KERAS
from zoo.spec import BackboneSpec, Preprocessing, WeightSpec

BASE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_BUILDERS = "zoo.architectures.keras_applications:"
_RANGES = {
    "tf": (-1.0, 1.0),
    "torch": (-2.118, 2.64),
    "caffe": (-123.68, 151.061),
    "signed128": (-1.0, 0.9922),
}
_CONVENTIONS = {
    "tf": "RGB, 0-255, x / 127.5 - 1",
    "torch": "RGB, 0-255, (x / 255 - ImageNet mean) / ImageNet deviation",
    "caffe": "BGR, 0-255, minus the ImageNet mean of each channel",
    "signed128": "RGB, 0-255, x / 128 - 1",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A backbone and the name of its constructor in ``keras.applications``."""

    spec: BackboneSpec
    constructor: str


def entry(
    name: str,
    constructor: str,
    taps: str,
    params: int,
    *,
    family: str,
    mode: Preprocessing,
    file: str,
    digest: str | None,
    url: str,
    licence: str,
    paper: str,
    builder: str = "plain",
    min_size: int = 32,
    input_size: int = 224,
    static_size: bool = False,
) -> Entry:
    """Write one entry; ``taps`` are separated by blanks and end at stride 32."""
    names = taps.split()
    strides = (2, 4, 8, 16, 32)[-len(names) :]
    weights = WeightSpec(
        name="imagenet",
        source="keras",
        file=file,
        url=url if url.endswith(".h5") else url + file,
        sha256=digest if digest and len(digest) == 64 else None,
        md5=digest if digest and len(digest) == 32 else None,
        licence=licence,
        citation=f"keras.applications; {paper}",
        input_convention=_CONVENTIONS[mode],
        input_range=_RANGES[mode],
    )
    spec = BackboneSpec(
        name=name,
        family=family,
        builder=_BUILDERS + builder,
        taps=tuple(zip(strides, names, strict=True)),
        preprocessing=mode,
        min_size=min_size,
        input_size=input_size,
        params=params,
        weights=(weights, *BESIDE_KERAS.get(name, ()), *MOBILE_BESIDE_KERAS.get(name, ())),
        licence="Apache-2.0",
        paper=paper,
        static_size=static_size,
    )
    return Entry(spec=spec, constructor=constructor)


def kernels(
    name: str,
    constructor: str,
    taps: str,
    params: int,
    digest: str,
    *,
    family: str,
    mode: Preprocessing,
    licence: str,
    paper: str,
    folder: str | None = None,
    min_size: int = 32,
    input_size: int = 224,
) -> Entry:
    """Write an entry whose file is named ``<name>_weights_tf_dim_ordering_tf_kernels_notop.h5``."""
    return entry(
        name,
        constructor,
        taps,
        params,
        family=family,
        mode=mode,
        file=f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        digest=digest,
        url=f"{BASE}{folder or name}/",
        licence=licence,
        paper=paper,
        min_size=min_size,
        input_size=input_size,
    )


def resnet(name: str, constructor: str, conv3: int, conv4: int, params: int, digest: str) -> Entry:
    """ResNet: the numbers of blocks in the third and fourth stage set the taps."""
    return kernels(
        name,
        constructor,
        f"conv1_relu conv2_block3_out conv3_block{conv3}_out conv4_block{conv4}_out "
        "conv5_block3_out",
        params,
        digest,
        family="resnet",
        mode="caffe",
        licence="MIT",
        paper="He et al., Deep Residual Learning, CVPR 2016, arXiv:1512.03385",
        folder="resnet",
    )


def resnet_v2(
    name: str, constructor: str, conv3: int, conv4: int, params: int, digest: str
) -> Entry:
    """ResNetV2: pre-activation; the last block of a stage strides."""
    return kernels(
        name,
        constructor,
        f"conv1_conv conv2_block3_preact_relu conv3_block{conv3}_preact_relu "
        f"conv4_block{conv4}_preact_relu post_relu",
        params,
        digest,
        family="resnet_v2",
        mode="tf",
        licence="BSD-3-Clause",
        paper="He et al., Identity Mappings, ECCV 2016, arXiv:1603.05027",
        folder="resnet",
    )


def vgg(name: str, constructor: str, taps: str, params: int, digest: str) -> Entry:
    """VGG: no strided stem, so the first tap is the second block."""
    return kernels(
        name,
        constructor,
        taps,
        params,
        digest,
        family="vgg",
        mode="caffe",
        licence="CC-BY-4.0",
        paper="Simonyan and Zisserman, Very Deep Networks, ICLR 2015, arXiv:1409.1556",
    )


def densenet(name: str, constructor: str, params: int, digest: str) -> Entry:
    """DenseNet: the activation in front of each transition."""
    return kernels(
        name,
        constructor,
        "conv1_relu pool2_relu pool3_relu pool4_relu relu",
        params,
        digest,
        family="densenet",
        mode="torch",
        licence="BSD-3-Clause",
        paper="Huang et al., Densely Connected Networks, CVPR 2017, arXiv:1608.06993",
        folder="densenet",
    )


def nasnet(
    name: str, constructor: str, taps: str, params: int, digest: str, *, input_size: int
) -> Entry:
    """NASNet: the activated input of each reduction cell."""
    kind = name.removeprefix("nasnet_")
    return entry(
        name,
        constructor,
        taps,
        params,
        family="nasnet",
        mode="tf",
        file=f"{name}_no_top.h5",
        digest=digest,
        url=f"{BASE}nasnet/NASNet-{kind}-no-top.h5",
        licence="Apache-2.0",
        paper="Zoph et al., Transferable Architectures, CVPR 2018, arXiv:1707.07012",
        static_size=True,
        input_size=input_size,
    )


def mobilenet_v3(name: str, constructor: str, taps: str, params: int, digest: str) -> Entry:
    """MobileNetV3: the expanded activation in front of each strided block."""
    kind = name.removeprefix("mobilenet_v3_")
    return entry(
        name,
        constructor,
        taps,
        params,
        family="mobilenet_v3",
        mode="tf",
        file=f"weights_mobilenet_v3_{kind}_224_1.0_float_no_top_v2.h5",
        digest=digest,
        url=f"{BASE}mobilenet_v3/",
        licence="Apache-2.0",
        paper="Howard et al., Searching for MobileNetV3, ICCV 2019, arXiv:1905.02244",
        builder="unscaled",
    )


def efficientnet(variant: int, input_size: int, params: int, digest: str) -> Entry:
    """EfficientNet: the expanded activation in front of each strided block."""
    return entry(
        f"efficientnet_b{variant}",
        f"EfficientNetB{variant}",
        "block2a_expand_activation block3a_expand_activation block4a_expand_activation "
        "block6a_expand_activation top_activation",
        params,
        family="efficientnet",
        mode="torch",
        file=f"efficientnetb{variant}_notop.h5",
        digest=digest,
        url="https://storage.googleapis.com/keras-applications/",
        licence="Apache-2.0",
        paper="Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946",
        builder="efficientnet",
        input_size=input_size,
    )


def efficientnet_v2(
    variant: str, stage1: str, stage2: str, input_size: int, params: int, digest: str
) -> Entry:
    """EfficientNetV2: the ends of the fused stages, then expanded activations."""
    return entry(
        f"efficientnet_v2_{variant}",
        f"EfficientNetV2{variant.upper()}",
        f"{stage1} {stage2} block4a_expand_activation block6a_expand_activation top_activation",
        params,
        family="efficientnet_v2",
        mode="torch" if variant.startswith("b") else "signed128",
        file=f"efficientnetv2-{variant}_notop.h5",
        digest=digest,
        url=f"{BASE}efficientnet_v2/",
        licence="Apache-2.0",
        paper="Tan and Le, EfficientNetV2, ICML 2021, arXiv:2104.00298",
        builder="unscaled",
        input_size=input_size,
    )


def convnext(variant: str, constructor: str, params: int, digest: str) -> Entry:
    """ConvNeXt: the normalised end of each stage; no stride 2."""
    name = f"convnext_{variant}"
    norms = [f"{name}_downsampling_layernorm_{index}" for index in range(3)]
    return entry(
        name,
        constructor,
        " ".join([*norms, "layer_normalization"]),
        params,
        family="convnext",
        mode="torch",
        file=f"{name}_notop.h5",
        digest=digest,
        url=f"{BASE}convnext/",
        licence="MIT",
        paper="Liu et al., A ConvNet for the 2020s, CVPR 2022, arXiv:2201.03545",
        builder="unscaled",
    )

"""What the zoo knows of a backbone, as frozen data: no behaviour, no heavy import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WeightSource = Literal["keras", "package", "file"]
Preprocessing = Literal["caffe", "caffe255", "torch", "tf", "signed128", "lite", "xrv", "none"]


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One set of pretrained weights of a backbone.

    Attributes:
        name: What the caller asks for, usually ``"imagenet"``.
        source: ``"keras"`` for a file of keras.applications, ``"package"`` for a file that a pip
            package carries, ``"file"`` for a published file of another layout, which ``converter``
            translates.
        file: File name, also the name under which a cache holds it.
        url: Where the file can be downloaded; None where it cannot.
        page: Page of the publisher where people get the file by hand.
        sha256: Digest of the file, where known.
        md5: MD5 digest of the file, where that is what the publisher states.
        licence: SPDX identifier of the weights' licence.
        citation: Whom to cite for the weights.
        package: Distribution that carries the file, for ``source="package"``.
        extra: Extra of radzoo that installs that distribution; None when it is a dependency.
        resource: Path of the file inside the installed distribution.
        input_convention: The pixel values the weights were trained on, in words.
        input_range: Lowest and highest value that the network itself is fed, behind the
            preprocessing; None where the convention has no bounds (standardised volumes).
        preprocessing: What turns 0-255 RGB into what these weights expect; None: as the backbone.
        channels: Input channels of the first kernel in the file: 3, or 1 for weights of grey
            images.
        converter: Dotted ``"module:function"`` from (tensors by name, backbone) to layer name ->
            arrays, for ``source="file"``; see ``zoo.weights.converters``.
        sha256_prefix: First digits of the SHA-256, where the publisher puts only those in the name.
        reference: What ``zoo.weights.reference`` says of them, as the publisher's own
            implementation gave it; None where nobody has run it.
    """

    name: str
    source: WeightSource
    file: str
    url: str | None = None
    page: str | None = None
    sha256: str | None = None
    md5: str | None = None
    licence: str
    citation: str
    package: str | None = None
    extra: str | None = None
    resource: str | None = None
    input_convention: str
    input_range: tuple[float, float] | None = None
    preprocessing: Preprocessing | None = None
    channels: int = 3
    converter: str | None = None
    sha256_prefix: str | None = None
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """One backbone: how to build it and what to expect of it.

    Attributes:
        name: Registry name in snake case.
        family: Group of architectures, for example ``"resnet"``.
        builder: Dotted ``"module:function"``; the function takes (spec, input_tensor), the tensor
            already preprocessed and of any number of channels, and returns a keras.Model without a
            classification top.
        taps: Pyramid taps as (stride, stable layer name) by rising stride, out of 2, 4, 8, 16, 32.
        preprocessing: What turns 0-255 RGB into what the network expects, placed before the
            builder's graph; see ``zoo.preprocessing``.
        min_size: Smallest input side in pixels.
        input_size: Side in pixels of the ImageNet training or evaluation crop.
        params: Number of parameters without top, at three channels.
        weights: Pretrained weights on offer.
        licence: SPDX identifier of the architecture's code.
        paper: Short citation with the arXiv identifier.
        widths: Channels of each tap, in the order of ``taps``.
        static_size: Whether height and width must be known when the network is built.
        dims: 2, or 3 for a network of volumes: its builder takes ``(batch, depth, height, width,
            channels)``.
        inflatable: Whether it can be built in 3D: it consists of convolutions, poolings, norms and
            arithmetic.
    """

    name: str
    family: str
    builder: str
    taps: tuple[tuple[int, str], ...]
    preprocessing: Preprocessing
    min_size: int
    input_size: int
    params: int
    weights: tuple[WeightSpec, ...]
    licence: str
    paper: str
    widths: tuple[int, ...] = ()
    static_size: bool = False
    dims: int = 2
    inflatable: bool = True

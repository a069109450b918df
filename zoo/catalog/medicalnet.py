"""MedicalNet: 3D ResNets trained to segment CT and MR volumes of 23 data sets, one channel.

The last two stages dilate instead of striding, so the pyramid ends at stride 8. Volumes enter as
they are given: the caller standardises each by the mean and deviation of its voxels above zero
(MedicalNet resizes them to 56 x 448 x 448 and puts normal noise where they are zero).
"""

from __future__ import annotations

from zoo.catalog._torch_weights import medicalnet
from zoo.spec import BackboneSpec

_PAPER = "Chen, Ma and Zheng, Med3D, 2019, arXiv:1904.00625"


def _resnet(depth: int, ends: tuple[str, str], params: int) -> BackboneSpec:
    return BackboneSpec(
        name=f"medicalnet_resnet{depth}",
        family="medicalnet",
        builder="zoo.architectures.resnet:resnet",
        taps=tuple(zip((2, 4, 8), ("conv1_relu", *ends), strict=True)),
        preprocessing="none",
        min_size=16,
        input_size=448,
        params=params,
        weights=(medicalnet(depth),),
        licence="Apache-2.0",
        paper=_PAPER,
        widths=(64, 256, 2048) if depth == 50 else (64, 64, 512),
        dims=3,
        inflatable=False,
    )


SPECS: tuple[BackboneSpec, ...] = (
    _resnet(10, ("conv2_block1_out", "conv5_block1_out"), 14_361_280),
    _resnet(18, ("conv2_block2_out", "conv5_block2_out"), 32_993_984),
    _resnet(34, ("conv2_block3_out", "conv5_block3_out"), 63_311_040),
    _resnet(50, ("conv2_block3_out", "conv5_block3_out"), 46_208_192),
)

"""Weight sets that are published as PyTorch files, by the backbone that takes them.

Files, addresses and the first digits of the SHA-256 (the last part of the file's name) are those
of torchvision 0.29 (its ``*_Weights`` enumerations), timm 1.0.31, TorchXRayVision 1.5.7
(``torchxrayvision.models.model_urls``) and MedicalNet's model cards. torchvision states no separate
licence for its weights: they come under the licence of the project, BSD-3-Clause; whoever wants to
use them for other than research has to look at the terms of ImageNet as well.
"""

from __future__ import annotations

from zoo.spec import WeightSpec

_CONVERTERS = "zoo.weights.converters."
_TORCH_INPUT = "RGB, 0-255, (x / 255 - ImageNet mean) / ImageNet deviation"
_TORCH_RANGE = (-2.118, 2.64)
_XRV_RELEASES = "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
_XRV_CITATION = "Cohen et al., TorchXRayVision, MIDL 2022, arXiv:2111.00595"
_XRV_FILES = {
    "xrv-all": "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-"
    "sc15-seed0-best.pt",
    "xrv-nih": "nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
    "xrv-pc": "pc-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
    "xrv-chex": "chex-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
    "xrv-rsna": "kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
    "xrv-mimic_nb": "mimic_nb-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
    "xrv-mimic_ch": "mimic_ch-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
}


def torchvision(family: str, file: str, *, name: str = "imagenet") -> WeightSpec:
    """Write down a file of torchvision; its name ends in the first digits of its SHA-256."""
    return WeightSpec(
        name=name,
        source="file",
        file=file,
        url=f"https://download.pytorch.org/models/{file}",
        licence="BSD-3-Clause",
        citation="torchvision, https://github.com/pytorch/vision",
        input_convention=_TORCH_INPUT,
        input_range=_TORCH_RANGE,
        preprocessing="torch",
        converter=f"{_CONVERTERS}{family}:convert",
        sha256_prefix=_digits(file),
    )


def timm(family: str, file: str, release: str, *, name: str = "imagenet") -> WeightSpec:
    """Write down a file of timm's GitHub releases."""
    base = "https://github.com/huggingface/pytorch-image-models/releases/download/"
    return WeightSpec(
        name=name,
        source="file",
        file=file,
        url=f"{base}{release}/{file}",
        licence="Apache-2.0",
        citation="Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models",
        input_convention=_TORCH_INPUT,
        input_range=_TORCH_RANGE,
        preprocessing="torch",
        converter=f"{_CONVERTERS}{family}:convert",
        sha256_prefix=_digits(file),
    )


def medicalnet(depth: int) -> WeightSpec:
    """Write down a network that MedicalNet trained on 23 data sets."""
    file = f"resnet_{depth}_23dataset.pth"
    return WeightSpec(
        name="medicalnet-23datasets",
        source="file",
        file=file,
        url=f"https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet{depth}/resolve/main/{file}",
        licence="MIT",
        citation="Chen, Ma and Zheng, Med3D, 2019, arXiv:1904.00625",
        input_convention="one channel, minus mean, divided by deviation of its voxels above zero",
        preprocessing="none",
        channels=1,
        converter=f"{_CONVERTERS}medicalnet:convert",
    )


def _xrv(name: str, file: str, family: str) -> WeightSpec:
    return WeightSpec(
        name=name,
        source="file",
        file=file,
        url=_XRV_RELEASES + file,
        licence="Apache-2.0",
        citation=_XRV_CITATION,
        input_convention="one channel, 0-255, to [-1024, 1024]",
        input_range=(-1024.0, 1024.0),
        preprocessing="xrv",
        channels=1,
        converter=f"{_CONVERTERS}{family}:convert",
    )


def _digits(file: str) -> str:
    return file.rpartition("-")[2].removesuffix(".pth")


XRV_DENSENET = tuple(_xrv(name, file, "densenet") for name, file in _XRV_FILES.items())
XRV_RESNET = _xrv(
    "xrv-resnet50-res512-all", "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt", "resnet"
)

# Beside Keras' own files, for networks of keras.applications.
BESIDE_KERAS: dict[str, tuple[WeightSpec, ...]] = {
    "densenet121": (
        torchvision("densenet", "densenet121-a639ec97.pth", name="imagenet-torchvision"),
        *XRV_DENSENET,
    ),
    "densenet169": (
        torchvision("densenet", "densenet169-b2777c0a.pth", name="imagenet-torchvision"),
    ),
    "densenet201": (
        torchvision("densenet", "densenet201-c1103571.pth", name="imagenet-torchvision"),
    ),
    "vgg16": (torchvision("vgg", "vgg16-397923af.pth", name="imagenet-torchvision"),),
    "vgg19": (torchvision("vgg", "vgg19-dcbb9e9d.pth", name="imagenet-torchvision"),),
}

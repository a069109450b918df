"""The ConvNeXts that keras.applications lacks: timm's small ones, and ConvNeXtV2."""

from __future__ import annotations

from zoo.catalog._torch_mobile import facebook
from zoo.catalog._torch_weights import timm
from zoo.spec import BackboneSpec, WeightSpec

_V1_PAPER = "Liu et al., A ConvNet for the 2020s, CVPR 2022, arXiv:2201.03545"
_V2_PAPER = "Woo et al., ConvNeXt V2, CVPR 2023, arXiv:2301.00808"


_FIRST_WIDTH = {"atto": 40, "femto": 48, "pico": 64, "nano": 80, "tiny": 96}


def _entry(name: str, params: int, weight: WeightSpec, paper: str) -> BackboneSpec:
    first = _FIRST_WIDTH[name.rpartition("_")[2]]
    norms = [f"{name}_downsampling_layernorm_{index}" for index in range(3)]
    return BackboneSpec(
        name=name,
        family=name.rpartition("_")[0],
        builder="zoo.architectures.convnext:convnext",
        taps=tuple(zip((4, 8, 16, 32), (*norms, f"{name}_layernorm"), strict=True)),
        preprocessing="torch",
        min_size=32,
        input_size=224,
        params=params,
        weights=(weight,),
        licence="Apache-2.0",
        paper=paper,
        widths=(first, 2 * first, 4 * first, 8 * first),
    )


def _v1(size: str, digits: str, params: int) -> BackboneSpec:
    weight = timm("convnext", f"convnext_{size}_{digits}.pth", "v0.1-rsb-weights")
    return _entry(f"convnext_{size}", params, weight, _V1_PAPER)


def _v2(size: str, params: int) -> BackboneSpec:
    weight = facebook(
        f"convnextv2/im1k/convnextv2_{size}_1k_224_ema.pt",
        name="imagenet",
        licence="CC-BY-NC-4.0",
        citation=_V2_PAPER,
    )
    return _entry(f"convnext_v2_{size}", params, weight, _V2_PAPER)


SPECS: tuple[BackboneSpec, ...] = (
    _v1("atto", "d2-01bb0f51", 3_374_520),
    _v1("femto", "d1-d71d5b4c", 4_832_784),
    _v1("pico", "d1-10ad7f0d", 8_532_672),
    _v1("nano", "d1h-7eb4bdea", 14_952_560),
    _v2("atto", 3_387_400),
    _v2("femto", 4_848_240),
    _v2("pico", 8_553_280),
    _v2("nano", 14_982_800),
    _v2("tiny", 27_866_496),
)

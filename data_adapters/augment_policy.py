"""Augmentation policies as data: what may be done to a picture without touching its label.

A policy is a frozen record of magnitudes. It starts from a preset per modality, is scaled by a
strength, changed by single keys, and then held to bans. A ban always wins over a strength or a
changed key; only lifting that very ban by name removes it. The module loads neither numpy nor
albumentations, so a configuration can be checked quickly.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_adapters.errors import DataError, nearest

STRENGTHS = {"none": 0.0, "light": 0.5, "medium": 1.0, "strong": 1.5}
BORDERS = ("constant", "replicate", "reflect")
LARGEST_TILT = 45.0
"""Degrees: with a flip banned, a larger rotation would bring the ban's picture in by the back."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentPolicy:
    """Magnitudes of every random change; zero or False leaves a change out.

    Attributes:
        flip_lr: Mirror left and right, half of the time.
        flip_ud: Mirror top and bottom, half of the time.
        quarter_turns: Turn by 0, 90, 180 or 270 degrees (0 or 180 where height differs from width).
        rotate_deg: Rotation drawn from +-rotate_deg degrees.
        translate: Shift drawn from +-translate of the side, each axis for itself.
        zoom: Isotropic scale drawn from [1 / (1 + zoom), 1 + zoom].
        shear: Shear drawn from +-shear degrees, each axis for itself.
        elastic: Standard deviation of the displacement of coarse control points, as a part of
            the shorter side.
        noise: Largest standard deviation of white noise, as a part of the value range.
        contrast: Factor on the values drawn from 1 +- contrast.
        brightness: Offset drawn from +-brightness of the value range.
        blur: Largest standard deviation of a Gaussian blur, in pixels.
        border: What fills the pixels that a warp brings in: `constant` (the low end of the value
            range: air in CT, black in ultrasound), `replicate` (the edge goes on: films that fill
            their frame), `reflect` (tissue without a natural edge).
        bans: The bans in force, sorted.
    """

    flip_lr: bool = False
    flip_ud: bool = False
    quarter_turns: bool = False
    rotate_deg: float = 0.0
    translate: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    noise: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    blur: float = 0.0
    border: str = "replicate"
    bans: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """True where the policy can change a picture at all."""
        return any(getattr(self, key) for key in (*GEOMETRY, *INTENSITY))

    @property
    def changes_values(self) -> bool:
        """True where grey values are changed, beyond what interpolation does."""
        return any(getattr(self, key) for key in INTENSITY)

    def to_json(self) -> dict[str, Any]:
        """The policy as a dict that JSON can hold."""
        return {**dataclasses.asdict(self), "bans": list(self.bans)}


GEOMETRY = (
    "flip_lr",
    "flip_ud",
    "quarter_turns",
    "rotate_deg",
    "translate",
    "zoom",
    "shear",
    "elastic",
)
INTENSITY = ("noise", "contrast", "brightness", "blur")

BANS: dict[str, tuple[str, ...]] = {
    "flip_lr": ("flip_lr", "quarter_turns"),
    "flip_ud": ("flip_ud", "quarter_turns"),
    "zoom": ("zoom",),
    "shape": ("zoom", "shear", "elastic"),
    "intensity": INTENSITY,
}
"""What each ban forbids. A quarter turn exchanges the axes, so either flip's ban forbids it too."""

_CEILING = {
    "rotate_deg": 180.0,
    "translate": 0.5,
    "zoom": 1.0,
    "shear": 45.0,
    "elastic": 0.1,
    "noise": 0.5,
    "contrast": 0.9,
    "brightness": 0.9,
    "blur": 5.0,
}


@dataclasses.dataclass(frozen=True)
class _Preset:
    medium: AugmentPolicy
    bans: tuple[str, ...] = ()


_FILM = _Preset(
    AugmentPolicy(
        rotate_deg=8.0, translate=0.05, zoom=0.10, shear=3.0, elastic=0.008,
        noise=0.02, contrast=0.15, brightness=0.10, border="replicate",
    ),
    bans=("flip_lr", "flip_ud"),
)  # fmt: skip
_ULTRASOUND = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=8.0, translate=0.06, zoom=0.12, shear=3.0, elastic=0.010,
        noise=0.03, contrast=0.20, brightness=0.12, border="constant",
    ),
    bans=("flip_ud",),
)  # fmt: skip
_CT = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=10.0, translate=0.06, zoom=0.10, shear=4.0, elastic=0.010,
        noise=0.02, contrast=0.10, brightness=0.05, border="constant",
    )
)  # fmt: skip
_MR = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=10.0, translate=0.06, zoom=0.10, shear=4.0, elastic=0.010,
        noise=0.03, contrast=0.20, brightness=0.10, border="constant",
    )
)  # fmt: skip
_MAMMOGRAM = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=10.0, translate=0.05, zoom=0.10, shear=4.0, elastic=0.010,
        noise=0.02, contrast=0.15, brightness=0.08, border="constant",
    ),
    bans=("flip_ud",),
)  # fmt: skip
_TOMOGRAPHY_OF_EYE = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=6.0, translate=0.05, zoom=0.08, shear=3.0, elastic=0.008,
        noise=0.03, contrast=0.15, brightness=0.08, border="replicate",
    ),
    bans=("flip_ud",),
)  # fmt: skip
_FUNDUS = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=12.0, translate=0.05, zoom=0.10, shear=3.0, elastic=0.006,
        noise=0.02, contrast=0.15, brightness=0.10, border="constant",
    ),
    bans=("flip_ud",),
)  # fmt: skip
_TISSUE = _Preset(
    AugmentPolicy(
        flip_lr=True, flip_ud=True, quarter_turns=True, rotate_deg=15.0, translate=0.06,
        zoom=0.12, shear=4.0, elastic=0.012, noise=0.02, contrast=0.15, brightness=0.08,
        border="reflect",
    )
)  # fmt: skip
_GENERIC = _Preset(
    AugmentPolicy(
        flip_lr=True, rotate_deg=10.0, translate=0.06, zoom=0.10, shear=4.0, elastic=0.010,
        noise=0.02, contrast=0.15, brightness=0.08, border="reflect",
    )
)  # fmt: skip

PRESETS: dict[str, _Preset] = {
    "generic": _GENERIC,
    "XR-chest": _FILM,
    "XR": _FILM,
    "MG": _MAMMOGRAM,
    "US": _ULTRASOUND,
    "CT": _CT,
    "MR": _MR,
    "PT": _MR,
    "NM": _MR,
    "OCT": _TOMOGRAPHY_OF_EYE,
    "fundus": _FUNDUS,
    "histology": _TISSUE,
    "microscopy": _TISSUE,
    "dermatoscopy": _TISSUE,
    "endoscopy": _TISSUE,
}
"""Medium strength per modality. Radiographs of unknown region are taken for chest films."""

_ALIASES = {
    "dx": "XR",
    "cr": "XR",
    "rg": "XR",
    "rf": "XR",
    "xa": "XR",
    "io": "XR",
    "px": "XR",
    "pet": "PT",
    "opt": "OCT",
    "op": "fundus",
    "sm": "histology",
    "pathology": "histology",
    "gm": "microscopy",
    "em": "microscopy",
    "dms": "dermatoscopy",
    "dermoscopy": "dermatoscopy",
    "es": "endoscopy",
    "ivus": "US",
}
"""DICOM modality codes and other common names."""

_SIDE_WORDS = re.compile(r"\b(left|right|links|rechts|gauche|droite?)\b|(^|[\W_])[lr]($|[\W_])")
_HEIGHT_WORDS = re.compile(r"\b(upper|lower|superior|inferior|upside|inverted)\b")
_SIZE_WORDS = re.compile(
    r"enlarg|hyperplas|hypertroph|atroph|megal|dilat|stenos|aneurysm|\b(small|large|big|size)\b"
)


def policy(
    modality: str | None,
    *,
    strength: str = "medium",
    bans: Iterable[str] = (),
    lift: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> AugmentPolicy:
    """The policy of a modality at a strength, held to its bans.

    Args:
        modality: A key of `PRESETS` or a DICOM modality code, in any case; None is `generic`.
        strength: `none` (changes nothing), `light` (half), `medium`, or `strong` (one and a half
            times, with elastic deformation and blur, which the others leave out).
        bans: Bans beside the modality's own: `flip_lr`, `flip_ud`, `zoom`, `shape` (no zoom,
            shear or elastic: size or shape is the label), `intensity` (a grey-value threshold is
            the label).
        lift: Bans of the modality to take away; whoever does so answers for the labels.
        overrides: Single attributes of `AugmentPolicy` set outright, e.g. `{"rotate_deg": 15}`.

    Raises:
        DataError: An unknown name, a magnitude out of range, or an override under a ban.
    """
    preset = _preset(modality)
    scale = STRENGTHS[_known(strength, STRENGTHS, "augmentation strength")]
    lifted = {_known(name, BANS, "ban") for name in lift}
    in_force = ({*preset.bans} | {_known(name, BANS, "ban") for name in bans}) - lifted
    values = _scaled(preset.medium, scale)
    given = dict(overrides or {})
    for key in given:
        values[_known(key, (*GEOMETRY, *INTENSITY, "border"), "augmentation key")] = given[key]
    for ban in sorted(in_force):
        _enforce(ban, values, given)
    _check(values)
    return AugmentPolicy(**values, bans=tuple(sorted(in_force)))


def suggest_bans(class_names: Sequence[str]) -> tuple[str, ...]:
    """Bans that the class names ask for: sides ban `flip_lr`, heights `flip_ud`, sizes `shape`.

    A hint from the words alone, for classes such as `kidney-left` or `hyperplasia`; it cannot
    know what a label means, so a recipe shows what it adopted.
    """
    words = [re.sub(r"[_\-/,]", " ", name).lower() for name in class_names]
    found = []
    for ban, pattern in (
        ("flip_lr", _SIDE_WORDS),
        ("flip_ud", _HEIGHT_WORDS),
        ("shape", _SIZE_WORDS),
    ):
        if any(pattern.search(word) for word in words):
            found.append(ban)
    return tuple(found)


def tta_views(
    chosen: AugmentPolicy, *, shift: float = 0.03, square: bool = True
) -> list[dict[str, Any]]:
    """Fixed views for test-time augmentation, under the same bans as training.

    Args:
        chosen: The policy of the training; one that changes nothing gives the plain view alone.
        shift: Part of the side by which the shifted views move, at most the policy's own.
        square: Whether height equals width; quarter turns need it.

    Returns:
        Views for `apply_view`, the plain one first, each a dict that JSON can hold.
    """
    views: list[dict[str, Any]] = [{"view": "identity"}]
    if chosen.flip_lr:
        views.append({"view": "flip_lr"})
    if chosen.flip_ud:
        views.append({"view": "flip_ud"})
    if chosen.quarter_turns:
        views += [{"view": "turn", "quarters": k} for k in ((1, 2, 3) if square else (2,))]
    step = min(shift, chosen.translate)
    if step > 0:
        for dy, dx in ((-step, 0.0), (step, 0.0), (0.0, -step), (0.0, step)):
            views.append({"view": "shift", "dy": dy, "dx": dx})
    return views


def _preset(modality: str | None) -> _Preset:
    if modality is None:
        return PRESETS["generic"]
    names = {name.lower(): name for name in PRESETS} | _ALIASES
    if modality.lower() not in names:
        _known(modality, (*PRESETS, *(code.upper() for code in _ALIASES)), "modality")
    return PRESETS[names[modality.lower()]]


def _scaled(medium: AugmentPolicy, scale: float) -> dict[str, Any]:
    """Attributes at a strength; flips stay as they are, elastic and blur come with `strong`."""
    values = {key: getattr(medium, key) for key in (*GEOMETRY, *INTENSITY, "border")}
    for key in (*GEOMETRY, *INTENSITY):
        if isinstance(values[key], bool):
            values[key] = values[key] and scale > 0
        else:
            values[key] = round(values[key] * scale, 6)
    if scale < STRENGTHS["strong"]:
        values["elastic"] = 0.0
    else:
        values["blur"] = 0.8
    return values


def _enforce(ban: str, values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Take away what a ban forbids; an explicit wish for it is an error, never ignored."""
    for key in BANS[ban]:
        if given.get(key):
            raise DataError(
                f"augmentation {key}={given[key]} is banned by '{ban}' here; leave it out, or "
                f"lift the ban '{ban}' explicitly if it cannot change a label in these data"
            )
        values[key] = type(values[key])(0)
    if ban in ("flip_lr", "flip_ud") and _number(values["rotate_deg"]) > LARGEST_TILT:
        raise DataError(
            f"augmentation rotate_deg={values['rotate_deg']} goes beyond {LARGEST_TILT:g} degrees "
            f"while '{ban}' is banned; choose a smaller angle or lift the ban '{ban}'"
        )


def _check(values: dict[str, Any]) -> None:
    """Types and limits of every attribute; numbers become floats."""
    for key in ("flip_lr", "flip_ud", "quarter_turns"):
        if not isinstance(values[key], bool):
            raise DataError(f"augmentation {key}={values[key]!r} must be true or false")
    for key, ceiling in _CEILING.items():
        number = _number(values[key])
        if not 0 <= number <= ceiling:
            raise DataError(f"augmentation {key}={values[key]!r} must lie in 0..{ceiling:g}")
        values[key] = number
    _known(str(values["border"]), BORDERS, "augmentation border")


def _number(value: object) -> float:
    """The value as a float, NaN where it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def _known(name: str, choices: Iterable[str], what: str) -> str:
    known = list(choices)
    if name not in known:
        raise DataError(f"unknown {what} {name!r}{nearest(str(name), known)}")
    return name

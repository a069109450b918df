"""What may be done to a patch and its mask, as data; loads neither numpy nor cv2.

The presets' shares and magnitudes follow what nnU-Net reports (Isensee et al. 2021,
arXiv:1904.08128, supplement): `medium` is close to it, with a little elastic deformation.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_adapters.augment_policy import LARGEST_TILT
from data_adapters.errors import DataError, nearest

BANS: dict[str, tuple[str, ...]] = {
    "flip": ("flip", "quarter_turns"),
    "flip_lr": ("quarter_turns",),
    "flip_ap": ("quarter_turns",),
    "flip_si": ("quarter_turns",),
    "flip_ud": ("quarter_turns",),
    "zoom": ("p_scale",),
    "shape": ("p_scale", "p_elastic"),
    "intensity": (
        "p_noise",
        "p_blur",
        "p_brightness",
        "p_contrast",
        "p_gamma",
        "p_gamma_inverted",
        "p_low_resolution",
    ),
}
"""What each ban takes away as a whole. The flips of single directions are left out where the axes
of a case are known (`axes.flip_axes`)."""

_CEILING = {
    "rotate_deg": 180.0,
    "scale": 1.0,
    "elastic": 0.4,
    "noise": 1.0,
    "blur": 3.0,
    "brightness": 2.0,
    "contrast": 2.0,
    "gamma": 2.0,
    "low_resolution": 4.0,
    "thick": 1000.0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchPolicy:
    """Magnitude and share of patches (`p_...`) of every random change; zero leaves a change out.

    Attributes:
        rotate_deg: Rotation about each axis drawn from +-rotate_deg, rigid in millimetres.
        p_rotate: Its share.
        scale: Isotropic factor drawn from [1 / (1 + scale), 1 + scale].
        p_scale: Its share.
        elastic: Standard deviation of the control points of a cubic B-spline deformation, as a
            part of their distance (a quarter of the patch's longest side in mm); held below 0.4,
            where such deformations stay one to one (Choi and Lee 2000).
        p_elastic: Its share.
        flip: Chance of a mirroring along each axis that allows it.
        quarter_turns: Turn by 0 to 3 quarters in the plane of the last two axes, where these are
            alike; by 0 or 2 where they are not. For tissue without an upright pose.
        noise: Largest standard deviation of white noise, in units of the image.
        p_noise: Its share.
        blur: Largest standard deviation of a Gaussian blur, in voxels; the least is 0.5.
        p_blur: Its share.
        brightness: Offset drawn from +-brightness units of the image.
        p_brightness: Its share.
        contrast: Factor about the mean drawn from [1 / (1 + contrast), 1 + contrast].
        p_contrast: Its share.
        gamma: Exponent drawn from [1 / (1 + gamma), 1 + gamma], on the patch's own range, with
            mean and standard deviation as before.
        p_gamma: Its share.
        p_gamma_inverted: Share of the same on the negative.
        low_resolution: Largest factor of a coarser sampling that is brought back linearly.
        p_low_resolution: Its share.
        thick: An axis whose spacing is at least this many times the finest one is neither turned
            into another nor scaled, bent or coarsened.
        per_channel: Whether each channel has its own changes of values (sequences of MR); else all
            have the same (colours).
        mask_by: `linear` (the class with the largest interpolated share) or `nearest`.
        image_order: 1 (linear) or 3 (cubic spline; slower).
        swaps: Pairs of classes that change places in a mirroring along the patient's left-right
            axis.
        bans: Bans in force: keys of `BANS`. `flip_ud` is along superior-inferior where directions
            are known and along the rows of a plain picture.
    """

    rotate_deg: float = 0.0
    p_rotate: float = 0.0
    scale: float = 0.0
    p_scale: float = 0.0
    elastic: float = 0.0
    p_elastic: float = 0.0
    flip: float = 0.0
    quarter_turns: bool = False
    noise: float = 0.0
    p_noise: float = 0.0
    blur: float = 0.0
    p_blur: float = 0.0
    brightness: float = 0.0
    p_brightness: float = 0.0
    contrast: float = 0.0
    p_contrast: float = 0.0
    gamma: float = 0.0
    p_gamma: float = 0.0
    p_gamma_inverted: float = 0.0
    low_resolution: float = 1.0
    p_low_resolution: float = 0.0
    thick: float = 3.0
    per_channel: bool = True
    mask_by: str = "linear"
    image_order: int = 1
    swaps: tuple[tuple[int, int], ...] = ()
    bans: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check types, limits and bans.

        Raises:
            DataError: A value out of range, an unknown ban, or a large rotation where left and
                right must not be confused.
        """
        for field in dataclasses.fields(self):
            _check_field(field.name, getattr(self, field.name))
        if not isinstance(self.bans, tuple):
            raise DataError(f"augmentation bans={self.bans!r} must be a tuple")
        for ban in self.bans:
            _known(ban, BANS, "ban")
            for key in BANS[ban]:
                if getattr(self, key):
                    raise DataError(
                        f"augmentation {key}={getattr(self, key)} is banned by '{ban}' here; "
                        f"leave it out or lift the ban '{ban}'"
                    )
        sided = self.swaps or any(ban.startswith("flip_") for ban in self.bans)
        if self.quarter_turns and self.swaps:
            raise DataError("augmentation quarter_turns=True would turn left classes to the right")
        if sided and self.rotate_deg > LARGEST_TILT:
            raise DataError(
                f"augmentation rotate_deg={self.rotate_deg:g} goes beyond {LARGEST_TILT:g} degrees "
                "where a flip is banned or left and right are classes; choose a smaller angle"
            )

    @property
    def active(self) -> bool:
        """True where the policy can change a patch at all."""
        chances = [f.name for f in dataclasses.fields(self) if f.name.startswith("p_")]
        return bool(self.flip or self.quarter_turns or any(getattr(self, key) for key in chances))

    def to_json(self) -> dict[str, Any]:
        """The policy as a dict that JSON can hold."""
        return {
            **dataclasses.asdict(self),
            "bans": list(self.bans),
            "swaps": [list(pair) for pair in self.swaps],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PatchPolicy:
        """The policy of a dict such as `to_json` gives.

        Raises:
            DataError: An unknown key or a value out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        given = {_known(key, known, "augmentation key"): value for key, value in values.items()}
        for key in ("bans", "swaps"):
            value = given.get(key, ())
            if not isinstance(value, list | tuple):
                raise DataError(f"augmentation {key}={value!r} must be a list")
            given[key] = tuple(tuple(v) if isinstance(v, list | tuple) else v for v in value)
        return cls(**given)


_MEDIUM: dict[str, Any] = {
    "rotate_deg": 30.0, "p_rotate": 0.2, "scale": 0.4, "p_scale": 0.2,
    "elastic": 0.12, "p_elastic": 0.1, "flip": 0.5,
    "noise": 0.3, "p_noise": 0.15, "blur": 1.0, "p_blur": 0.15,
    "brightness": 0.3, "p_brightness": 0.15, "contrast": 0.4, "p_contrast": 0.2,
    "gamma": 0.5, "p_gamma": 0.2, "p_gamma_inverted": 0.1,
    "low_resolution": 2.0, "p_low_resolution": 0.15,
}  # fmt: skip
_LIGHT: dict[str, Any] = {
    **_MEDIUM,
    "rotate_deg": 15.0, "scale": 0.2, "p_elastic": 0.0, "noise": 0.15, "p_blur": 0.0,
    "brightness": 0.15, "contrast": 0.25, "gamma": 0.25, "p_gamma_inverted": 0.0,
    "p_low_resolution": 0.0,
}  # fmt: skip
_STRONG: dict[str, Any] = {
    **_MEDIUM,
    "p_rotate": 0.4, "p_scale": 0.3, "elastic": 0.2, "p_elastic": 0.3,
    "noise": 0.4, "p_noise": 0.2, "blur": 1.5, "p_blur": 0.2, "brightness": 0.5,
    "p_brightness": 0.2, "contrast": 0.6, "p_contrast": 0.3, "gamma": 0.7, "p_gamma": 0.3,
    "p_gamma_inverted": 0.15, "low_resolution": 2.5, "p_low_resolution": 0.25,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "light": _LIGHT,
    "medium": _MEDIUM,
    "strong": _STRONG,
}


def patch_policy(
    strength: str = "medium",
    *,
    bans: Iterable[str] = (),
    swaps: Iterable[Sequence[int]] = (),
    overrides: Mapping[str, Any] | None = None,
) -> PatchPolicy:
    """A preset held to its bans.

    Args:
        strength: `none`, `light`, `medium` or `strong`.
        bans: Keys of `BANS`; what they forbid is taken away from the preset.
        swaps: Pairs of left and right classes.
        overrides: Single attributes of `PatchPolicy` set outright.

    Raises:
        DataError: An unknown name, a magnitude out of range, or an override under a ban.
    """
    values = dict(PRESETS[_known(strength, PRESETS, "augmentation strength")])
    held = tuple(sorted({_known(ban, BANS, "ban") for ban in bans}))
    for key in (key for ban in held for key in BANS[ban] if key in values):
        values[key] = type(values[key])(0)
    return PatchPolicy.from_json(
        {**values, **(overrides or {}), "bans": held, "swaps": tuple(swaps)}
    )


def side_pairs(class_names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of classes whose names differ in left and right alone, for `PatchPolicy.swaps`.

    A hint from the words `left` and `right` or a single L and R, e.g. `kidney_left` and
    `kidney_right`; a recipe shows what it adopted.
    """
    words = [re.sub(r"[\W_]+", " ", name.lower()).strip() for name in class_names]
    mirror = {"left": "right", "l": "r"}
    found = []
    for k, name in enumerate(words):
        other = " ".join(mirror.get(word, word) for word in name.split())
        if other != name and k > 0 and words.count(other) == 1 and words.index(other) > 0:
            found.append((k, words.index(other)))
    return tuple(found)


def check_swaps(policy: PatchPolicy, class_names: Sequence[str]) -> None:
    """Refuse swaps of classes that there are not.

    Raises:
        DataError: A pair names a class beyond the last.
    """
    for pair in policy.swaps:
        if max(pair) >= len(class_names):
            names = ", ".join(f"{k}={name}" for k, name in enumerate(class_names))
            raise DataError(f"augmentation swaps={list(pair)} name no class; there are {names}")


def _check_field(key: str, value: Any) -> None:
    if key in ("quarter_turns", "per_channel"):
        if not isinstance(value, bool):
            raise DataError(f"augmentation {key}={value!r} must be true or false")
    elif key == "mask_by":
        _known(value, ("linear", "nearest"), "augmentation mask_by")
    elif key == "image_order":
        if value not in (1, 3) or isinstance(value, bool):
            raise DataError(f"augmentation image_order={value!r} must be 1 or 3")
    elif key == "swaps":
        _check_swaps(value)
    elif key != "bans":
        low = 1.0 if key in ("low_resolution", "thick") else 0.0
        high = _CEILING.get(key, 1.0)
        number = (
            math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
        )
        if not low <= number <= high:
            raise DataError(f"augmentation {key}={value!r} must lie in {low:g}..{high:g}")


def _check_swaps(swaps: Any) -> None:
    flat = [k for pair in swaps if isinstance(pair, tuple) for k in pair]
    whole = all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in flat)
    if len(flat) != 2 * len(swaps) or not whole or len(set(flat)) != len(flat):
        raise DataError(
            f"augmentation swaps={swaps!r} must be pairs of classes from 1 on, each class once, "
            "e.g. [[1, 2]]"
        )


def _known(name: Any, choices: Iterable[str], what: str) -> str:
    known = list(choices)
    if name not in known:
        raise DataError(f"unknown {what} {name!r}{nearest(str(name), known)}")
    return str(name)

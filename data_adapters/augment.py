"""Random changes of training pictures, repeatable from (seed, epoch, index).

The one module that knows albumentations. Geometry is done on the picture's own values; changes of
grey values are done on values mapped to [0, 1] and mapped back, because albumentations takes any
float picture for one in that range. Rotation, shift, zoom and shear are one affine warp. Elastic
deformation draws displacements on a coarse grid and interpolates them cubically, after
Ronneberger et al. 2015 (U-Net, section 3.1), arXiv:1505.04597.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.augment_policy import AugmentPolicy, policy, suggest_bans, tta_views
from data_adapters.errors import DataError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
from albumentations.augmentations.geometric.distortion import BaseDistortion

__all__ = [
    "AugmentPolicy",
    "Augmenter",
    "apply_view",
    "policy",
    "suggest_bans",
    "tta_views",
]

Array = NDArray[Any]

WARPED = 0.9
"""Share of the pictures that are warped; the rest keeps the sharpness of unwarped ones."""
SHIFTED_VALUES = 0.8
NOISY = 0.5
BLURRED = 0.25
BENT = 0.5
CONTROL_POINTS = 4
"""Control points per axis of the elastic deformation."""

_BORDER = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}


class Augmenter:
    """Applies a policy to single pictures; safe to share between threads.

    The same picture, seed and policy give the same result in any thread, order or process of one
    set of library versions.
    """

    def __init__(self, policy: AugmentPolicy, value_range: tuple[float, float]) -> None:
        """Store the policy and the range of values.

        Args:
            policy: What may be done.
            value_range: Lowest and highest value in modality units; the range that changes of
                grey values refer to and, under a policy that makes such changes, are clipped to.
                A model that clips its input uses the same range. uint8 pictures always take
                (0, 255) and ignore it.
        """
        low, high = (float(value) for value in value_range)
        if not (np.isfinite([low, high]).all() and low < high):
            raise DataError(f"value range {value_range} must be two finite, rising numbers")
        self.policy = policy
        self.value_range = (low, high)
        self._local = threading.local()

    def __call__(self, image: Array, seed: tuple[int, int, int]) -> Array:
        """Change one picture.

        Args:
            image: `(H, W, C)` uint8, or float in modality units; left as it is.
            seed: (seed, epoch, index), none negative.

        Returns:
            A picture of the same shape: uint8 where the image is uint8, else float32.
        """
        pixels = image if image.dtype == np.uint8 else image.astype(np.float32, copy=False)
        if not self.policy.active:
            return pixels.copy()
        draws, generator = _draws(seed)
        if self.policy.quarter_turns:
            square = pixels.shape[0] == pixels.shape[1]
            pixels = np.rot90(pixels, draws.choice((0, 1, 2, 3) if square else (0, 2)))
        geometry, values = self._transforms(pixels)
        if geometry is not None:
            geometry.set_random_state(generator, draws)
            pixels = geometry(image=np.ascontiguousarray(pixels))["image"]
        if values is not None:
            values.set_random_state(generator, draws)
            pixels = self._change_values(pixels, values)
        return np.ascontiguousarray(pixels).reshape(image.shape)

    def _change_values(self, pixels: Array, values: A.Compose) -> Array:
        if pixels.dtype == np.uint8:
            return np.asarray(values(image=pixels)["image"])
        low, high = self.value_range
        unit = (pixels - np.float32(low)) * np.float32(1.0 / (high - low))
        changed = values(image=np.clip(unit, 0.0, 1.0))["image"]
        return np.asarray(changed * np.float32(high - low) + np.float32(low), np.float32)

    def _transforms(self, pixels: Array) -> tuple[A.Compose | None, A.Compose | None]:
        """This thread's own transforms for this size and type; sharing one would mix up draws."""
        kind = (pixels.shape, pixels.dtype.char)
        built = getattr(self._local, "built", None)
        if built is None or built[0] != kind:
            low = 0.0 if pixels.dtype == np.uint8 else self.value_range[0]
            built = (kind, (_geometry(self.policy, pixels.shape, low), _values(self.policy)))
            self._local.built = built
        chosen: tuple[A.Compose | None, A.Compose | None] = built[1]
        return chosen


class _CoarseElastic(BaseDistortion):
    """Displacements drawn on a coarse grid, interpolated cubically to every pixel."""

    def __init__(self, *, sd_pixels: float, border_mode: int, fill: float, p: float) -> None:
        super().__init__(
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            keypoint_remapping_method="direct",
            p=p,
            border_mode=border_mode,
            fill=fill,
        )
        self.sd_pixels = sd_pixels

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """Maps `(H, W)` float32: where each pixel of the result comes from."""
        height, width = params["shape"][:2]
        shape = (CONTROL_POINTS, CONTROL_POINTS, 2)
        coarse = self.random_generator.standard_normal(shape, dtype=np.float32) * self.sd_pixels
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return {
            "map_x": fine[..., 0] + np.arange(width, dtype=np.float32),
            "map_y": fine[..., 1] + np.arange(height, dtype=np.float32)[:, None],
        }


def apply_view(batch: Array, view: Mapping[str, Any]) -> Array:
    """Apply one view of `tta_views` to a batch.

    Args:
        batch: `(B, H, W, C)`, any type; left as it is.
        view: A dict with the key `view`: `identity`, `flip_lr`, `flip_ud`, `turn` (with
            `quarters`, counter-clockwise) or `shift` (with `dy` and `dx` as parts of the side,
            rounded to whole pixels, the edge repeated).

    Returns:
        A batch of the same shape and type.

    Raises:
        DataError: An unknown view, or a quarter turn of pictures that are not square.
    """
    name = view.get("view")
    if name == "identity":
        return batch.copy()
    if name == "flip_lr":
        return np.ascontiguousarray(batch[:, :, ::-1])
    if name == "flip_ud":
        return np.ascontiguousarray(batch[:, ::-1])
    if name == "turn":
        quarters = int(view["quarters"]) % 4
        if quarters % 2 and batch.shape[1] != batch.shape[2]:
            raise DataError(f"a quarter turn needs square pictures, not {batch.shape[1:3]}")
        return np.ascontiguousarray(np.rot90(batch, quarters, axes=(1, 2)))
    if name == "shift":
        height, width = batch.shape[1:3]
        rows = np.clip(np.arange(height) - round(view["dy"] * height), 0, height - 1)
        columns = np.clip(np.arange(width) - round(view["dx"] * width), 0, width - 1)
        return batch[:, rows][:, :, columns]
    raise DataError(f"unknown view {name!r} (known: identity, flip_lr, flip_ud, turn, shift)")


def _draws(seed: tuple[int, int, int]) -> tuple[random.Random, np.random.Generator]:
    """Both generators that albumentations draws from, each a function of the seed alone."""
    if any(not 0 <= part < 2**64 for part in seed):
        raise DataError(f"the parts of the seed {seed} must lie in 0..2**64-1")
    mixed = 0
    for part in seed:
        mixed = (mixed << 64) | int(part)
    return random.Random(mixed), np.random.default_rng(seed)


def _geometry(chosen: AugmentPolicy, shape: tuple[int, ...], fill: float) -> A.Compose | None:
    """Flips, one affine warp and the elastic deformation; None where none is wanted."""
    border = _BORDER[chosen.border]
    steps: list[A.BasicTransform] = []
    if chosen.flip_lr:
        steps.append(A.HorizontalFlip(p=0.5))
    if chosen.flip_ud:
        steps.append(A.VerticalFlip(p=0.5))
    if chosen.rotate_deg or chosen.translate or chosen.zoom or chosen.shear:
        part = (-chosen.translate, chosen.translate)
        steps.append(
            A.Affine(
                scale=(1.0 / (1.0 + chosen.zoom), 1.0 + chosen.zoom),
                keep_ratio=True,
                balanced_scale=chosen.zoom > 0,
                translate_percent={"x": part, "y": part},
                rotate=(-chosen.rotate_deg, chosen.rotate_deg),
                shear=(-chosen.shear, chosen.shear),
                border_mode=border,
                fill=fill,
                p=WARPED,
            )
        )
    if chosen.elastic:
        sd_pixels = chosen.elastic * min(shape[:2])
        steps.append(_CoarseElastic(sd_pixels=sd_pixels, border_mode=border, fill=fill, p=BENT))
    return A.Compose(steps) if steps else None


def _values(chosen: AugmentPolicy) -> A.Compose | None:
    """Contrast, brightness, blur and noise on [0, 1] or uint8; None where none is wanted."""
    steps: list[A.BasicTransform] = []
    if chosen.contrast or chosen.brightness:
        steps.append(
            A.RandomBrightnessContrast(
                brightness_limit=chosen.brightness,
                contrast_limit=chosen.contrast,
                p=SHIFTED_VALUES,
            )
        )
    if chosen.blur:
        steps.append(A.GaussianBlur(sigma_limit=(0.1, max(0.1, chosen.blur)), p=BLURRED))
    if chosen.noise:
        steps.append(A.GaussNoise(std_range=(0.0, chosen.noise), p=NOISY))
    return A.Compose(steps) if steps else None

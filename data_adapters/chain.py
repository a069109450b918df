"""The chain from a case to the network's input, as data.

A chain is a list of JSON dicts, stored with the model. Training, evaluation and prediction all run
it through `run_chain` (or `apply_chain`, which gives the image alone), so a case reaches the
network in one way only.

Steps on pictures, which cannot be undone:
    `{"step": "planes", "how": "slice" | "mean" | "max"}`: a volume `(D, H, W, 1)` becomes the three
        orthogonal planes through its centre as channels (axial, coronal, sagittal), or the three
        projections along the axes. Planes of unlike size are brought to the largest side, aspect
        kept.
    `{"step": "channels", "count": 1 | 3}`: colour to luma by ITU-R BT.601, or one channel three
        times.
    `{"step": "resize", "height": H, "width": W, "keep_aspect": false | true}`: area average where
        an axis shrinks, cubic where it grows, held to the picture's own range of values;
        `keep_aspect` pads evenly with the lowest value on the picture's edge.

Every other step is one of `data_adapters.transforms` under its own name and options: `resample`,
`reorient`, `crop`, `pad`, `windows`, `normalize`, `region`, `prior`. They move masks along and can
be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case
from data_adapters.errors import DataError, nearest
from data_adapters.transforms import base
from data_adapters.transforms.compose import STEPS as CASE_STEPS

Array = NDArray[Any]
Step = Mapping[str, Any]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue, ITU-R BT.601."""

LARGEST_SIDE = 8192


def apply_chain(image: Array | Case, steps: Sequence[Step]) -> Array:
    """Run a chain on one case, or on an image of which nothing else is known.

    Args:
        image: A case; or `(H, W, C)` or `(D, H, W, C)`, any integer or float type, modality units.
        steps: The chain; see the module's docstring.

    Returns:
        `(H, W, C)`, C-contiguous; uint8 where the image is uint8 and every step keeps that, else
        float32, in the units of the image.

    Raises:
        DataError: An unknown step or option, a shape the chain cannot take, NaN or infinity.
    """
    case = image if isinstance(image, Case) else Case(np.asarray(image), "")
    if case.mask is not None or case.masks is not None or case.lesions:
        case = replace(case, mask=None, masks=None, lesions=())
    pixels = run_chain(case, steps)[0].image
    if pixels.ndim == 4:
        raise DataError(
            f"a volume of shape {pixels.shape} reached the end of the chain; "
            'add {"step": "planes"} to it'
        )
    return np.ascontiguousarray(_narrow(pixels))


def run_chain(case: Case, steps: Sequence[Step]) -> tuple[Case, tuple[base.Undo, ...]]:
    """Run a chain on one case, its truth included.

    Args:
        case: Any case; it is not changed.
        steps: The chain; see the module's docstring.

    Returns:
        The case whose image is the input, its mask moved along; and what
        `data_adapters.transforms.compose.invert_mask` needs to bring a prediction back.

    Raises:
        DataError: An unknown step or option, a case the chain cannot take, NaN or infinity; or a
            picture step on a case whose mask or lesions it would leave behind.
    """
    pixels = np.asarray(case.image)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise DataError(
            f"an image of shape {pixels.shape} is neither (H, W, C) nor (D, H, W, C) with pixels"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError("the image holds NaN or infinite values")
    del pixels  # a step's result takes its place
    undos = []
    for step in validate_chain(steps):
        case, undo = _made(step).apply(case)
        undos.append(undo)
    return case, tuple(undos)


@dataclass(frozen=True)
class PictureStep(base.Step):
    """A step of `_STEPS` on the image of a case; there is no way back.

    Attributes:
        step: Its dict, every option written out.
    """

    name: ClassVar[str] = "picture"
    step: Mapping[str, Any]

    def apply(self, case: Case) -> tuple[Case, base.Undo]:
        """Run the step.

        Raises:
            DataError: The case has truth on its grid, or the image has another shape.
        """
        name = self.step["step"]
        before = base.grid_of(case)
        options = {key: value for key, value in self.step.items() if key != "step"}
        truth = case.mask is not None or case.masks is not None or case.lesions
        if name != "channels" and truth:
            raise DataError(
                f"chain step {name!r} does not move masks and lesions, and the case has some: use "
                "the steps resample, crop and pad"
            )
        image = _STEPS[name][0](_narrow(case.image), **options)
        if name == "channels":
            done = replace(case, image=image)
        else:
            done = replace(case, image=image, padding=None, geometry=None)
        return done, base.Undo(self, before, base.grid_of(done))

    def back_mask(self, mask: Array, undo: base.Undo) -> Array:
        """The mask, where the step left the grid alone.

        Raises:
            DataError: It did not.
        """
        if self.step["step"] != "channels":
            raise DataError(f"chain step {self.step['step']!r} cannot be undone")
        return mask

    def back_probabilities(self, values: Array, undo: base.Undo, outside: Array) -> Array:
        """The probabilities, where the step left the grid alone."""
        return self.back_mask(values, undo)

    def to_dict(self) -> dict[str, Any]:
        """The step's dict."""
        return dict(self.step)


def undos_to_dicts(undos: Sequence[base.Undo]) -> list[dict[str, Any]]:
    """The records of `run_chain` as JSON, for a store."""
    return [undo.to_dict() for undo in undos]


def undos_from_dicts(records: Sequence[Mapping[str, Any]]) -> tuple[base.Undo, ...]:
    """The inverse of `undos_to_dicts`.

    Raises:
        DataError: A record of a step that is not known.
    """
    steps = validate_chain([record["step"] for record in records])
    return tuple(
        base.undo_from_dict(record, _made(step))
        for record, step in zip(records, steps, strict=True)
    )


def _narrow(pixels: Array) -> Array:
    """uint8 as it is, every other type as float32."""
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32, copy=False)


def _made(step: Step) -> base.Step:
    return PictureStep(dict(step)) if step["step"] in _STEPS else base.step_from_dict(step)


def validate_chain(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The chain with every option written out.

    Raises:
        DataError: A step or option that is unknown, missing or out of range.
    """
    full = []
    for place, step in enumerate(steps):
        if not isinstance(step, Mapping) or not isinstance(step.get("step"), str):
            raise DataError(f'chain step {place} is no dict with a "step" name: {step!r}')
        name = step["step"]
        if name in _STEPS:
            full.append({"step": name, **_options(name, place, step)})
        elif name in CASE_STEPS:
            full.append(_case_step(step, place))
        else:
            known = nearest(name, [*_STEPS, *CASE_STEPS])
            raise DataError(f"unknown chain step {name!r} at place {place}{known}")
    return full


def _case_step(step: Step, place: int) -> dict[str, Any]:
    try:
        return base.step_from_dict(step).to_dict()
    except DataError as error:
        raise DataError(f"chain, place {place}: {error}") from None


def chain_channels(steps: Sequence[Step]) -> int | None:
    """Number of channels the chain puts out; None where the images decide."""
    count: int | None = None
    for step in validate_chain(steps):
        if step["step"] == "planes":
            count = 3
        elif step["step"] == "channels":
            count = step["count"]
        elif step["step"] == "windows":
            count = len(step["windows"])
    return count


def chain_size(steps: Sequence[Step]) -> tuple[int, int] | None:
    """Height and width the chain puts out; None where the images decide."""
    size: tuple[int, int] | None = None
    for step in validate_chain(steps):
        if step["step"] in _MOVING:
            size = None
        elif step["step"] == "resize":
            size = (step["height"], step["width"])
    return size


def _options(name: str, place: int, step: Step) -> dict[str, Any]:
    """Options of one step, defaults filled in and each checked against its choices."""
    known = _STEPS[name][1]
    for key in step:
        if key != "step" and key not in known:
            raise DataError(
                f"chain step '{name}' at place {place} has no option {key!r}"
                f"{nearest(str(key), known)}"
            )
    options = {}
    for key, (default, allowed) in known.items():
        value = step.get(key, default)
        if type(value) is not type(allowed[0]) or value not in allowed:
            shown = f"1..{LARGEST_SIDE}" if isinstance(allowed, range) else tuple(allowed)
            raise DataError(
                f"chain step '{name}' at place {place}: {key}={value!r} must be one of {shown}"
            )
        options[key] = value
    return options


def _planes(pixels: Array, *, how: str) -> Array:
    if pixels.ndim != 4 or pixels.shape[-1] != 1:
        raise DataError(
            f"chain step 'planes' takes volumes (D, H, W, 1), not an image of shape {pixels.shape}"
        )
    volume = pixels[..., 0]
    side = max(volume.shape)
    planes = []
    for axis in range(3):
        if how == "slice":
            plane = np.take(volume, volume.shape[axis] // 2, axis=axis)
        elif how == "max":
            plane = volume.max(axis=axis)
        else:
            plane = _like(volume.mean(axis=axis, dtype=np.float32), volume.dtype)
        plane = np.ascontiguousarray(plane)[..., None]
        planes.append(_resize(plane, height=side, width=side, keep_aspect=True))
    return np.concatenate(planes, axis=-1)


def _channels(pixels: Array, *, count: int) -> Array:
    have = pixels.shape[-1]
    if have == count:
        return pixels
    if have == 1:
        return np.repeat(pixels, count, axis=-1)
    if have == 3:
        return _like((pixels.astype(np.float32) @ LUMA)[..., None], pixels.dtype)
    raise DataError(f"chain step 'channels' takes 1 or 3 channels, the image has {have}")


def _resize(pixels: Array, *, height: int, width: int, keep_aspect: bool) -> Array:
    if pixels.ndim != 3:
        raise DataError(
            f"chain step 'resize' takes pictures (H, W, C), not shape {pixels.shape}; "
            'put {"step": "planes"} before it'
        )
    rows, columns = pixels.shape[:2]
    if not keep_aspect:
        return _scale(pixels, height, width)
    ratio = min(height / rows, width / columns)
    inner = (max(1, round(rows * ratio)), max(1, round(columns * ratio)))
    scaled = _scale(pixels, min(inner[0], height), min(inner[1], width))
    edge = np.concatenate([scaled[0], scaled[-1], scaled[:, 0], scaled[:, -1]])
    out = np.empty((height, width, pixels.shape[-1]), pixels.dtype)
    out[...] = edge.min(axis=0)
    top, left = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
    out[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return out


def _scale(pixels: Array, height: int, width: int) -> Array:
    """Shrink by area average, then grow by cubic interpolation, each axis as it needs."""
    low, high = pixels.min(), pixels.max()
    smaller = (min(height, pixels.shape[0]), min(width, pixels.shape[1]))
    out = _cv_resize(pixels, smaller, cv2.INTER_AREA)
    out = _cv_resize(out, (height, width), cv2.INTER_CUBIC)
    return np.clip(out, low, high)


def _cv_resize(pixels: Array, size: tuple[int, int], method: int) -> Array:
    if pixels.shape[:2] == size:
        return pixels
    out = cv2.resize(np.ascontiguousarray(pixels), (size[1], size[0]), interpolation=method)
    return out.reshape(*size, pixels.shape[-1])


def _like(values: Array, dtype: np.dtype[Any]) -> Array:
    """Float values in the type of the picture: rounded for uint8, float32 otherwise."""
    if dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values.astype(np.float32)


_MOVING = frozenset({"planes", "crop", "pad", "resample", "reorient", "region"})
_SIDES = range(1, LARGEST_SIDE + 1)
_STEPS: dict[str, tuple[Callable[..., Array], dict[str, tuple[Any, Sequence[Any]]]]] = {
    "planes": (_planes, {"how": ("slice", ("slice", "mean", "max"))}),
    "channels": (_channels, {"count": (None, (1, 3))}),
    "resize": (
        _resize,
        {
            "height": (None, _SIDES),
            "width": (None, _SIDES),
            "keep_aspect": (False, (False, True)),
        },
    ),
}
"""Step name -> function and options (default, allowed values); None as default: must be given."""

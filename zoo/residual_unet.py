"""3D residual U-Net with short and long residual connections: V-Net and a descendant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from zoo.architectures.blocks import (
    activate,
    check_activation,
    check_norm,
    concatenate,
    conv,
    drop,
    normalise,
)
from zoo.architectures.resize import fit
from zoo.decoders.supervision import MAIN
from zoo.errors import ZooError
from zoo.segmenters import with_logits

LONG = ("concat", "sum", "none")


def residual_unet3d(
    *,
    input_shape: tuple[int | None, ...],
    classes: int,
    widths: Sequence[int] = (16, 32, 64, 128, 256),
    convolutions: Sequence[int] = (1, 2, 3, 3, 3),
    kernel: int = 5,
    long: str = "concat",
    short: bool = True,
    norm: str = "batch",
    activation: str = "prelu",
    dropout: float = 0.0,
    deep_supervision: bool = False,
) -> keras.Model:
    """Build a V-Net, or the network with mixed residual connections.

    The defaults are Milletari et al., 2016 (arXiv:1606.04797, table 1) with batch norm, which that
    paper left out: 5x5x5 convolutions, each stage's input added to its output before the last
    activation (short residual; projected by a 1x1x1 convolution where channels change), 2x2x2
    strided convolutions down and transposed ones up, skips joined as channels, which doubles the
    width of the stages on the way up. ``long="sum"``, ``kernel=3`` and
    ``deep_supervision=True`` are the choices of Yu et al., AAAI 2017 ("Volumetric
    ConvNets with mixed residual connections for automated prostate segmentation from 3D MR
    images"): skips are added (long residual).

    Args:
        input_shape: ``(depth, height, width, channels)``; sides may be None, then multiples of
            ``2 ** (levels - 1)``, known ones may be odd.
        classes: Logits per voxel.
        widths: Channels of the levels, finest first.
        convolutions: Convolutions per level, on both ways.
        kernel: Side of the convolutions, odd.
        long: How a skip meets the upsampled map: ``"concat"``, ``"sum"`` or ``"none"``.
        short: Whether stages are residual.
        norm: ``"batch"``, ``"instance"``, ``"group"`` or ``"none"``.
        activation: As for ``zoo.unets.unet``.
        dropout: Rate of channel dropout on the coarsest level, in [0, 1).
        deep_supervision: Give logits at coarser levels too; see ``zoo.decoders.supervision``.

    Returns:
        A functional model ``residual_unet3d``: input ``image``, float32
        ``(batch, depth, height, width, channels)``, standardised by the caller; output ``logits``,
        float32, of the same size, without an activation, or a dict under deep supervision.

    Raises:
        ZooError: For arguments out of range.
    """
    _check(input_shape, classes, widths, convolutions, kernel, long, dropout)
    check_norm(norm)
    check_activation(activation)

    style = _Style(kernel=kernel, short=short, norm=norm, activation=activation)
    image = keras.Input(input_shape, name="image", dtype="float32")
    x, skips = image, []
    for level, width in enumerate(widths):
        name = f"encoder_{level}"
        if level:
            x = conv(x, width, 2, strides=2, bias=True, name=f"{name}_down")
            x = activate(x, activation, name=f"{name}_down_act")
        x = _stage(x, width, convolutions[level], style, name)
        skips.append(x)
    x = drop(skips.pop(), dropout, name="dropout")
    outputs: dict[str, keras.KerasTensor] = {}
    for level in range(len(skips) - 1, -1, -1):
        name, skip = f"decoder_{level}", skips[level]
        x = keras.layers.Conv3DTranspose(
            widths[level], 2, strides=2, kernel_initializer="he_normal", name=f"{name}_up"
        )(x)
        x = activate(fit(x, skip.shape[1:-1], name=name), activation, name=f"{name}_up_act")
        if long == "concat":
            x = concatenate([skip, x], name=f"{name}_join")
        elif long == "sum":
            x = keras.layers.Add(name=f"{name}_long")([skip, x])
        x = _stage(x, int(x.shape[-1]), convolutions[level], style, name)
        outputs[f"P{level}"] = x
    kept = list(reversed(outputs)) if deep_supervision else [MAIN]
    maps = {level: outputs[level] for level in kept}
    return keras.Model(
        image, with_logits(maps, classes, supervised=deep_supervision), name="residual_unet3d"
    )


@dataclass(frozen=True, kw_only=True)
class _Style:
    kernel: int
    short: bool
    norm: str
    activation: str


def _stage(
    x: keras.KerasTensor, width: int, count: int, style: _Style, name: str
) -> keras.KerasTensor:
    """Convolve ``count`` times, then add what came in."""
    residue, bias = x, style.norm in ("none", "group")
    for index in range(1, count + 1):
        x = conv(x, width, style.kernel, name=f"{name}_{index}_conv", bias=bias)
        x = normalise(x, style.norm, name=f"{name}_{index}_norm")
        if index < count:
            x = activate(x, style.activation, name=f"{name}_{index}_act")
    if style.short:
        if residue.shape[-1] != width:
            residue = conv(residue, width, 1, bias=True, name=f"{name}_project")
        x = keras.layers.Add(name=f"{name}_add")([x, residue])
    return activate(x, style.activation, name=f"{name}_act")


def _check(
    input_shape: Sequence[int | None],
    classes: int,
    widths: Sequence[int],
    convolutions: Sequence[int],
    kernel: int,
    long: str,
    dropout: float,
) -> None:
    channels = input_shape[-1] if input_shape else None
    if len(input_shape) != 4 or not isinstance(channels, int) or channels < 1:
        raise ZooError(f"input_shape {tuple(input_shape)} is not (depth, height, width, channels)")
    if not isinstance(classes, int) or classes < 1:
        raise ZooError(f"classes is {classes!r}; it needs at least 1 logit per voxel")
    numbers = (*widths, *convolutions)
    if len(widths) < 2 or any(not isinstance(n, int) or n < 1 for n in numbers):
        raise ZooError(
            f"widths {tuple(widths)} and convolutions {tuple(convolutions)} must be positive "
            "numbers, for two levels or more"
        )
    if len(widths) != len(convolutions):
        raise ZooError(f"{len(widths)} widths but {len(convolutions)} convolutions; one per level")
    if not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
        raise ZooError(f"kernel is {kernel!r}; give an odd number")
    if long not in LONG:
        raise ZooError(f"unknown long connection {long!r}; choose from {', '.join(LONG)}")
    if not 0.0 <= dropout < 1.0:
        raise ZooError(f"dropout is {dropout}; it must lie in [0, 1)")
    for side in input_shape[:-1]:
        if side is not None and side < 2 ** (len(widths) - 1):
            raise ZooError(
                f"input {tuple(input_shape[:-1])} is too small for {len(widths)} levels: "
                f"at least {2 ** (len(widths) - 1)} a side"
            )

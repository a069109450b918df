"""U-Nets from scratch: the paper's, plain ones of chosen widths, strided and residual-encoder ones.

They take values as given (standardise them first) and any number of channels. Plain Keras opens
the saved files: built-in layers alone.
"""

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
    conv_block,
    dims_of,
    drop,
    normalise,
    of_dims,
    spatial,
)
from zoo.architectures.resize import fit, upsample_to
from zoo.decoders.supervision import MAIN
from zoo.errors import ZooError
from zoo.segmenters import with_logits

PADDINGS = ("same", "valid")
UPSAMPLINGS = ("transpose", "nearest", "linear")
DOWNSAMPLINGS = ("pool", "stride")


@dataclass(frozen=True, kw_only=True)
class UNetPlan:
    """Everything that a U-Net is built from.

    Attributes:
        widths: Channels of the levels, finest first.
        strides: Per level the stride per axis from the level before; the first is all ones.
        kernels: Per level the kernel per axis.
        encoder_blocks: Convolutions per level on the way down; residual blocks where ``residual``.
        decoder_blocks: Convolutions per level on the way up.
        norm: One of ``zoo.architectures.blocks.NORMS``.
        activation: One of ``zoo.architectures.blocks.ACTIVATIONS``.
        residual: Whether the encoder consists of residual blocks (He et al., 2015,
            arXiv:1512.03385) instead of convolutions.
        downsampling: ``"pool"``: maximum; ``"stride"``: the first convolution of the level.
        upsampling: ``"transpose"``: transposed convolution, kernel equal to stride; ``"nearest"``
            or ``"linear"``: interpolation, then a 1x1 convolution.
        padding: ``"same"``, or ``"valid"`` as in the paper: borders are lost and skips cropped.
        bias: Whether convolutions have biases; None: where the norm does not take them away.
        dropout: Rate of channel dropout on the coarsest level.
    """

    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    norm: str = "batch"
    activation: str = "relu"
    residual: bool = False
    downsampling: str = "pool"
    upsampling: str = "transpose"
    padding: str = "same"
    bias: bool | None = None
    dropout: float = 0.0


def unet(
    *,
    input_shape: tuple[int | None, ...],
    classes: int,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    norm: str = "batch",
    activation: str = "relu",
    padding: str = "same",
    downsampling: str = "pool",
    upsampling: str = "transpose",
    dropout: float = 0.0,
    deep_supervision: bool = False,
) -> keras.Model:
    """Build a plain U-Net in 2D or 3D: two 3x3(x3) convolutions per level, halved each time.

    The network of Ronneberger et al., 2015 (arXiv:1505.04597) is ``norm="none"`` with the default
    widths and ``padding="valid"``: 572 x 572 pixels in, 388 x 388 out, as in its figure 1; in 3D
    compare Çiçek et al., 2016 (arXiv:1606.06650).

    Args:
        input_shape: ``(height, width, channels)`` or ``(depth, height, width, channels)``. Sides
            may be None: then they must be multiples of ``2 ** (levels - 1)``; known ones may be
            odd.
        classes: Logits per pixel.
        widths: Channels of the levels, finest first.
        norm: ``"batch"``, ``"instance"``, ``"group"`` or ``"none"``.
        activation: ``"relu"``, ``"leaky_relu"``, ``"prelu"``, ``"elu"``, ``"silu"``, ``"gelu"``.
        padding: ``"same"``, or ``"valid"``: logits are smaller than the image, around its centre.
        downsampling: ``"pool"`` or ``"stride"``.
        upsampling: ``"transpose"``, ``"nearest"`` or ``"linear"``.
        dropout: Rate of channel dropout on the coarsest level, in [0, 1).
        deep_supervision: Give logits at coarser levels too; see ``zoo.decoders.supervision``.

    Returns:
        A functional model ``unet``: input ``image``, float32 ``(batch, *spatial, channels)``;
        output ``logits``, float32 ``(batch, *spatial, classes)``, without an activation, or a
        dict under deep supervision.

    Raises:
        ZooError: For arguments out of range.
    """
    dims = len(input_shape) - 1
    levels = len(widths)
    plan = UNetPlan(
        widths=tuple(widths),
        strides=((1,) * dims, *(((2,) * dims,) * (levels - 1))),
        kernels=((3,) * dims,) * levels,
        encoder_blocks=(2,) * levels,
        decoder_blocks=(2,) * max(0, levels - 1),
        norm=norm,
        activation=activation,
        downsampling=downsampling,
        upsampling=upsampling,
        padding=padding,
        dropout=dropout,
    )
    return build_unet(
        plan,
        input_shape=input_shape,
        classes=classes,
        deep_supervision=deep_supervision,
        name="unet",
    )


def build_unet(
    plan: UNetPlan,
    *,
    input_shape: tuple[int | None, ...],
    classes: int,
    deep_supervision: bool = False,
    name: str = "unet",
) -> keras.Model:
    """Build the network of a plan.

    Layers are named ``encoder_<level>_...`` and ``decoder_<level>_...``, level 0 the finest.

    Raises:
        ZooError: For a plan that contradicts itself or the input.
    """
    check_plan(plan, input_shape, classes)
    image = keras.Input(input_shape, name="image", dtype="float32")
    skips, x = [], image
    for index in range(len(plan.widths)):
        x = encode(x, plan, index)
        skips.append(x)
    x = drop(skips.pop(), plan.dropout, name="dropout")
    outputs = {}
    for index in range(len(skips) - 1, -1, -1):
        x = decode(x, skips[index], plan, index)
        outputs[f"P{index}"] = x
    kept = list(reversed(outputs)) if deep_supervision else [MAIN]
    maps = {level: outputs[level] for level in kept}
    return keras.Model(image, with_logits(maps, classes, supervised=deep_supervision), name=name)


def encode(x: keras.KerasTensor, plan: UNetPlan, index: int) -> keras.KerasTensor:
    """Go down to a level: halve, then its convolutions or residual blocks."""
    name, stride = f"encoder_{index}", plan.strides[index]
    if plan.downsampling == "pool" and max(stride) > 1:
        x = _pool("MaxPooling", x, stride, plan.padding, name=f"{name}_pool")
        stride = (1,) * dims_of(x)
    for block in range(plan.encoder_blocks[index]):
        step = stride if block == 0 else (1,) * dims_of(x)
        if plan.residual:
            x = residual_block(x, plan, index, step, name=f"{name}_{block + 1}")
        else:
            x = _convolve(x, plan, index, step, name=f"{name}_{block + 1}")
    return x


def decode(
    x: keras.KerasTensor, skip: keras.KerasTensor, plan: UNetPlan, index: int
) -> keras.KerasTensor:
    """Go up to a level: upsample, join the skip, convolve."""
    name, stride, width = f"decoder_{index}", plan.strides[index + 1], plan.widths[index]
    if plan.upsampling == "transpose":
        layer = getattr(keras.layers, f"Conv{dims_of(x)}DTranspose")
        x = layer(width, stride, strides=stride, kernel_initializer="he_normal", name=f"{name}_up")(
            x
        )
    else:
        x = conv(x, width, 1, bias=True, name=f"{name}_mix")
    if plan.padding == "valid":
        if plan.upsampling != "transpose":
            size = [None if n is None else n * s for n, s in zip(spatial(x), stride, strict=True)]
            x = upsample_to(x, size, name=name, mode=plan.upsampling, default=stride)
        skip = _centre(skip, spatial(x), name=f"{name}_skip")
    elif plan.upsampling != "transpose":
        x = upsample_to(x, spatial(skip), name=name, mode=plan.upsampling, default=stride)
    else:
        x = fit(x, spatial(skip), name=name)
    x = concatenate([skip, x], name=f"{name}_join")
    for block in range(plan.decoder_blocks[index]):
        x = _convolve(x, plan, index, (1,) * dims_of(x), name=f"{name}_{block + 1}")
    return x


def _pool(
    kind: str, x: keras.KerasTensor, stride: tuple[int, ...], padding: str, *, name: str
) -> keras.KerasTensor:
    """Pool; volumes in float32, for TensorFlow cannot pool float16 ones on a CPU."""
    dtype = "float32" if dims_of(x) == 3 else None
    pool = of_dims(kind, dims_of(x))
    return pool(stride, strides=stride, padding=padding, dtype=dtype, name=name)(x)


def _convolve(
    x: keras.KerasTensor, plan: UNetPlan, index: int, stride: tuple[int, ...], *, name: str
) -> keras.KerasTensor:
    return conv_block(
        x,
        plan.widths[index],
        plan.kernels[index],
        strides=stride,
        norm=plan.norm,
        activation=plan.activation,
        padding=plan.padding,
        bias=plan.bias,
        name=name,
    )


def residual_block(
    x: keras.KerasTensor, plan: UNetPlan, index: int, stride: tuple[int, ...], *, name: str
) -> keras.KerasTensor:
    """Two convolutions beside a shortcut, added before the last activation.

    Where the block shrinks the map the shortcut is averaged, where channels change it is
    projected by a 1x1 convolution with norm (the "D" variant of He et al., 2018, arXiv:1812.01187).
    """
    width, kernel, shortcut = plan.widths[index], plan.kernels[index], x
    x = _convolve(x, plan, index, stride, name=f"{name}a")
    x = conv(x, width, kernel, name=f"{name}b_conv", bias=plan.norm in ("none", "group"))
    x = normalise(x, plan.norm, name=f"{name}b_norm")
    if max(stride) > 1:
        shortcut = _pool("AveragePooling", shortcut, stride, "same", name=f"{name}_pool")
    if shortcut.shape[-1] != width:
        shortcut = conv(shortcut, width, 1, name=f"{name}_project")
        shortcut = normalise(shortcut, plan.norm, name=f"{name}_project_norm")
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return activate(x, plan.activation, name=f"{name}_act")


def _centre(x: keras.KerasTensor, size: Sequence[int | None], *, name: str) -> keras.KerasTensor:
    """Crop to the centre."""
    surplus = [(a or 0) - (b or 0) for a, b in zip(spatial(x), size, strict=True)]
    cut = tuple((s // 2, s - s // 2) for s in surplus)
    return of_dims("Cropping", dims_of(x))(cut, name=f"{name}_crop")(x)


def check_plan(plan: UNetPlan, input_shape: Sequence[int | None], classes: int) -> None:
    """Refuse a plan that contradicts itself or does not fit the input.

    Raises:
        ZooError: Naming the value and what would do.
    """
    dims, levels = len(input_shape) - 1, len(plan.widths)
    channels = input_shape[-1] if input_shape else None
    if dims not in (2, 3) or not isinstance(channels, int) or channels < 1:
        raise ZooError(
            f"input_shape {tuple(input_shape)} is not ([depth,] height, width, channels)"
        )
    if levels < 2 or any(not isinstance(w, int) or w < 1 for w in plan.widths):
        raise ZooError(f"widths {plan.widths} must be two positive numbers or more, finest first")
    if not isinstance(classes, int) or classes < 1:
        raise ZooError(f"classes is {classes!r}; a U-Net needs at least 1 logit per pixel")
    if not 0.0 <= plan.dropout < 1.0:
        raise ZooError(f"dropout is {plan.dropout}; it must lie in [0, 1)")
    check_norm(plan.norm)
    check_activation(plan.activation)
    _check_choice("padding", plan.padding, PADDINGS)
    _check_choice("upsampling", plan.upsampling, UPSAMPLINGS)
    _check_choice("downsampling", plan.downsampling, DOWNSAMPLINGS)
    lengths = {len(plan.strides), len(plan.kernels), len(plan.encoder_blocks)}
    if lengths != {levels} or len(plan.decoder_blocks) != levels - 1:
        raise ZooError(
            f"a plan of {levels} levels needs {levels} strides, kernels and encoder_blocks and "
            f"{levels - 1} decoder_blocks"
        )
    if any(len(axes) != dims for axes in (*plan.strides, *plan.kernels)):
        raise ZooError(f"strides and kernels must have {dims} axes for {tuple(input_shape)}")
    _check_sizes(plan, input_shape[:-1])


def _check_sizes(plan: UNetPlan, sides: Sequence[int | None]) -> None:
    if plan.padding == "valid" and (None in sides or plan.residual):
        raise ZooError('padding="valid" needs a known size and plain blocks')
    for axis, side in enumerate(sides):
        if side is None:
            continue
        for stride, kernel, blocks in zip(
            plan.strides, plan.kernels, plan.encoder_blocks, strict=True
        ):
            if plan.padding == "same":
                side = -(-side // stride[axis])
            else:
                side = side // stride[axis] - blocks * (kernel[axis] - 1)
            if side < 1:
                raise ZooError(f"input {tuple(sides)} is too small for {len(plan.widths)} levels")


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ZooError(f"unknown {what} {value!r}; choose from {', '.join(choices)}")

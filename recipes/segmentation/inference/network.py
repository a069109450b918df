"""One network at whatever input size is asked for, in inference mode."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.segmentation.inference.errors import InferenceError, OutOfMemoryError
from recipes.segmentation.inference.memory import live_bytes
from zoo.errors import ZooError
from zoo.inference import by, copy_weights, rebuild
from zoo.receptive_field import AxisField, receptive_field

Floats = npt.NDArray[np.float32]
Sides = tuple[int, ...]
Builder = Callable[[Sides], keras.Model]

MAIN = "P0"


@dataclass
class _Sized:
    """The network at one size: its function and the copy that this runs."""

    run: Callable[[Any], Any]
    twin: keras.Model


_KEPT: weakref.WeakKeyDictionary[keras.Model, dict[Sides, _Sized]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What tiles need to know of a network.

    Attributes:
        alignment: Per axis the multiple that tiles must start and end at.
        halo: Per axis the samples around a tile whose results are thrown away, a multiple of
            ``alignment``; None where no halo makes tiles exact.
        reason: Why ``halo`` is None; empty otherwise.
    """

    alignment: Sides
    halo: Sides | None
    reason: str = ""


class Network:
    """A segmentation network, run at any size.

    Args:
        model: ``(batch, *spatial, channels)`` to logits ``(batch, *spatial, classes)``, or to a
            dict with them under ``"P0"``; or a function that gives such a model, with its weights,
            for spatial sizes.
        patch_size: Spatial sizes that it was trained on.

    Raises:
        InferenceError: A model of another kind.
    """

    def __init__(self, model: keras.Model | Builder, patch_size: Sequence[int]) -> None:
        self.patch = tuple(int(side) for side in patch_size)
        self.builder: Any = None if isinstance(model, keras.Model) else model
        self.model: Any = model if self.builder is None else self.builder(self.patch)
        self.core = _main_output(self.model)
        shape = self.core.inputs[0].shape
        if len(shape) != len(self.patch) + 2:
            raise InferenceError(
                f"patch_size {self.patch} has {len(self.patch)} sides; network "
                f"{self.core.name!r} takes {len(shape) - 2}"
            )
        self.channels = int(shape[-1])
        self.classes = int(self.core.outputs[0].shape[-1])
        self.sides: tuple[int | None, ...] = tuple(shape[1:-1])
        self._sized = _KEPT.setdefault(self.model, {})
        self._fresh: set[Sides] = set()
        self.reach = self._reach()
        self._check_patch()

    def _reach(self) -> Reach:
        """Find alignment and halo, or why there are none."""
        ones = (1,) * len(self.patch)
        try:
            fields = receptive_field(self.core)
        except ZooError as error:
            return Reach(alignment=ones, halo=None, reason=str(error))
        if any(field.fixed for field in fields):
            reason = "its slices are taken by number, so its layers are for volumes of one depth"
            return Reach(alignment=ones, halo=None, reason=reason)
        alignment = tuple(field.alignment for field in fields)
        why = _why_inexact(self, fields)
        if why:
            return Reach(alignment=alignment, halo=None, reason=why)
        halo = tuple(
            -(-(field.margin or 0) // field.alignment) * field.alignment for field in fields
        )
        return Reach(alignment=alignment, halo=halo)

    def _check_patch(self) -> None:
        """Refuse a patch that the network cannot take."""
        sides = zip(self.sides, self.patch, self.reach.alignment, strict=True)
        for axis, (side, patch, alignment) in enumerate(sides):
            if self.reach.halo is not None and patch % alignment:
                raise InferenceError(
                    f"patch_size {self.patch} along axis {axis} must be a multiple of "
                    f"{alignment}, the stride of network {self.core.name!r}"
                )
            if self.reach.halo is None and side not in (None, patch):
                raise InferenceError(
                    f"patch_size {self.patch} is not the {by(self.sides)} that network "
                    f"{self.core.name!r} is built for, and it works at no other size: "
                    f"{self.reach.reason}"
                )

    def bytes_for(self, window: Sequence[int], batch: int = 1) -> float:
        """Estimate the memory of one pass, in bytes."""
        return batch * math.prod(window) * self._per_sample

    @cached_property
    def _per_sample(self) -> float:
        return live_bytes(self.core, self.patch)

    def run(self, batch: Floats) -> Floats:
        """Logits of a batch of windows of one size.

        Raises:
            OutOfMemoryError: The pass does not fit memory.
            InferenceError: The network cannot take that size, or its logits have another.
        """
        size = tuple(batch.shape[1:-1])
        function = self._at(size)
        try:
            logits = keras.ops.convert_to_numpy(function(batch))
        except _exhausted() as error:
            raise OutOfMemoryError(
                f"a pass over {len(batch)} window(s) of {by(size)} does not fit memory; give a "
                "smaller memory_gb, batch_size or patch_size"
            ) from error
        if logits.shape[1:-1] != size:
            raise InferenceError(
                f"network {self.model.name!r} gives {by(logits.shape[1:-1])} for an input of "
                f"{by(size)}; it must give logits for every pixel"
            )
        return np.asarray(logits, np.float32)

    def _at(self, size: Sides) -> Callable[[Any], Any]:
        """Give the function for a size, its weights those that the model has now."""
        key = () if self._opens else size
        if key not in self._sized:
            model = self.core if self.builder is None else _main_output(self.builder(size))
            sides = (None,) * len(size) if self._opens else size
            twin = rebuild(model, sides, fold=True)
            self._sized[key] = _Sized(compiled(twin), twin)
        elif key not in self._fresh and self.builder is None:
            copy_weights(self.core, self._sized[key].twin)
        self._fresh.add(key)
        return self._sized[key].run

    @property
    def _opens(self) -> bool:
        """Whether one network with open sides serves all sizes: those of exact tiles do."""
        return self.builder is None and self.reach.halo is not None


def compiled(model: keras.Model) -> Callable[[Any], Any]:
    """Give the model in inference mode as one compiled function of a batch."""
    if keras.backend.backend() != "tensorflow":
        return lambda batch: model(batch, training=False)
    import tensorflow as tf

    # XLA's convolutions are many times slower on a CPU, and faster on a GPU.
    gpu = bool(tf.config.list_logical_devices("GPU"))
    if not gpu and None in model.inputs[0].shape[1:]:
        # A signature keeps a network with open sides from being traced anew at every size.
        run: Callable[[Any], Any] = tf.function(
            lambda batch: model(batch, training=False),
            input_signature=[tf.TensorSpec(tuple(model.inputs[0].shape), tf.float32)],
        )
        try:
            run.get_concrete_function()  # type: ignore[attr-defined]
        except tf.errors.OperatorNotAllowedInGraphError:
            pass  # a layer asks for the sizes, as Keras' linear upsampling does
        else:
            return run
    return tf.function(  # type: ignore[no-any-return]
        lambda batch: model(batch, training=False), jit_compile=gpu
    )


def _main_output(model: Any) -> keras.Model:
    """Leave deep supervision's coarser outputs out."""
    if not hasattr(model, "_nodes_by_depth") or len(getattr(model, "inputs", None) or ()) != 1:
        raise InferenceError(
            f"{type(model).__name__} is no functional network with one image input"
        )
    output = model.output
    if isinstance(output, dict):
        if MAIN not in output:
            raise InferenceError(
                f"network {model.name!r} has no output {MAIN!r}; it has {', '.join(output)}"
            )
        return keras.Model(model.inputs[0], output[MAIN], name=model.name)
    if isinstance(output, list | tuple):
        raise InferenceError(f"network {model.name!r} has {len(output)} outputs without names")
    return model


def _why_inexact(network: Network, fields: Sequence[AxisField]) -> str:
    """Say what keeps tiles from giving the whole image's result; nothing where they do."""
    name = network.model.name
    for axis, field in enumerate(fields):
        if field.size is None or field.margin is None:
            return f"an output of {name!r} depends on the whole image (statistics over space)"
        if field.stride != 1:
            return f"{name!r} gives one output for {field.stride} samples of axis {axis}"
        side = network.sides[axis]
        if side is not None and side % field.alignment and network.builder is None:
            return (
                f"{name!r} is built for {side} samples along axis {axis}, no multiple of its "
                f"stride {field.alignment}: other sizes are other networks"
            )
    return ""


def _exhausted() -> tuple[type[Exception], ...]:
    if keras.backend.backend() != "tensorflow":
        return (MemoryError,)
    import tensorflow as tf

    return (MemoryError, tf.errors.ResourceExhaustedError)

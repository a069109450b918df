"""Where a run computes, and in which precision: one option each, resolved and checked once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import keras

from recipes.errors import DeviceError
from zoo.devices import building_in

Precision = Literal["float32", "float16", "bfloat16", "auto"]


@dataclass(frozen=True)
class Devices:
    """The devices and the precision of a run.

    Attributes:
        kind: ``"CPU"`` or ``"GPU"``.
        names: Names of the devices, such as ``"GPU:0"``.
        precision: ``"float32"``, ``"float16"`` or ``"bfloat16"``; weights are float32 in each.
        jit_compile: Argument of ``compile``. XLA's convolutions are 5 to 30 times slower than
            TensorFlow's own kernels on a CPU: only with a GPU.
        notes: What the user should know of the choice.
        strategy: ``tf.distribute.MirroredStrategy`` over several devices, else None.
    """

    kind: Literal["CPU", "GPU"]
    names: tuple[str, ...]
    precision: str = "float32"
    jit_compile: bool | str = False
    notes: tuple[str, ...] = ()
    strategy: Any = None
    pinned: bool = False

    @property
    def plain(self) -> bool:
        """Whether models built here are already those of one device in float32."""
        return self.strategy is None and self.precision == "float32"

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Build and train models on these devices in this precision."""
        with ExitStack() as stack:
            if self.strategy is not None:
                stack.enter_context(self.strategy.scope())
            elif self.pinned:
                stack.enter_context(keras.device(self.names[0].lower()))
            stack.enter_context(building_in(self.precision))
            yield

    def check_batch(self, size: int) -> None:
        """Refuse batches that leave a device without a sample.

        Raises:
            DeviceError: Fewer samples than devices.
        """
        if size < len(self.names):
            raise DeviceError(
                f"train.batch_size={size} cannot be shared by {len(self.names)} devices; give a "
                "larger batch or fewer devices"
            )

    def share(self, batches: Any) -> Any:
        """Make batches of which every device gets as many samples as the others.

        The mean over devices of their mean losses is then the mean over the batch. A batch that
        cannot be shared evenly (the last of an epoch) repeats its first samples, fewer than there
        are devices.

        Args:
            batches: A ``tf.data.Dataset`` or ``keras.utils.PyDataset`` of (x, y) batches.

        Returns:
            The batches themselves on one device, else a data set.
        """
        if self.strategy is None:
            return batches
        import tensorflow as tf

        count = len(self.names)
        dataset = batches if isinstance(batches, tf.data.Dataset) else _dataset(batches)

        def even(x: Any, y: Any) -> tuple[Any, Any]:
            size = tf.shape(x)[0]
            places = tf.range(-(-size // count) * count) % size
            return tf.gather(x, places), tf.gather(y, places)

        return dataset.map(even)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {
            "devices": list(self.names),
            "precision": self.precision,
            "jit_compile": self.jit_compile,
            "notes": list(self.notes),
        }


def choose_devices(wish: str | int, precision: Precision = "float32") -> Devices:
    """Resolve the wishes for devices and precision against what this machine has.

    Args:
        wish: ``"cpu"``; ``"gpu"``, the first one; a number of devices that train on shares of each
            batch (GPUs where there are any, else logical CPU devices); ``"auto"``: the first GPU,
            or the CPU where there is none.
        precision: ``"auto"`` is bfloat16 on a GPU of compute capability 8 or more, float16 from 7
            on, else float32.

    Raises:
        DeviceError: A device that is not there; the message names those that are.
    """
    if keras.backend.backend() != "tensorflow":
        return _foreign(wish, precision)
    import tensorflow as tf

    gpus = [_short(device.name) for device in tf.config.list_logical_devices("GPU")]
    cpus = [_short(device.name) for device in tf.config.list_logical_devices("CPU")]
    names = _pick(wish, gpus, cpus)
    kind: Literal["CPU", "GPU"] = "GPU" if names[0].startswith("GPU") else "CPU"
    chosen = precision if precision != "auto" else _best_precision(kind)
    return Devices(
        kind=kind,
        names=tuple(names),
        precision=chosen,
        jit_compile=kind == "GPU",
        notes=_notes(kind, chosen),
        strategy=_mirrored(names, kind, chosen) if len(names) > 1 else None,
        pinned=kind == "CPU" and bool(gpus),
    )


def _mirrored(names: list[str], kind: str, precision: str) -> Any:
    """One copy of the model per device, gradients summed.

    Collective sums, the default, are matched by their order. The loss scale of float16 applies
    them inside a condition, once per device in a thread of its own, where the order can differ:
    "Shape mismatch in the collective instance", seen here on two CPU devices.
    """
    import tensorflow as tf

    plain = kind == "CPU" or precision == "float16"
    sums = tf.distribute.ReductionToOneDevice() if plain else None
    return tf.distribute.MirroredStrategy(names, cross_device_ops=sums)


def _pick(wish: str | int, gpus: list[str], cpus: list[str]) -> list[str]:
    there = f"this machine has {', '.join([*gpus, *cpus])}"
    if wish == "auto":
        return (gpus or cpus)[:1]
    if wish == "cpu":
        return cpus[:1]
    if wish == "gpu":
        if not gpus:
            raise DeviceError(f"devices=gpu: there is no GPU; {there}; give cpu or auto")
        return gpus[:1]
    if isinstance(wish, bool) or not isinstance(wish, int) or wish < 1:
        raise DeviceError(f"devices={wish!r}; give cpu, gpu, auto or a number of devices")
    kind = gpus or cpus
    if wish > len(kind):
        raise DeviceError(f"devices={wish}: {there}; give 1 to {len(kind)}")
    return kind[:wish]


def _notes(kind: str, precision: str) -> tuple[str, ...]:
    if kind == "CPU" and precision != "float32":
        return (
            f"Training in {precision} on a CPU is slower than in float32 on most machines; it is "
            "meant for GPUs.",
        )
    return ()


def _best_precision(kind: str) -> str:
    if kind == "CPU":
        return "float32"
    import tensorflow as tf

    gpu = tf.config.list_physical_devices("GPU")[0]
    major = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))[0]
    return "bfloat16" if major >= 8 else "float16" if major >= 7 else "float32"


def _foreign(wish: str | int, precision: str) -> Devices:
    """Another backend places its arrays itself."""
    backend = keras.backend.backend()
    if wish not in ("auto", 1):
        raise DeviceError(f"devices={wish!r} needs the TensorFlow backend, not {backend!r}")
    chosen = "float32" if precision == "auto" else precision
    return Devices(kind="CPU", names=("default",), precision=chosen, jit_compile="auto")


def _short(name: str) -> str:
    """``/device:GPU:0`` as ``GPU:0``."""
    return name.split("device:")[-1]


def _dataset(batches: keras.utils.PyDataset) -> Any:
    import tensorflow as tf

    x, y = batches[0]
    signature = tuple(tf.TensorSpec([None, *a.shape[1:]], tf.as_dtype(a.dtype)) for a in (x, y))

    def each() -> Iterator[Any]:
        for index in range(len(batches)):
            yield batches[index]

    dataset = tf.data.Dataset.from_generator(each, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))

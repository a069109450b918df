"""Logits, probabilities and labels of one preprocessed image, whatever its size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from recipes.segmentation.inference.blending import blended_slabs
from recipes.segmentation.inference.errors import InferenceError, OutOfMemoryError
from recipes.segmentation.inference.network import Builder, Network
from recipes.segmentation.inference.planning import Plan, plan_inference
from recipes.segmentation.inference.tiling import tiled_slabs
from recipes.segmentation.inference.windows import Canvas

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Member: TypeAlias = "keras.Model | Builder | Network"
Progress = Callable[[int, int], None]
Slab = tuple[int, int, Floats]

ACTIVATIONS = ("softmax", "sigmoid")
ATTEMPTS = 4
"""How often a smaller window is tried when memory runs out."""


def _quiet(done: int, total: int) -> None:
    """Say nothing."""


def predict_logits(model: Member | Sequence[Member], image: Array, **options: Any) -> Floats:
    """Logits of an image; of mirrored views and several networks their mean.

    Args:
        model: As for ``predict_probabilities``.
        image: As there.
        **options: As there, without ``activation``.

    Returns:
        float32 ``(*spatial, classes)``.

    Raises:
        InferenceError: As there.
    """
    return _predict(model, image, activation=None, **options)


def predict_probabilities(
    model: Member | Sequence[Member],
    image: Array,
    *,
    patch_size: Sequence[int],
    activation: str = "softmax",
    mode: str = "auto",
    overlap: float = 0.5,
    mirror_axes: Sequence[int] = (),
    memory_gb: float = 1.5,
    batch_size: int | None = None,
    progress: Progress = _quiet,
    out: Array | None = None,
) -> Floats:
    """Probabilities of an image; of mirrored views and several networks their mean.

    Args:
        model: A network ``(batch, *spatial, channels)`` to logits, open or closed sides; or a
            function from spatial sizes to such a network; or several of them, an ensemble.
        image: ``(D, H, W, C)`` or ``(H, W, C)``, values as the network was trained on.
        patch_size: Spatial sizes that the network was trained on. Smaller images get zeros on
            all sides.
        activation: ``"softmax"`` over the classes, or ``"sigmoid"`` of each, for structures that
            overlap and for one logit.
        mode: ``"auto"``: the whole image at once or in exact tiles where the network allows it and
            that is no more work, else blended windows; ``"tiles"``, ``"blend"``: that.
        overlap: Part of a blended window that the next one repeats, in [0, 1).
        mirror_axes: Spatial axes along which mirrored views are predicted too, all combinations.
        memory_gb: What one pass of the network may take, 10^9 bytes; the program itself, the image
            and a slab of the result come on top.
        batch_size: Windows per pass; None: as many as fit, 4 at most.
        progress: Called with (rows done, rows).
        out: Where to write the result, for example a ``numpy.memmap``; None makes an array.

    Returns:
        float32 ``(*spatial, classes)``.

    Raises:
        InferenceError: The image does not fit the network or holds values that are not finite,
            or for arguments out of range.
        OutOfMemoryError: Not even the smallest window fits memory.
        NotExactError: ``mode="tiles"`` for a network whose tiles are not exact.
    """
    if activation not in ACTIVATIONS:
        raise InferenceError(
            f"unknown activation {activation!r}; choose from {', '.join(ACTIVATIONS)}"
        )
    return _predict(
        model,
        image,
        patch_size=patch_size,
        activation=activation,
        mode=mode,
        overlap=overlap,
        mirror_axes=mirror_axes,
        memory_gb=memory_gb,
        batch_size=batch_size,
        progress=progress,
        out=out,
    )


def predict_labels(
    model: Member | Sequence[Member],
    image: Array,
    *,
    activation: str = "softmax",
    threshold: float = 0.5,
    out: Array | None = None,
    **options: Any,
) -> Array:
    """Labels of an image, slab by slab: probabilities of one slab are in memory at a time.

    Args:
        model: As for ``predict_probabilities``.
        image: As there.
        activation: ``"softmax"``: the most probable class; ``"sigmoid"``: for one logit, 1 where
            its probability reaches ``threshold``.
        threshold: See ``activation``.
        out: Where to write the labels; None makes an array.
        **options: As for ``predict_probabilities``.

    Returns:
        uint8 ``(*spatial)``; uint16 beyond 256 classes.

    Raises:
        InferenceError: As there, and for ``"sigmoid"`` of several logits.
    """
    slabs, classes = _slabs(model, image, activation=activation, **options)
    if activation == "sigmoid" and classes != 1:
        raise InferenceError(f"{classes} structures that may overlap have no one label per pixel")
    kind = np.uint8 if classes <= 256 else np.uint16
    labels = _target(out, image.shape[:-1], kind)
    for first, _, values in slabs:
        for row, one in enumerate(values, first):  # row by row: arg-maxima take 8 bytes each
            labels[row] = one[..., 0] >= threshold if classes == 1 else one.argmax(axis=-1)
    return labels


def probability_slabs(
    model: Member | Sequence[Member],
    image: Array,
    *,
    activation: str = "softmax",
    view: Sequence[int] = (),
    **options: Any,
) -> Iterator[Slab]:
    """Probabilities of one view of an image, slab by slab.

    Args:
        model: As for ``predict_probabilities``.
        image: As there.
        activation: As there.
        view: Spatial axes along which every window is mirrored before the network and after it.
        **options: As there, without ``out`` and ``mirror_axes``.

    Yields:
        First row, row behind the last, and probabilities ``(rows, *spatial, classes)`` that are
        valid until the next slab is asked for.

    Raises:
        InferenceError: As there.
    """
    yield from _slabs(model, image, activation=activation, views=[tuple(view)], **options)[0]


def networks_of(model: Member | Sequence[Member], patch_size: Sequence[int]) -> list[Network]:
    """Give the members of an ensemble; one model is an ensemble of one."""
    members = list(model) if isinstance(model, list | tuple) else [model]
    networks = [m if isinstance(m, Network) else Network(m, patch_size) for m in members]
    if not networks:
        raise InferenceError("an ensemble without a model; give at least one")
    if len({(n.channels, n.classes, n.patch) for n in networks}) > 1:
        raise InferenceError("the members of the ensemble differ in channels, classes or patch")
    return networks


def _predict(
    model: Member | Sequence[Member], image: Array, *, out: Array | None = None, **options: Any
) -> Floats:
    slabs, classes = _slabs(model, image, **options)
    values = _target(out, (*image.shape[:-1], classes), np.float32)
    for first, last, slab in slabs:
        values[first:last] = slab
    return values


def _target(out: Array | None, shape: Sequence[int], kind: Any) -> Array:
    if out is None:
        return np.empty(shape, kind)
    if out.shape != tuple(shape):
        raise InferenceError(f"out has shape {out.shape}; the result has {tuple(shape)}")
    return out


def _slabs(
    model: Member | Sequence[Member],
    image: Array,
    *,
    patch_size: Sequence[int],
    activation: str | None,
    mode: str = "auto",
    overlap: float = 0.5,
    mirror_axes: Sequence[int] = (),
    memory_gb: float = 1.5,
    batch_size: int | None = None,
    progress: Progress = _quiet,
    views: Sequence[tuple[int, ...]] | None = None,
) -> tuple[Iterator[Slab], int]:
    """Values of the image itself, slab by slab, and the number of classes."""
    networks = networks_of(model, patch_size)
    views = views or mirrored_views(mirror_axes, len(networks[0].patch))
    _check_image(image, networks[0])

    def plan(limit: float, batch: int | None) -> Plan:
        return plan_inference(
            networks,
            image.shape[:-1],
            mode=mode,
            overlap=overlap,
            memory_gb=limit,
            batch_size=batch,
        )

    def slabs() -> Iterator[Slab]:
        done, limit, chosen = 0, memory_gb, plan(memory_gb, batch_size)
        for attempt in itertools.count(1):
            canvas = Canvas(image, chosen.size)
            try:
                for first, last, values in _values(networks, views, canvas, chosen, activation):
                    rows, part = canvas.inner(first, last)
                    if rows.stop > rows.start:
                        yield rows.start, rows.stop, values[(part, *canvas.across)]
                    done = rows.stop
                    progress(done, image.shape[0])
            except OutOfMemoryError:
                smaller = None if attempt == ATTEMPTS else _smaller(chosen, plan, limit)
                if smaller is None:
                    raise
                limit, chosen = limit / 2, smaller
                continue
            return

    return slabs(), networks[0].classes


def _smaller(chosen: Plan, plan: Callable[[float, int | None], Plan], limit: float) -> Plan | None:
    """Give a plan for half the memory; None where it would need as much."""
    try:
        smaller = plan(min(limit, chosen.estimate_gb) / 2, None)
    except OutOfMemoryError:
        return None
    return smaller if smaller.estimate_gb < chosen.estimate_gb else None


def _values(
    networks: Sequence[Network],
    views: Sequence[tuple[int, ...]],
    canvas: Canvas,
    plan: Plan,
    activation: str | None,
) -> Iterator[Slab]:
    """Mean over networks and mirrored views."""
    pairs = list(itertools.product(networks, views))
    classes = networks[0].classes

    def viewed(network: Network, view: tuple[int, ...]) -> Callable[[Floats], Floats]:
        axes = tuple(axis + 1 for axis in view)
        return lambda batch: np.flip(network.run(np.flip(batch, axes)), axes)

    def mean(batch: Floats) -> Floats:
        parts = (activate(viewed(*pair)(batch), activation) for pair in pairs)
        total = next(parts)
        if len(pairs) == 1:
            return total
        total = total.copy()
        for part in parts:
            total += part
        total /= len(pairs)
        return total

    if plan.mode != "blend":
        yield from tiled_slabs(mean, canvas, plan, classes)
        return
    streams = [blended_slabs(viewed(*pair), canvas, plan, classes) for pair in pairs]
    for slabs in zip(*streams, strict=True):
        first, last, logits = slabs[0]
        values = activate(logits, activation)
        if len(pairs) > 1:
            values = values.copy()
            for _, _, other in slabs[1:]:
                values += activate(other, activation)
            values /= len(pairs)
        yield first, last, values


def activate(logits: Floats, activation: str | None) -> Floats:
    """Probabilities of logits ``(..., classes)``; None leaves them."""
    if activation == "softmax":
        values: Floats = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float32)
        np.exp(values, out=values)
        values /= values.sum(axis=-1, keepdims=True)
        return values
    if activation == "sigmoid":
        # exp of a negative number alone, so that nothing overflows
        small = np.exp(-np.abs(logits))
        return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), np.float32)
    return logits


def mirrored_views(mirror_axes: Sequence[int], dims: int) -> list[tuple[int, ...]]:
    """All combinations of mirrored axes, none first."""
    axes = tuple(mirror_axes)
    if len(set(axes)) != len(axes) or any(axis not in range(dims) for axis in axes):
        raise InferenceError(
            f"mirror_axes {axes} must be different spatial axes of 0 to {dims - 1}"
        )
    return [view for count in range(len(axes) + 1) for view in itertools.combinations(axes, count)]


def _check_image(image: Array, network: Network) -> None:
    dims = len(network.patch)
    if image.ndim != dims + 1 or 0 in image.shape:
        raise InferenceError(
            f"an image of shape {image.shape}; the network takes {dims} spatial axes, none empty, "
            "and channels last"
        )
    if image.shape[-1] != network.channels:
        raise InferenceError(
            f"the image has {image.shape[-1]} channel(s), the network takes {network.channels}: "
            "give the channels it was trained on, in their order"
        )
    if image.dtype.kind not in "fiub":
        raise InferenceError(f"an image of type {image.dtype}; give real numbers")

"""Logits of a finished model: one way for fit, evaluate and predict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import zoo
from data_adapters.adapter import Adapter, Skip
from data_adapters.augment import apply_view
from data_adapters.chain import apply_chain
from data_adapters.dicom.display import bright_is_dense
from data_adapters.errors import CaseError
from data_adapters.hashing import fingerprint
from recipes.engine.modelfile import ModelRecord
from recipes.errors import RecipeError

BATCH = 32
Views = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Inference:
    """Logits of the readable cases of an adapter.

    Attributes:
        indices: Adapter index of every readable case, ``(n,)``.
        logits: ``(n, k)`` float32 at the prevalence of the training part.
        sha256: Pixel hash of every readable case.
        skipped: Cases that could not be read.
    """

    indices: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    sha256: tuple[str, ...]
    skipped: tuple[Skip, ...]


def mean_logits(model: keras.Model, batch: npt.NDArray[Any], views: Views) -> npt.NDArray[Any]:
    """Mean logits over test-time views.

    Args:
        model: Network with ``(B, H, W, C)`` input.
        batch: Inputs in modality units.
        views: Views of ``data_adapters.augment``; none means the identity.

    Returns:
        ``(B, k)`` float32.
    """
    x = np.asarray(batch, "float32")
    total: Any = 0.0
    for view in views or ({"view": "identity"},):
        total = total + np.asarray(model.predict_on_batch(apply_view(x, view)), "float64")
    return np.asarray(total / max(1, len(views)), "float32")


def cached_logits(
    model: keras.Model,
    images: npt.NDArray[Any],
    rows: npt.NDArray[np.int64],
    views: Views,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.float32]:
    """Logits of rows of a decoded cache, a batch in memory at a time."""
    parts = []
    for start in range(0, len(rows), BATCH):
        batch = np.stack([images[i] for i in rows[start : start + BATCH]])
        parts.append(mean_logits(model, batch, views))
        progress(min(start + BATCH, len(rows)), len(rows))
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), "float32")


def infer(
    model: keras.Model,
    record: ModelRecord,
    adapter: Adapter,
    indices: Iterable[int],
    *,
    batch_size: int = BATCH,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inference:
    """Read, transform and predict cases of an adapter, a batch in memory at a time.

    Args:
        model: The model of ``record``.
        record: Its chain and views.
        adapter: Where the cases come from.
        indices: Which of them.
        batch_size: Cases in memory at once.
        progress: Called with (done, total).

    Returns:
        Logits of the readable cases and the reasons for the rest.

    Raises:
        RecipeError: The images do not fit the model (volumes for a picture model).
    """
    ready = zoo.for_inference(model)
    wanted = [int(i) for i in indices]
    kept: list[int] = []
    hashes: list[str] = []
    skipped: list[Skip] = []
    logits: list[npt.NDArray[Any]] = []
    for start in range(0, len(wanted), batch_size):
        inputs = []
        for i, x, digest in read_inputs(
            adapter, record, wanted[start : start + batch_size], skipped
        ):
            kept.append(i)
            hashes.append(digest)
            inputs.append(x)
        if inputs:
            logits.append(mean_logits(ready, np.stack(inputs), record.views))
        progress(min(start + batch_size, len(wanted)), len(wanted))
    empty = np.zeros((0, len(record.class_names)), "float32")
    return Inference(
        indices=np.asarray(kept, "int64"),
        logits=np.concatenate([empty, *logits]),
        sha256=tuple(hashes),
        skipped=tuple(skipped),
    )


def read_inputs(
    adapter: Adapter, record: ModelRecord, indices: Sequence[int], skipped: list[Skip]
) -> Iterator[tuple[int, npt.NDArray[Any], str]]:
    """Read and transform cases one by one.

    Args:
        adapter: Where they come from.
        record: The model's chain.
        indices: Which of them.
        skipped: Takes those that cannot be read.

    Yields:
        Adapter index, input and digest of the pixels.

    Raises:
        RecipeError: The images do not fit the model (volumes for a picture model).
    """
    for i in indices:
        try:
            case = adapter[i]
        except CaseError as error:
            skipped.append(Skip(error.case_id, error.kind, str(error)))
            continue
        image = bright_is_dense(case)
        planes = any(step["step"] == "planes" for step in record.chain)
        if (image.ndim == 4) != planes:
            kinds = ("volumes", "pictures") if planes else ("pictures", "volumes")
            raise RecipeError(
                f"case {adapter.index[i].case_id}: the model was fitted on {kinds[0]} and these "
                f"data hold {kinds[1]}"
            )
        shown = replace(case, image=image)
        yield i, apply_chain(shown, record.chain), fingerprint(image).sha256

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
from data_adapters.case import Case
from data_adapters.chain import apply_chain
from data_adapters.dicom.display import bright_is_dense
from data_adapters.errors import CaseError
from data_adapters.hashing import fingerprint
from recipes.engine.embedding import split_outputs, with_embedding
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
        embeddings: ``(n, d)`` float32 where asked for: the mean over the views, as the logits are.
    """

    indices: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    sha256: tuple[str, ...]
    skipped: tuple[Skip, ...]
    embeddings: npt.NDArray[np.float32] | None = None


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
    embed: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inference:
    """Read, transform and predict cases of an adapter, a batch in memory at a time.

    Args:
        model: The model of ``record``.
        record: Its chain and views.
        adapter: Where the cases come from.
        indices: Which of them.
        batch_size: Cases in memory at once.
        embed: Give the embeddings too (`engine.embedding`).
        progress: Called with (done, total).

    Returns:
        Logits of the readable cases and the reasons for the rest.

    Raises:
        RecipeError: The images do not fit the model (volumes for a picture model).
    """
    ready = zoo.for_inference(with_embedding(model) if embed else model)
    wanted = [int(i) for i in indices]
    kept: list[int] = []
    hashes: list[str] = []
    skipped: list[Skip] = []
    logits: list[npt.NDArray[Any]] = []
    for start in range(0, len(wanted), batch_size):
        inputs = []
        chunk = wanted[start : start + batch_size]
        for i, x, digest in read_inputs(adapter, record, chunk, skipped):
            kept.append(i)
            hashes.append(digest)
            inputs.append(x)
        if inputs:
            logits.append(mean_logits(ready, np.stack(inputs), record.views))
        progress(min(start + batch_size, len(wanted)), len(wanted))
    empty = np.zeros((0, ready.output_shape[-1]), "float32")
    found, embeddings = split_outputs(np.concatenate([empty, *logits]), len(record.class_names))
    return Inference(
        indices=np.asarray(kept, "int64"),
        logits=found,
        sha256=tuple(hashes),
        skipped=tuple(skipped),
        embeddings=embeddings if embed else None,
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
        image = network_image(case, record)
        yield i, apply_chain(replace(case, image=image), record.chain), fingerprint(image).sha256


def network_image(case: Case, record: ModelRecord) -> npt.NDArray[Any]:
    """A case's image as the chain of a model takes it: bright is dense.

    Args:
        case: The case.
        record: The model's.

    Raises:
        RecipeError: The model was fitted on volumes and this is a picture, or the other way round.
    """
    image = bright_is_dense(case)
    planes = any(step["step"] == "planes" for step in record.chain)
    if (image.ndim == 4) != planes:
        kinds = ("volumes", "pictures") if planes else ("pictures", "volumes")
        raise RecipeError(
            f"case {case.case_id}: the model was fitted on {kinds[0]} and these data hold "
            f"{kinds[1]}"
        )
    return image

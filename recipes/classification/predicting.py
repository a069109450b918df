"""``radzoo classify predict``: probabilities for pictures without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_adapters.files import open_files
from recipes.classification.inference import BATCH, infer
from recipes.classification.outputs import write_csv
from recipes.engine.checkpoint import check_writable
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.progress import Reporter
from recipes.uncertainty.record import header as columns_of
from recipes.uncertainty.record import load_uncertainty


def predict(
    run: str | Path,
    sources: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    batch_size: int = BATCH,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Apply a run's model to files, a folder or an npz.

    Args:
        run: Run folder of a finished fit.
        sources: Pictures, folders of pictures, or an npz.
        out: CSV file to write: ``file, status, predicted``, a probability per class, logits; and
            calibrated probabilities, the prediction set, the score and flag of foreign cases
            where the run knows them.
        batch_size: Cases in memory at once.
        reporter: Progress; quiet where None.

    Returns:
        One row per case, unreadable ones included with their reason in ``status``.

    Raises:
        recipes.errors.RecipeError: The run cannot be opened, or ``out`` not be written.
        data_adapters.errors.DataError: Nothing readable was given.
    """
    if out is not None:
        check_writable(Path(out))
    with reporter or Reporter(quiet=True) as live:
        model, record = load_model(Path(run))
        sure = load_uncertainty(Path(run), model_sha256=record.model_sha256)
        adapter = open_files([Path(source) for source in sources])
        with live.task("predicting", len(adapter)) as step:
            result = infer(
                model,
                record,
                adapter,
                range(len(adapter)),
                batch_size=batch_size,
                embed=sure is not None,
                progress=step,
            )
    rows: dict[int, dict[str, Any]] = {}
    for i, logits in zip(result.indices, result.logits, strict=True):
        rows[int(i)] = _row(adapter.source_name(int(i)), logits, record)
    if sure is not None and result.embeddings is not None:
        further = sure.columns(result.logits, result.embeddings)
        for i, columns in zip(result.indices, further, strict=True):
            rows[int(i)] |= columns
    places = {row.case_id: i for i, row in enumerate(adapter.index)}
    for skip in result.skipped:
        place = places[skip.case_id]
        rows[place] = {"file": adapter.source_name(place), "status": skip.kind}
    ordered = [rows[i] for i in sorted(rows)]
    ordered += [
        {"file": skip.source or skip.case_id, "status": skip.kind} for skip in adapter.skipped
    ]
    if out is not None:
        header = _header(record) + ([] if sure is None else columns_of(sure.record))
        write_csv(Path(out), header, [[row.get(key, "") for key in header] for row in ordered])
    return ordered


def _header(record: ModelRecord) -> list[str]:
    names = record.class_names
    operating = ["at_operating_point"] if record.threshold is not None else []
    return [
        "file",
        "status",
        "predicted",
        *operating,
        *(f"p_{name}" for name in names),
        *(f"logit_{name}" for name in names),
    ]


def _row(file: str, logits: Any, record: ModelRecord) -> dict[str, Any]:
    prob = probabilities(logits[None], task=record.kind)[0]
    names = record.class_names
    if record.kind == "single":
        predicted = names[int(prob.argmax())]
    else:
        predicted = ";".join(n for n, p in zip(names, prob, strict=True) if p >= 0.5)
    row: dict[str, Any] = {"file": file, "status": "ok", "predicted": predicted}
    if record.threshold is not None and record.positive is not None:
        column = names.index(record.positive)
        above = bool(prob[column] >= record.threshold)
        row["at_operating_point"] = record.positive if above else f"not {record.positive}"
    row |= {f"p_{name}": float(p) for name, p in zip(names, prob, strict=True)}
    row |= {f"logit_{name}": float(z) for name, z in zip(names, logits, strict=True)}
    return row

"""``radzoo classify embed``: embeddings of every case, a map of them, and what they tell."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import zoo
from data_adapters.adapter import Adapter
from data_adapters.cache import Decoded, decode, probe
from data_adapters.home import home
from data_adapters.split_table import read_splits
from recipes.classification.config import ClassificationConfig, DataConfig
from recipes.classification.data import input_range_of, labelled, make_chain, open_data
from recipes.classification.evaluating import match_classes, opening
from recipes.classification.inference import cached_logits
from recipes.classification.thumbnails import Pictures, Thumbnails
from recipes.config import load_config
from recipes.engine.checkpoint import check_writable
from recipes.engine.embedding import split_outputs, with_embedding
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import RECORD_FILE, file_sha256, load_model
from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index
from recipes.progress import Reporter
from recipes.similarity.cases import UNKNOWN, Embedded, save_cases, stored_embeddings
from recipes.similarity.labels import crossed_probabilities
from recipes.similarity.projection import Way, check_way, project
from recipes.similarity.telling import PAGE_FILE, tell
from zoo.heads.model import split_head


@dataclass(frozen=True, eq=False)
class Source:
    """A network and decoded cases for it.

    Attributes:
        adapter: Where the cases come from.
        decoded: Their inputs.
        input_range: Modality units that map to 0-255.
        rows: Adapter indices of the readable cases.
        key: Names network and data.
    """

    adapter: Adapter
    decoded: Decoded
    input_range: tuple[float, float]
    rows: npt.NDArray[np.int64]
    key: str


def embed(
    network: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    weights: str = "imagenet",
    pictures: Pictures | None = None,
    way: Way = "tsne",
    seed: int = 0,
    n_boot: int = 1000,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Embed every case of a data set and write what looks alike.

    The embedding is what the layer of the logits sees (members of an ensemble one after the
    other); of an untouched backbone, the mean of every channel of its highest level.

    Args:
        network: Run folder of a finished fit, or the name of a backbone.
        source: Data, labelled or not.
        out: Folder for ``embeddings.npz``, ``cases.csv``, ``alike.json`` and ``alike.html``.
            Embeddings that are there already, of the same network and data, are used again.
        weights: Weights of a backbone: ``imagenet``, another name, or a file.
        pictures: Show cases: ``auto`` where the DICOM header says that nothing is burned in,
            ``yes``, ``no``; None: the run's setting, ``auto`` for a backbone.
        way: The map: ``tsne`` or ``umap``.
        seed: Seed of map, clusters, folds and bootstrap.
        n_boot: Bootstrap replicates.
        reporter: Progress; quiet where None.

    Returns:
        The content of ``alike.json``.

    Raises:
        recipes.errors.RecipeError: The network, the data or the folder do not fit.
        data_adapters.errors.DataError: The data cannot be read.
        zoo.errors.ZooError: The backbone's weights are not to be had.
    """
    check_way(way)
    folder, place = Path(out), Path(network)
    is_run = (place / RECORD_FILE).exists() or place.is_dir()
    if not is_run and str(network) not in zoo.list_backbones():
        raise RecipeError(
            "the network is neither a run folder nor a backbone's name; `radzoo models` lists the "
            "backbones"
        )
    check_writable(folder / PAGE_FILE)
    with reporter or Reporter(quiet=True) as live:
        if is_run:
            found, shown = _of_run(place, str(source), folder, live, pictures)
        else:
            found, shown = _of_backbone(
                str(network), weights, str(source), folder, live, pictures, seed
            )
        save_cases(found, folder)
        with live.task(f"making the {way} map"):
            flat = project(found.embeddings, way=way, seed=seed)
        with live.task("neighbours, overlap and clusters"):
            return tell(found, flat, folder, shown, way=way, seed=seed, n_boot=n_boot)


def _of_run(
    run: Path, data: str, folder: Path, live: Reporter, pictures: Pictures | None
) -> tuple[Embedded, Thumbnails]:
    model, record = load_model(run)
    config = load_config(ClassificationConfig, file=run / "config.yaml")
    adapter = open_data(data, opening(config.data, data))
    planes = any(step["step"] == "planes" for step in record.chain)
    if (probe(adapter)["ndim"] == 4) != planes:
        raise RecipeError(
            f"the model was fitted on {'volumes' if planes else 'pictures'}, and these data hold "
            "the other kind"
        )
    source = _decode(adapter, record.chain, record.input_range, record.model_sha256, live)
    arrays = stored_embeddings(folder, source.key)
    classes = len(record.class_names)
    if arrays is None:
        ready = zoo.for_inference(with_embedding(model))
        outputs = _outputs(ready, source, record.views, live)
        logits, embeddings = split_outputs(outputs, classes)
        prob = probabilities(logits, task=record.kind)
        if record.kind != "single":
            prob = np.full_like(prob, np.nan)
    else:
        embeddings, prob = arrays["embeddings"], arrays["prob"]
    notes = []
    labels = np.full(len(source.rows), UNKNOWN, "int64")
    if record.kind != "single":
        notes.append("The labels are not exclusive, so cases have no one class here.")
    elif adapter.task == "single":
        order, more = match_classes(adapter, record)
        notes += more
        back = {int(mine): k for k, mine in enumerate(order)}
        for i, row in enumerate(_index(source)):
            if row.label is not None:
                labels[i] = back[row.label]
    parts, unseen = _parts(run, source)
    if (~unseen).any():
        notes.append(
            f"The network was fitted to {int((~unseen).sum())} of these {len(unseen)} cases (or to "
            "others of their patients): their embeddings carry the labels they were given, so the "
            "classes look further apart than they are, and wrong labels among them do not show."
        )
    if "val" in parts:
        notes.append("The validation cases chose the epoch, and in that sense were seen once.")
    found = _embedded(source, embeddings, prob, labels, parts, unseen, record.class_names, notes)
    return found, Thumbnails(source, pictures or config.report.pictures)


def _of_backbone(
    name: str,
    weights: str,
    data: str,
    folder: Path,
    live: Reporter,
    pictures: Pictures | None,
    seed: int,
) -> tuple[Embedded, Thumbnails]:
    settings = DataConfig()
    adapter = open_data(data, settings)
    chain = make_chain(adapter, settings)
    start = file_sha256(Path(weights)) if Path(weights).is_file() else weights
    source = _decode(adapter, chain, None, f"backbone {name} {start}", live)
    arrays = stored_embeddings(folder, source.key)
    if arrays is None:
        shape = tuple(int(side) for side in source.decoded.images.shape[1:])
        model = zoo.create_model(
            name, input_shape=shape, classes=2, weights=weights, input_range=source.input_range
        )
        ready = zoo.for_inference(split_head(model)[0])
        embeddings = _outputs(ready, source, ({"view": "identity"},), live)
    else:
        embeddings = arrays["embeddings"]
    index = _index(source)
    single = adapter.task == "single"
    labels = np.asarray(
        [r.label if single and r.label is not None else UNKNOWN for r in index], "int64"
    )
    classes = adapter.class_names if single else ()
    prob = np.full((len(index), len(classes)), np.nan)
    notes = [f"Features of {name} as it came, fitted to no case and no label of these data."]
    known = labels != UNKNOWN
    if len(np.unique(labels[known])) > 1:
        groups, _ = group_index([row.patient_id for row in index], len(index))
        with live.task("out-of-sample probabilities"):
            crossed = crossed_probabilities(
                embeddings[known], labels[known], groups[known], seed=seed
            )
        if crossed is None:
            notes.append("A class has fewer than 5 patients: no out-of-sample probabilities.")
        else:
            prob[np.flatnonzero(known), : crossed.shape[1]] = crossed
            prob[known] = np.nan_to_num(prob[known])
            notes.append(
                "Answers are those of a logistic regression on the features, each case by one "
                "that saw neither it nor its patient (5 folds)."
            )
    parts = tuple(row.part or "new" for row in index)
    unseen = np.ones(len(index), bool)
    found = _embedded(source, embeddings, prob, labels, parts, unseen, classes, notes, bare=True)
    return found, Thumbnails(source, pictures or "auto")


def _decode(
    adapter: Adapter, chain: Any, span: tuple[float, float] | None, network: str, live: Reporter
) -> Source:
    """Decode, or find decoded; without a given range of pixel values it is the data's own."""
    with live.task("decoding", len(adapter)) as step:
        decoded = decode(adapter, chain, home=home(), progress=step)
    rows = np.flatnonzero(decoded.ok)
    span = span or input_range_of(decoded, rows, DataConfig())
    text = f"{network}|{span}|{decoded.key}|" + ",".join(decoded.sha256)
    key = hashlib.sha256(text.encode()).hexdigest()
    return Source(adapter, decoded, span, rows, key)


def _outputs(model: Any, source: Source, views: Any, live: Reporter) -> npt.NDArray[np.float32]:
    with live.task("embedding", len(source.rows)) as step:
        return cached_logits(model, source.decoded.images, source.rows, views, progress=step)


def _index(source: Source) -> list[Any]:
    return [source.adapter.index[int(i)] for i in source.rows]


def _parts(run: Path, source: Source) -> tuple[tuple[str, ...], npt.NDArray[np.bool_]]:
    """Part of each case in the run, by its pixels; and whether the fit has not seen its patient."""
    table = read_splits(run / "splits.csv")
    part_of = {row.pixel_sha256: row.part for row in table if row.part}
    part_of |= {row.pixel_sha256: "train" for row in table if row.part == "train"}
    patients = {row.patient for row in table if row.part == "train" and row.patient}
    parts, unseen = [], []
    for i, row in zip(source.rows, _index(source), strict=True):
        part = part_of.get(source.decoded.sha256[int(i)], "new")
        parts.append(part)
        unseen.append(part != "train" and row.patient_id not in patients)
    return tuple(parts), np.asarray(unseen, bool)


def _embedded(
    source: Source,
    embeddings: npt.NDArray[np.float32],
    prob: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    parts: tuple[str, ...],
    unseen: npt.NDArray[np.bool_],
    class_names: tuple[str, ...],
    notes: list[str],
    *,
    bare: bool = False,
) -> Embedded:
    index = _index(source)
    groups, known = group_index([row.patient_id for row in index], len(index))
    if known < len(index):
        notes.append(
            f"The patient of {len(index) - known} cases is unknown; each counts as one of its own."
        )
    skipped = len(source.decoded.skipped) + len(source.adapter.skipped)
    if skipped:
        notes.append(f"{skipped} cases could not be read and are left out.")
    unlabelled = sum(not labelled(row) for row in index)
    if unlabelled:
        notes.append(f"{unlabelled} cases have no label.")
    return Embedded(
        embeddings=np.asarray(embeddings, "float32"),
        prob=prob,
        labels=labels,
        group_of=groups,
        case_ids=tuple(row.case_id for row in index),
        parts=parts,
        sites=tuple(row.site or "" for row in index),
        unseen=unseen,
        class_names=tuple(class_names),
        key=source.key,
        notes=tuple(notes),
        untrained=bare,
    )

"""The map of a data set as one self-contained page, drawn by a small script of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from recipes.intended_use import INTENDED_USE
from recipes.report import wording
from recipes.report.images import PALETTE, thumbnail
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text
from recipes.report.view import part_name
from recipes.similarity.cases import UNKNOWN, Embedded
from recipes.similarity.projection import MEANING

TILE = 32
"""Side of a thumbnail in the sprite."""
SHOWN = 24
"""Suspected labels on the page; all are in the JSON."""
_STEPS = 10_000

Picture = Callable[[str], npt.NDArray[np.uint8] | None]


def write_page(
    path: Path,
    found: Embedded,
    flat: npt.NDArray[np.float64],
    result: Mapping[str, Any],
    picture: Picture,
    near: npt.NDArray[np.int64],
    far: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
    suspects: Sequence[Mapping[str, Any]],
) -> Path:
    """Write the page, whole or not at all.

    Its content security policy lets the browser run the page's own script, known by its hash, and
    load nothing.

    Args:
        path: Where to write, replaced if it exists.
        found: Embedded cases.
        flat: ``(n, 2)`` their places, 0 to 1.
        result: The figures.
        picture: Case id -> picture, None where it is not to be shown.
        near: ``(n, k)`` neighbours, -1 none.
        far: ``(n, k)`` their distances.
        clusters: ``(n,)`` cluster of each case.
        suspects: Suspected labels, the most suspect first.

    Raises:
        RunFolderError: The file cannot be written.
    """
    environment = templates(autoescape=True)
    script = environment.get_template("alike.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    tiles, sheet = sprite([picture(case) for case in found.case_ids])
    page = environment.get_template("alike.html.j2").render(
        title=f"What looks alike: {result['n']} cases",
        banner=INTENDED_USE,
        script=script,
        digest=digest,
        data=_json(_data(found, flat, near, far, clusters, suspects, tiles)),
        sheet=sheet,
        pictures=sheet is not None,
        map_meaning=MEANING[str(result["map"])],
        width=result["width"],
        groups=result["n_groups"],
        n=result["n"],
        overlap=_overlap(result),
        pairs=_pairs(result),
        clusters=_clusters(result),
        label_errors=result["label_errors"],
        suspects=[_card(one, picture) for one in suspects[:SHOWN]],
        definitions=result["definitions"],
        notes=[scrub(note) for note in result["notes"]],
    )
    return write_text(path, page)


def sprite(pictures: Sequence[npt.NDArray[np.uint8] | None]) -> tuple[list[int], str | None]:
    """One picture of all thumbnails in rows, so that the browser decodes a single image.

    Args:
        pictures: uint8 ``(H, W)`` or ``(H, W, 3)`` of each case, None where not to be shown.

    Returns:
        Tile number of each case, -1 where it has none; and the JPEG as a data URI, None where no
        case has a picture. The sheet is ``ceil(sqrt(tiles))`` tiles wide.
    """
    numbers: list[int] = []
    tiles: list[Image.Image] = []
    for pixels in pictures:
        numbers.append(len(tiles) if pixels is not None else -1)
        if pixels is not None:
            tiles.append(_tile(pixels))
    if not tiles:
        return numbers, None
    wide = math.ceil(math.sqrt(len(tiles)))
    mode = "L" if all(tile.mode == "L" for tile in tiles) else "RGB"
    sheet = Image.new(mode, (wide * TILE, math.ceil(len(tiles) / wide) * TILE))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % wide * TILE, i // wide * TILE))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return numbers, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _tile(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    if image.size == (TILE, TILE):
        return image
    whole = Image.new(image.mode, (TILE, TILE))
    whole.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return whole


def _data(
    found: Embedded,
    flat: npt.NDArray[np.float64],
    near: npt.NDArray[np.int64],
    far: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
    suspects: Sequence[Mapping[str, Any]],
    tiles: list[int],
) -> dict[str, Any]:
    """Columns for the script; places as whole numbers of 1/10000."""
    predicted = found.predicted
    doubtful = {int(one["row"]) for one in suspects}
    both = (found.labels != UNKNOWN) & (predicted != UNKNOWN)
    error = np.where(both, (found.labels != predicted).astype("int64"), UNKNOWN)
    sites = sorted({site for site in found.sites if site})
    parts = sorted(set(found.parts), key=lambda part: ("train", "val", "test", "new").index(part))
    colours = {
        "class": (list(found.class_names), found.labels.tolist()),
        "part": ([part_name(p) for p in parts], [parts.index(p) for p in found.parts]),
        "site": (sites, [sites.index(s) if s else UNKNOWN for s in found.sites]),
        "error": (["right answer", "wrong answer"], error.tolist()),
        "suspected label": (
            ["not suspected", "suspected"],
            [int(i in doubtful) for i in range(len(found.labels))],
        ),
        "cluster": (
            [f"cluster {c + 1}" for c in range(int(clusters.max()) + 1)],
            clusters.tolist(),
        ),
    }
    return {
        "x": np.round(flat[:, 0] * _STEPS).astype("int64").tolist(),
        "y": np.round(flat[:, 1] * _STEPS).astype("int64").tolist(),
        "ids": list(found.case_ids),
        "colours": {
            name: {"names": names, "values": values}
            for name, (names, values) in colours.items()
            if len({v for v in values if v != UNKNOWN}) > 0
        },
        "answers": predicted.tolist(),
        "answerNames": list(found.class_names),
        "near": near.tolist(),
        "far": np.round(np.where(np.isfinite(far), far, -1.0), 3).tolist(),
        "tiles": tiles,
        "tile": TILE,
        "palette": list(PALETTE),
    }


def _json(content: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _overlap(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table: figure, cases the network has not seen, all cases."""
    names = {"silhouette": "Silhouette of the classes", "neighbour_error": "Neighbour error"}
    rows = []
    for key, name in names.items():
        cells = []
        for group in ("unseen", "all"):
            figure = result[group].get(key) or {"value": None, "low": None, "high": None}
            cells.append(
                {"value": wording.number(figure["value"]), "interval": wording.interval(figure)}
            )
        rows.append({"name": name, "cells": cells, "meaning": result["definitions"][key]})
    return rows


def _pairs(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Overlap of class pairs, of unseen cases where there are any."""
    group = "unseen" if result["unseen"].get("pairs") else "all"
    return [
        {
            "name": f"{pair['first']} / {pair['second']}",
            "overlap": wording.number(pair["overlap"]),
            "of": f"{result[group]['n']} {'unseen ' if group == 'unseen' else ''}cases",
        }
        for pair in result[group].get("pairs", [])[:20]
    ]


def _clusters(result: Mapping[str, Any]) -> dict[str, Any]:
    found = result["clusters"]
    names = {"ari": "Adjusted Rand index", "nmi": "Normalised mutual information"}
    return {
        "k": found["k"],
        "sizes": ", ".join(str(n) for n in found["sizes"]),
        "tried": [
            {"k": row["k"], "silhouette": wording.number(row["silhouette"])}
            for row in found["tried"]
        ],
        "agreement": [
            {
                "name": name,
                "value": wording.number(found[key]["value"]),
                "interval": wording.interval(found[key]),
                "chance": wording.number(found[key]["chance"]),
            }
            for key, name in names.items()
            if key in found
        ],
    }


def _card(one: Mapping[str, Any], picture: Picture) -> dict[str, Any]:
    case = str(one["case_id"])
    return {
        "case": case,
        "lines": [f"label: {one['given']}", f"looks like: {one['suggested']}"],
        "image": thumbnail(picture(case)),
        "tag": f"margin {one['margin']:.2f}, {part_name(str(one['part']))}",
    }

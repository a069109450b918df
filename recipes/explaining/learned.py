"""``radzoo classify|segment|detect features``: a gallery of what units of a network look for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import zoo
from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError
from recipes.classification.outputs import write_csv
from recipes.classification.thumbnails import Pictures, may_show
from recipes.engine.checkpoint import check_writable, write_atomic, write_json
from recipes.errors import RecipeError
from recipes.explaining.errors import ExplainError
from recipes.explaining.features import Layer, first_kernels, layer_of, look
from recipes.explaining.gallery import Pixels, kernel_sheet, stacked, strip
from recipes.explaining.network import Floats
from recipes.explaining.page import picture_uri
from recipes.explaining.questions import Asker
from recipes.explaining.running import cell, open_asker, open_cases, safe
from recipes.intended_use import INTENDED_USE
from recipes.progress import Reporter
from recipes.report.page import templates, write_text
from recipes.segmentation.report.overlays import grey_of

COLUMNS = ("layer", "unit", "rank", "case", "value", "place", "box")


def features(
    task: str,
    run: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    layers: Sequence[str] = (),
    units: int = 8,
    part: str | None = None,
    limit: int | None = None,
    pictures: Pictures = "auto",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Show what excites units of a run's network.

    Args:
        task: Of the run.
        run: Run folder of a finished fit.
        sources: Cases, as of `running.open_cases`.
        out: Folder for ``features.html``, a PNG for every layer, ``kernels.png``,
            ``features.csv`` and ``features.json``.
        layers: Names of layers; none: those of the backbone's pyramid that the network has.
        units: Units of each layer.
        part: As of `running.open_cases`.
        limit: Likewise.
        pictures: Which cases may be shown; others are not looked at.
        reporter: Progress; quiet where None.

    Returns:
        ``n`` cases looked at, ``n_skipped``, and ``layers``: name, receptive field, and the regions
        of each unit.

    Raises:
        recipes.errors.RecipeError: The run or a layer does not fit, or no case may be shown.
        data_adapters.errors.DataError: Nothing readable was given.
        zoo.ZooError: The receptive field of a layer is not known.
    """
    folder = Path(out)
    check_writable(folder / "features.csv")
    with reporter or Reporter(quiet=True) as live:
        asker = open_asker(task, run)
        wanted = [layer_of(asker.network, name) for name in layers or default_layers(asker)]
        adapter, chosen = open_cases(sources, part=part, limit=limit)
        kept: list[int] = []
        with live.task("looking at cases", len(chosen)) as step:
            found = look(
                asker.network,
                wanted,
                _inputs(asker, adapter, chosen, pictures, kept),
                units=units,
                progress=lambda done: step(done, len(chosen)),
            )
    result = {
        "n": len(kept),
        "n_skipped": len(chosen) - len(kept) + len(adapter.skipped),
        "layers": [_told(layer, adapter, kept) for layer in found],
    }
    _write(folder, asker, adapter, kept, found, result)
    return result


def default_layers(asker: Asker) -> list[str]:
    """Layers of the backbone's pyramid that the network has; else its last feature map."""
    program = asker.network.program
    names = {step.name.split("/")[-1] for step in program.steps}
    taps = () if asker.backbone is None else zoo.get_spec(asker.backbone).taps
    there = [name for _, name in taps if name in names]
    return there or [asker.network.name_of(asker.network.last_maps()[0])]


def _inputs(
    asker: Asker, adapter: Adapter, chosen: Sequence[int], pictures: Pictures, kept: list[int]
) -> Iterator[Floats]:
    """Inputs of the cases that can be read and may be shown; their positions go to ``kept``."""
    hidden, reasons = 0, []
    for i in chosen:
        try:
            case = adapter[i]
            if not may_show(case, pictures):
                hidden += 1
                continue
            image, _, _ = asker.inputs(case)
        except (CaseError, DataError, RecipeError) as error:
            reasons.append(str(error))
            continue
        kept.append(i)
        yield image
    if kept:
        return
    if hidden:
        raise ExplainError(
            f"none of the {hidden} cases may be shown: their files do not say that no text is "
            "burned in; look at them, and give --pictures yes"
        )
    raise ExplainError(f"no case can be looked at, of {len(chosen)}: {reasons[0]}")


def _told(layer: Layer, adapter: Adapter, kept: Sequence[int]) -> dict[str, Any]:
    return {
        "name": layer.name,
        "units": layer.channels,
        "receptive_field": list(layer.sides),
        "stride": [float(axis.stride) for axis in layer.fields],
        "sees_whole_input": layer.whole,
        "regions": [
            {
                "unit": unit,
                "rank": rank,
                "case": adapter.index[kept[region.case]].case_id,
                "value": region.value,
                "place": list(region.place),
                "box": [list(side) for side in region.box],
            }
            for unit, regions in layer.regions.items()
            for rank, region in enumerate(regions, start=1)
        ],
    }


def _write(
    folder: Path,
    asker: Asker,
    adapter: Adapter,
    kept: Sequence[int],
    layers: Sequence[Layer],
    result: dict[str, Any],
) -> None:
    lines = [
        [layer["name"], *(cell(one[key]) for key in COLUMNS[1:])]
        for layer in result["layers"]
        for one in layer["regions"]
    ]
    write_csv(folder / "features.csv", COLUMNS, lines)
    write_json(folder / "features.json", result)
    name, kernels = first_kernels(asker.network)
    _save(folder / "kernels.png", kernel_sheet(kernels))
    shown = [_shown(folder, asker, adapter, kept, layer) for layer in layers]
    page = templates(autoescape=True).get_template("features.html.j2")
    text = page.render(
        banner=INTENDED_USE,
        n=result["n"],
        kernels=picture_uri(folder / "kernels.png"),
        kernel_text=f"{name}: {kernels.shape[-1]} kernels of "
        f"{' x '.join(str(n) for n in kernels.shape[:-2])}",
        layers=shown,
    )
    write_text(folder / "features.html", text)


def _shown(
    folder: Path, asker: Asker, adapter: Adapter, kept: Sequence[int], layer: Layer
) -> dict[str, Any]:
    """A layer on the page; its sheet is written too."""
    strips, rows = [], []
    pictures: dict[int, Pixels] = {}
    for unit, regions in layer.regions.items():
        for region in regions:
            if region.case not in pictures:
                pictures[region.case] = _picture(asker, adapter[kept[region.case]])
        one = strip([pictures[region.case] for region in regions], regions)
        strips.append(one)
        span = f"{regions[0].value:.3g} to {regions[-1].value:.3g}"
        rows.append({"unit": unit, "span": span, "image": _uri(one)})
    if strips:
        _save(folder / f"{safe(layer.name)}.png", stacked(strips))
    return {
        "name": layer.name,
        "units": layer.channels,
        "field": " x ".join(str(n) for n in layer.sides),
        "stride": " x ".join(f"{float(axis.stride):g}" for axis in layer.fields),
        "whole": layer.whole,
        "rows": rows,
    }


def _picture(asker: Asker, case: Case) -> Pixels:
    """The input of a case as ``(*grid, 3)``; of planes of a volume the first three as colours."""
    _, picture, planes = asker.inputs(case)
    grey: Any = grey_of(picture)
    if planes or picture.image.shape[-1] == 3:
        low, high = float(picture.image.min()), float(picture.image.max())
        shown = (picture.image.astype(np.float32) - low) / ((high - low) or 1.0)
    else:
        shown = np.asarray(grey(picture.image))
        shown = np.repeat(shown[..., None], 3, axis=-1)
    return np.asarray(np.clip(shown, 0, 1) * 255 + 0.5, np.uint8)


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _save(path: Path, pixels: Pixels) -> None:
    write_atomic(path, _png(pixels))


def _uri(pixels: Pixels) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode()

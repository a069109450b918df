"""``radzoo detect``: free-response evaluation of any program's candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.cli_common import Json, errors, print_json
from recipes.figures import figure_text

detect = typer.Typer(help="Find focal lesions: score candidates.", no_args_is_help=True)


@detect.callback()
def _group() -> None:
    """Keep the name of the command although there is one alone."""


@detect.command("froc")
def detect_froc(
    truth: Annotated[
        Path,
        typer.Option(
            metavar="T.csv",
            help="Lesions: seriesuid,coordX,coordY,coordZ,diameter_mm.",
            show_default=False,
        ),
    ],
    candidates: Annotated[
        Path,
        typer.Option(
            metavar="C.csv",
            help="Marks: seriesuid,coordX,coordY,coordZ,probability.",
            show_default=False,
        ),
    ],
    excluded: Annotated[
        Path | None,
        typer.Option(metavar="E.csv", help="Findings that count neither way, as the lesions."),
    ] = None,
    scans: Annotated[
        Path | None, typer.Option(metavar="S.csv", help="Ids of the scans, one a line.")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(metavar="P.csv", help="seriesuid,patient: unit of intervals.")
    ] = None,
    max_candidates: Annotated[
        int | None, typer.Option(min=1, help="Candidates of a scan that count, highest first.")
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(help="Hit below this distance in mm.  [default: the lesion's radius]"),
    ] = None,
    n_boot: Annotated[int, typer.Option(min=0, help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the intervals.")] = 0,
    json_: Json = False,
) -> None:
    """Sensitivity against false positives per scan, by the rules of LUNA16, with intervals."""
    with errors():
        from recipes.evaluation.froc import HitRule, score_tables

        result = score_tables(
            truth,
            candidates,
            excluded=excluded,
            scans=scans,
            patients=patients,
            max_candidates=max_candidates,
            rule=None if distance is None else HitRule("distance", distance),
            n_boot=n_boot,
            seed=seed,
        )
        if json_:
            print_json(result)
            return
        typer.echo(
            f"{result['n_lesions']} lesions, {result['n_scans']} scans ({result['n_normal']} "
            f"normal), {result['n_false_positives']} false positives; a hit: {result['rule']}"
        )
        rows = {f"at {rate} a scan": value for rate, value in result["froc"].items()}
        rows |= {"CPM": result["cpm"], "JAFROC": result["jafroc"], "scan-wise ROC": result["roc"]}
        keys = [*result["froc"], "cpm", "jafroc", "roc"]
        for (name, value), key in zip(rows.items(), keys, strict=True):
            low, high = result["intervals"][key]
            typer.echo(f"  {name:16} {figure_text({'value': value, 'low': low, 'high': high})}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")

"""``radzoo classify embed``, ``calibrate`` and ``ensemble``: what looks alike, and how sure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli_common import Json, Pictures, Quiet, Set, errors, print_json
from recipes.figures import figure_text
from recipes.quiet import quiet_backend

Data = Annotated[str, typer.Argument(metavar="DATA", help="Data, as for fit.", show_default=False)]
Run = Annotated[Path, typer.Argument(help="Run folder of a finished fit.", show_default=False)]
Boot = Annotated[int, typer.Option(min=100, help="Bootstrap replicates.")]


def enrol(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("embed")(classify_embed)
    app.command("calibrate")(classify_calibrate)
    app.command("ensemble")(classify_ensemble)


def classify_embed(
    network: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BACKBONE",
            help="Run folder, or a name of `radzoo models` (ImageNet features).",
            show_default=False,
        ),
    ],
    source: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.", show_default=False)],
    weights: Annotated[
        str, typer.Option(metavar="imagenet|NAME|PATH", help="Weights of a backbone.")
    ] = "imagenet",
    pictures: Pictures = None,
    way: Annotated[
        str, typer.Option("--map", metavar="tsne|umap", help="How the map is made.")
    ] = "tsne",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    n_boot: Boot = 1000,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map the cases by what a network sees in them: overlap, neighbours, labels to look at."""
    with errors("embeddings that were written are used again by the same command"):
        quiet_backend()
        from recipes.errors import ConfigError
        from recipes.progress import Reporter
        from recipes.similarity.embedding import embed

        for name, value, known in (
            ("--pictures", pictures, ("auto", "yes", "no", None)),
            ("--map", way, ("tsne", "umap")),
        ):
            if value not in known:
                raise ConfigError(
                    f"unknown {name} {value!r}; known: {', '.join(filter(None, known))}"
                )
        result = embed(
            network,
            source,
            out,
            weights=weights,
            pictures=pictures,  # type: ignore[arg-type]
            way=way,  # type: ignore[arg-type]
            seed=seed,
            n_boot=n_boot,
            reporter=Reporter(quiet=quiet or json_),
        )
        if json_:
            print_json(result)
            return
        typer.echo(f"{result['n']} cases, {result['width']} features each")
        for group in ("unseen", "all"):
            _figures(result[group], f"{group} cases, n = {result[group]['n']}")
        suspects = result["label_errors"].get("n_suspects", 0)
        judged = result["label_errors"]["n_out_of_sample"]
        typer.echo(f"labels to look at: {suspects} of {judged} with out-of-sample probabilities")
        for note in [*result["notes"], result["label_errors"].get("note")]:
            if note:
                typer.echo(f"note: {note}")
        typer.echo(f"page: {out / 'alike.html'}")


def classify_calibrate(
    run: Run,
    source: Data,
    set_: Set = None,
    n_boot: Boot = 1000,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Calibrate a finished run on its validation cases; its report and predict then say it."""
    with errors():
        quiet_backend()
        from recipes.classification.calibrating import calibrate
        from recipes.progress import Reporter

        result = calibrate(
            run, source, set_ or [], n_boot=n_boot, reporter=Reporter(quiet=quiet or json_)
        )
        if json_:
            print_json(result)
            return
        for part, heading in (("validation", "validation part by folds"), ("test", "test part")):
            if result[part] is not None:
                _sureness(result[part], heading)
        for note in result["notes"]:
            typer.echo(f"note: {note}")


def classify_ensemble(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)
    ],
    data: Annotated[str, typer.Option(metavar="DATA", help="Labelled data.", show_default=False)],
    part: Annotated[
        str | None, typer.Option(help="train, val or test.  [default: test, else every case]")
    ] = None,
    mc_dropout: Annotated[
        int,
        typer.Option(min=0, max=1000, help="Passes of one run with its head's dropout left on."),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|FILE.csv",
            help="Run folder for the ensemble as one model, or a CSV file of the cases.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of passes and bootstrap.")] = 0,
    n_boot: Boot = 1000,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score several runs as one, say how far they disagree, and store them as one model."""
    with errors():
        quiet_backend()
        from recipes.classification.ensembling import ensemble
        from recipes.progress import Reporter

        result = ensemble(
            runs,
            data,
            part=part,
            mc_dropout=mc_dropout,
            out=out,
            n_boot=n_boot,
            seed=seed,
            reporter=Reporter(quiet=quiet or json_),
        )
        if json_:
            print_json(result)
            return
        heading = f"{result['method']} of {result['n_members']}, {result['part']} part"
        _figures(result["ensemble"], f"{heading}, n = {result['n']}")
        for number, figures in enumerate(result["members"], 1):
            _figures(figures, f"run {number}")
        for number, figures in enumerate(result["difference"], 1):
            _figures(figures, f"ensemble minus run {number}")
        _figures({k: result[k] for k in ("disagreement", "entropy")}, "in nats")
        if result["stored"] and out is not None:
            typer.echo(f"stored as a run: {out}; report: {out / 'report.html'}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")


def _sureness(figures: dict[str, Any], heading: str) -> None:
    typer.echo(f"{heading}, n = {figures['n']}")
    if figures["temperature"] is not None:
        typer.echo(f"  {'temperature':26} {figures['temperature']:.3f}")
    _sides(figures["calibration"])
    if "labels" not in figures:
        _figures(figures["prediction_sets"], "prediction sets")
    for name, row in figures.get("labels", {}).items():
        _figures(row, f"{name}, known of {row['n']}, with it {row['n_present']}")
        typer.echo(f"  {'temperature':26} {row['temperature']:.3f}")
        _sides(row.get("calibration", {}))
    _figures(figures["outside"], "foreign cases")


def _sides(calibration: dict[str, Any]) -> None:
    for name, sides in calibration.items():
        for when, figure in sides.items():
            typer.echo(f"  {name + ' ' + when:26} {figure_text(figure)}")


def _figures(figures: dict[str, Any], heading: str) -> None:
    typer.echo(heading)
    for name, figure in figures.items():
        if isinstance(figure, dict) and "low" in figure:
            typer.echo(f"  {name:26} {figure_text(figure)}")

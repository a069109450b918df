"""``radzoo classify``: fit, evaluate, predict; more in the modules that are enrolled below."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli_alike import enrol
from recipes.cli_common import Json, Pictures, Quiet, Set, errors, print_json, whole
from recipes.cli_explain import add_commands
from recipes.figures import figure_text
from recipes.learning.command import add_learning_curve
from recipes.quiet import quiet_backend
from recipes.search.command import add_search

classify = typer.Typer(help="Classify images: fit, evaluate, predict.", no_args_is_help=True)
enrol(classify)

Config = Annotated[Path | None, typer.Option(help="YAML file with any of the run's keys.")]
Run = Annotated[Path, typer.Argument(help="Run folder of a finished fit.", show_default=False)]


@classify.command("fit")
def classify_fit(
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder, table or npz.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder.", show_default=False)],
    backbone: Annotated[
        str | None, typer.Option(help="A name of `radzoo models`.  [default: efficientnet_lite0]")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="imagenet|none|NAME|PATH", help="Where training starts.")
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Further cases to learn from without their labels (semi.method says how).",
        ),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Positive class of a two-class task.")
    ] = None,
    leakage: Annotated[
        str | None, typer.Option(metavar="stop|drop|strict|allow", help="What a leak does.")
    ] = None,
    pictures: Pictures = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="float32|float16|bfloat16|auto", help="Arithmetic in training."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="cpu|gpu|N|auto", help="Where it trains.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    set_: Set = None,
    config: Config = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a classifier, evaluate it, write a report. Give it again to resume."""
    with errors("nothing finished is lost: the same command resumes"):
        quiet_backend()
        from recipes.classification.config import ClassificationConfig
        from recipes.config import load_config, shortcuts

        settings = load_config(
            ClassificationConfig,
            file=config,
            changes=[
                *(set_ or []),
                *shortcuts(
                    {
                        "model.backbone": backbone,
                        "model.weights": weights,
                        "data.positive": positive,
                        "data.leakage": leakage,
                        "report.pictures": pictures,
                        "train.precision": precision,
                        "train.devices": whole(devices),
                        "seed": seed,
                    }
                ),
            ],
        )
        from recipes.classification.fitting import fit
        from recipes.progress import Reporter

        summary = fit(
            source,
            out,
            settings,
            unlabelled=unlabelled,
            reporter=Reporter(quiet=quiet or json_),
        )
        if json_:
            print_json(summary)
        else:
            _print_figures(summary["metrics"], f"{summary['part']} part, n = {summary['n']}")
            typer.echo(f"report: {out / 'report.html'}")


@classify.command("evaluate")
def classify_evaluate(
    run: Run,
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="Labelled data.", show_default=False)
    ],
    part: Annotated[
        str | None, typer.Option(help="train, val or test.  [default: test, else every case]")
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Keep cases that were in training.")
    ] = False,
    prevalence: Annotated[
        float | None, typer.Option(min=0, max=1, help="For a second PPV and NPV.")
    ] = None,
    n_boot: Annotated[int, typer.Option(min=100, help="Bootstrap replicates.")] = 1000,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN[:WIDTH]", help="Score groups apart: sex, site, age:10."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Readers' scores or calls of the same cases."),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished model on labelled data; every figure with its 95% interval."""
    with errors():
        quiet_backend()
        from recipes.classification.evaluating import evaluate
        from recipes.progress import Reporter

        result = evaluate(
            run,
            source,
            part=part,
            include_seen=include_seen,
            prevalence=prevalence,
            n_boot=n_boot,
            by=by or [],
            compare=compare,
            reporter=Reporter(quiet=quiet or json_),
        )
        if json_:
            print_json(result)
            return
        seen = f", {result['n_seen']} seen in training left out" if result["n_seen"] else ""
        _print_figures(result, f"{result['part']} part, n = {result['n']}{seen}")
        _print_groups(result)
        for note in result["notes"]:
            typer.echo(f"note: {note}")


add_search(classify, "classification")
add_learning_curve(classify)


@classify.command("baselines")
def classify_baselines(
    run: Run,
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="The data of the run.", show_default=False)
    ],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit plain classifiers on the run's parts and compare the network with them, case by case."""
    with errors():
        quiet_backend()
        from recipes.baselines.beside import baselines
        from recipes.progress import Reporter

        result = baselines(run, source, reporter=Reporter(quiet=quiet or json_))
        if json_:
            print_json(result)
            return
        _print_figures(result["network"], f"network, {result['part']} part, n = {result['n']}")
        for row in result["rows"]:
            _print_figures(row["figures"], f"{row['model']} on {row['features']}")
            gap = figure_text(row["difference"]["auc"])
            typer.echo(f"  {'network minus it: auc':26} {gap}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")


@classify.command("predict")
def classify_predict(
    run: Run,
    sources: Annotated[list[Path], typer.Argument(metavar="FILES_OR_FOLDER", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write.", show_default=False)],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the class probabilities of pictures to a CSV file."""
    with errors():
        quiet_backend()
        from recipes.classification.predicting import predict
        from recipes.progress import Reporter

        rows = predict(run, sources, out, reporter=Reporter(quiet=quiet or json_))
        bad = sum(row["status"] != "ok" for row in rows)
        if json_:
            print_json({"n": len(rows) - bad, "n_skipped": bad, "predictions": rows})
        else:
            typer.echo(f"{len(rows) - bad} predicted, {bad} skipped: {out}")


@classify.command("suggest")
def classify_suggest(
    run: Run,
    source: Annotated[
        str, typer.Argument(metavar="UNLABELLED", help="Cases to choose from.", show_default=False)
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Cases to choose.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file; a page goes beside it.", show_default=False)],
    strategy: Annotated[
        str,
        typer.Option(metavar="badge|entropy|margin|mc|mixed|kcenter|random", help="How to choose."),
    ] = "badge",
    labelled: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="The run's labelled data, to keep away from them."),
    ] = None,
    several: Annotated[
        bool, typer.Option("--several-per-patient", help="Let a patient be chosen again.")
    ] = False,
    outside: Annotated[
        bool,
        typer.Option(
            "--include-outside",
            help="Choose among cases of another kind than the training cases (ood_flag) too.",
        ),
    ] = False,
    pictures: Annotated[
        str | None, typer.Option(metavar="auto|yes|no", help="Cases in the page; as in the run.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of mc, badge and random.")] = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the cases whose labels should help the model most."""
    with errors():
        quiet_backend()
        from recipes.config import ReportConfig, build_config
        from recipes.fewlabels.suggesting import suggest
        from recipes.progress import Reporter

        wish = None
        if pictures is not None:
            wish = build_config(ReportConfig, {"pictures": pictures}).pictures
        result = suggest(
            run,
            source,
            out,
            n=n,
            strategy=strategy,
            labelled_source=labelled,
            one_per_patient=not several,
            include_outside=outside,
            pictures=wish,
            seed=seed,
            reporter=Reporter(quiet=quiet or json_),
        )
        if json_:
            print_json(result)
        else:
            typer.echo(f"{result['n']} of {result['n_offered']} cases chosen: {out}")
            for note in result["notes"]:
                typer.echo(f"note: {note}")
            typer.echo(f"page: {out.with_suffix('.html')}")


def _print_figures(figures: dict[str, Any], heading: str) -> None:
    typer.echo(heading)
    for name, figure in figures.items():
        if not isinstance(figure, dict) or "low" not in figure:
            continue
        typer.echo(f"  {name:26} {figure_text(figure)}")


def _print_groups(result: dict[str, Any]) -> None:
    """Print subgroups and readers, where they were asked for."""
    for text, rows in result.get("subgroups", {}).items():
        typer.echo(f"by {text}")
        for row in rows:
            positive = "" if row["n_positive"] is None else f", {row['n_positive']} positive"
            heading = f" {row['group']}: n = {row['n']}{positive}"
            if "refused" in row:
                typer.echo(f"{heading}: {row['refused']}")
            else:
                _print_figures(row["figures"], heading)
    for row in result.get("readers", []):
        _print_figures(row["reader_figures"], f"{row['reader']} ({row['kind']})")
        _print_figures(row["network_figures"], " network on the same cases")
        _print_figures(row["difference"], " network minus reader")


add_commands(classify, "classification")

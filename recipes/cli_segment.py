"""``radzoo segment``: plan, fit, evaluate, predict, metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli_common import Json, Pictures, Quiet, Set, errors, print_json, print_skipped, whole
from recipes.cli_explain import add_commands
from recipes.errors import ConfigError
from recipes.figures import figure_text
from recipes.quiet import quiet_backend
from recipes.search.command import add_search

segment = typer.Typer(
    help="Segment pictures and volumes: plan, fit, evaluate, predict.", no_args_is_help=True
)

Source = Annotated[str, typer.Argument(metavar="DATA", help="Data with masks.", show_default=False)]
Config = Annotated[Path | None, typer.Option(help="YAML file with any of the run's keys.")]
Run = Annotated[Path, typer.Argument(help="Run folder of a finished fit.", show_default=False)]
Fold = Annotated[
    int | None, typer.Option(min=0, help="Fold that validates (splits.json, or one of 5).")
]
Splits = Annotated[Path | None, typer.Option(help="A splits.csv with the parts.")]
Budget = Annotated[float | None, typer.Option(help="Time that training may take.  [default: 30]")]
Memory = Annotated[float | None, typer.Option(help="Memory of a training step.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]


@segment.command("plan")
def segment_plan(
    source: Source,
    out: Annotated[Path | None, typer.Option(help="YAML file to write, to edit.")] = None,
    fold: Fold = None,
    splits: Splits = None,
    budget_minutes: Budget = None,
    memory_gb: Memory = None,
    seed: Seed = None,
    set_: Set = None,
    config: Config = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at the data and print the plan of a run, each decision with its reason."""
    with errors():
        quiet_backend()
        settings = _settings(
            config, set_, fold=fold, splits=splits, budget=budget_minutes, memory=memory_gb,
            seed=seed,
        )  # fmt: skip
        from recipes.progress import Reporter
        from recipes.segmentation.plan import plan_text, write_plan
        from recipes.segmentation.planning import planned

        first = None
        if out is not None and settings.cascade.kind != "none":
            raise ConfigError(
                "--out writes the plan of one network, and cascade.kind asks for two; leave one out"
            )
        with Reporter(quiet=quiet or json_) as live:
            if settings.cascade.kind != "none":
                first, _ = planned(source, settings, live, first=True)
            plan, found = planned(source, settings, live)
        if out is not None:
            write_plan(plan, out)
        if json_:
            stages = {} if first is None else {"first": first.model_dump(mode="json")}
            content = {"plan": plan.model_dump(mode="json"), "fingerprint": found.to_dict()}
            print_json(content | stages)
            return
        if first is not None:
            typer.echo("# first stage\n" + plan_text(first))
            for reason in first.reasons:
                typer.echo(f"- {reason}")
            typer.echo("\n# second stage")
        typer.echo(plan_text(plan))
        for reason in plan.reasons:
            typer.echo(f"- {reason}")
        if out is not None:
            typer.echo(f"plan: {out}; use it with --set plan.file={out}")


@segment.command("fit")
def segment_fit(
    source: Source,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder.", show_default=False)],
    fold: Fold = None,
    splits: Splits = None,
    budget_minutes: Budget = None,
    memory_gb: Memory = None,
    backbone: Annotated[
        str | None, typer.Option(help="Pretrained encoder, a name of `radzoo models`.")
    ] = None,
    pictures: Pictures = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="float32|float16|bfloat16|auto", help="Arithmetic in training."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="cpu|gpu|N|auto", help="Where it trains.")
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    config: Config = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan, train, evaluate, write a report. Give it again to resume."""
    with errors("nothing finished is lost: the same command resumes"):
        quiet_backend()
        settings = _settings(
            config,
            set_,
            fold=fold,
            splits=splits,
            budget=budget_minutes,
            memory=memory_gb,
            seed=seed,
            more={
                "model.backbone": backbone,
                "model.network": None if backbone is None else "backbone",
                "report.pictures": pictures,
                "train.precision": precision,
                "train.devices": whole(devices),
            },
        )
        from recipes.progress import Reporter
        from recipes.segmentation.fitting import fit

        result = fit(source, out, settings, reporter=Reporter(quiet=quiet or json_))
        if json_:
            print_json(result)
            return
        print_figures(result["metrics"], f"{result['part']} part, n = {result['n']}")
        typer.echo(f"report: {out / 'report.html'}")


@segment.command("evaluate")
def segment_evaluate(
    run: Run,
    source: Source,
    part: Annotated[
        str | None, typer.Option(help="train, val or test of the run.  [default: every case]")
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Keep cases that were in training.")
    ] = False,
    n_boot: Annotated[int, typer.Option(min=100, help="Bootstrap replicates.")] = 1000,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a finished model on data with masks; every mean with its 95% interval."""
    with errors():
        quiet_backend()
        from recipes.progress import Reporter
        from recipes.segmentation.evaluating import evaluate

        result = evaluate(
            run,
            source,
            part=part,
            include_seen=include_seen,
            n_boot=n_boot,
            reporter=Reporter(quiet=quiet or json_),
        )
        if json_:
            print_json(result)
            return
        seen = f", {result['n_seen']} seen in training left out" if result["n_seen"] else ""
        print_figures(result, f"{result['part']}, n = {result['n']}{seen}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")


add_search(segment, "segmentation")


@segment.command("predict")
def segment_predict(
    run: Run,
    sources: Annotated[list[Path], typer.Argument(metavar="FILES_OR_FOLDER", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the masks.", show_default=False)],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probabilities too.")
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", metavar="auto|nii.gz|nrrd|png", help="Kind of file.")
    ] = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write masks on the original grid with the original geometry."""
    with errors("masks that were written are whole and stay"):
        quiet_backend()
        from recipes.progress import Reporter
        from recipes.segmentation.predicting import predict

        rows = predict(
            run,
            sources,
            out,
            probabilities=probabilities,
            format_=format_,
            reporter=Reporter(quiet=quiet or json_),
        )
        bad = sum(row["status"] != "ok" for row in rows)
        if json_:
            print_json({"n": len(rows) - bad, "n_skipped": bad, "predictions": rows})
        else:
            typer.echo(f"{len(rows) - bad} predicted, {bad} skipped: {out}")
            print_skipped(rows)


@segment.command("metrics")
def segment_metrics(
    truth: Annotated[Path, typer.Option(help="Folder of true masks, or one.", show_default=False)],
    prediction: Annotated[
        Path, typer.Option(help="Folder of predicted masks of the same names.", show_default=False)
    ],
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the values: background,liver or 0=background,4=tumour."),
    ] = None,
    binary: Annotated[
        bool, typer.Option("--binary", help="Every value but 0 is one class.")
    ] = False,
    ignore: Annotated[int | None, typer.Option(help="Value of unknown truth, such as 255.")] = None,
    patients: Annotated[
        Path | None, typer.Option(help="Table of case and patient: the unit of intervals.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Of the normalised surface Dice, mm.")
    ] = 1.0,
    definition: Annotated[
        str, typer.Option(metavar="monai|deepmind", help="Of surface distances.")
    ] = "monai",
    membranes: Annotated[
        bool, typer.Option("--membranes", help="ISBI 2012 scores too: classes are cells.")
    ] = False,
    n_boot: Annotated[int, typer.Option(min=100, help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    json_: Json = False,
) -> None:
    """Score masks made by any program: Dice, distances, volumes, lesions, with intervals."""
    with errors():
        from recipes.evaluation.masks import ScoreOptions, score_folders

        result = score_folders(
            truth,
            prediction,
            class_names=classes,
            binary=binary,
            ignore=ignore,
            patients=patients,
            options=ScoreOptions(definition=definition, tolerance=tolerance, membranes=membranes),
            n_boot=n_boot,
            seed=seed,
        )
        if json_:
            print_json(result)
            return
        print_figures(result, f"n = {result['n']}, {len(result['skipped'])} skipped")
        for skip in result["skipped"]:
            typer.echo(f"skipped: {skip['case']}: {skip['message']}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")


def _settings(
    config: Path | None,
    changes: list[str] | None,
    *,
    fold: int | None,
    splits: Path | None,
    budget: float | None,
    memory: float | None,
    seed: int | None,
    more: dict[str, Any] | None = None,
) -> Any:
    from recipes.config import load_config, shortcuts
    from recipes.segmentation.config import SegmentationConfig

    given = {
        "data.fold": fold,
        "data.splits": None if splits is None else str(splits),
        "plan.budget_minutes": budget,
        "plan.memory_gb": memory,
        "seed": seed,
    }
    words = [*(changes or []), *shortcuts(given | (more or {}))]
    return load_config(SegmentationConfig, file=config, changes=words)


def print_figures(result: dict[str, Any], heading: str) -> None:
    """Print the means of a segmentation result, class by class."""
    typer.echo(heading)
    for name, classes in result.items():
        if not isinstance(classes, dict):
            continue
        for label, figure in classes.items():
            if isinstance(figure, dict) and "low" in figure:
                typer.echo(f"  {name:12} {label:20} {figure_text(figure)}")


add_commands(segment, "segmentation")

"""``radzoo detect``: fit, evaluate, predict, froc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli_common import Json, Pictures, Quiet, Set, errors, print_json, print_skipped, whole
from recipes.cli_explain import add_commands
from recipes.figures import figure_text
from recipes.quiet import quiet_backend
from recipes.search.command import add_search

detect = typer.Typer(help="Find focal lesions: fit, evaluate, predict, froc.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="Run folder of a finished fit.", show_default=False)]
Source = Annotated[
    str, typer.Argument(metavar="DATA", help="Data with lesions.", show_default=False)
]


@detect.command("fit")
def detect_fit(
    source: Source,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder.", show_default=False)],
    fold: Annotated[int | None, typer.Option(min=0, help="Fold that validates.")] = None,
    splits: Annotated[Path | None, typer.Option(help="A splits.csv with the parts.")] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(help="Time that training may take.  [default: 30]")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Pretrained encoder, a name of `radzoo models`.")
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(metavar="none|auto|2d|2.5d|3d", help="Look again at each candidate."),
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
    config: Annotated[Path | None, typer.Option(help="YAML file with any of the keys.")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train, find candidates, evaluate. Give it again to resume."""
    with errors("nothing finished is lost: the same command resumes"):
        quiet_backend()
        from recipes.config import load_config, shortcuts
        from recipes.detection.config import DetectionConfig
        from recipes.detection.fitting import fit
        from recipes.progress import Reporter

        given = {
            "data.fold": fold,
            "data.splits": None if splits is None else str(splits),
            "plan.budget_minutes": budget_minutes,
            "model.backbone": backbone,
            "model.network": None if backbone is None else "backbone",
            "second.patches": second,
            "report.pictures": pictures,
            "train.precision": precision,
            "train.devices": whole(devices),
            "seed": seed,
        }
        words = [*(set_ or []), *shortcuts(given)]
        settings = load_config(DetectionConfig, file=config, changes=words)
        result = fit(source, out, settings, reporter=Reporter(quiet=quiet or json_))
        if json_:
            print_json(result)
            return
        print_detections(result["metrics"], f"{result['part']} part")
        for note in result["notes"]:
            typer.echo(f"note: {note}")
        typer.echo(f"report: {out / 'report.html'}")


@detect.command("evaluate")
def detect_evaluate(
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
    """Score a finished detector on data with lesions; every figure with its 95% interval."""
    with errors():
        quiet_backend()
        from recipes.detection.evaluating import evaluate
        from recipes.progress import Reporter

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
        print_detections(result, f"{result['part']}{seen}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")


add_search(detect, "detection")


@detect.command("predict")
def detect_predict(
    run: Run,
    sources: Annotated[list[Path], typer.Argument(metavar="FILES_OR_FOLDER", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the candidates.", show_default=False)],
    every: Annotated[
        bool, typer.Option("--every", help="Candidates below the operating point too.")
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="A page with every case and its candidates drawn.")
    ] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write candidates: boxes on the original grid, of volumes in LPS mm too."""
    with errors():
        quiet_backend()
        from recipes.detection.predicting import predict
        from recipes.progress import Reporter

        rows = predict(
            run,
            sources,
            out,
            every=every,
            pictures=pictures,
            reporter=Reporter(quiet=quiet or json_),
        )
        bad = sum(row["status"] != "ok" for row in rows)
        if json_:
            print_json({"n": len(rows) - bad, "n_skipped": bad, "predictions": rows})
            return
        count = sum(row.get("candidates", 0) for row in rows)
        typer.echo(f"{count} candidates in {len(rows) - bad} cases, {bad} skipped: {out}")
        print_skipped(rows)


def print_detections(result: dict[str, Any], heading: str) -> None:
    """Print the figures of a detection result, class by class where there are several."""
    typer.echo(
        f"{heading}: n = {result['n']} ({result['n_normal']} without lesions), "
        f"{result['n_lesions']} lesions; a hit: {result['rule']}; false positives per "
        f"{result['per']}"
    )
    blocks = {"": result} if len(result["classes"]) == 1 else {"all": result, **result["classes"]}
    for name, block in blocks.items():
        if name:
            typer.echo(name)
        rows = {f"at {rate}": figure for rate, figure in block["froc"].items()}
        rows |= {key.upper(): block[key] for key in ("cpm", "ap10", "ap50")}
        rows |= {
            key.replace("_", " "): figure
            for key, figure in block.get("operating", {}).items()
            if isinstance(figure, dict)
        }
        for key, figure in rows.items():
            typer.echo(f"  {key:16} {figure_text(figure)}")


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


add_commands(detect, "detection")

"""``explain`` and ``features``: the same two commands under every recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli_common import Json, Quiet, errors, print_json, print_skipped
from recipes.figures import figure_text
from recipes.quiet import quiet_backend

Run = Annotated[Path, typer.Argument(help="Run folder of a finished fit.", show_default=False)]
Cases = Annotated[
    list[str],
    typer.Argument(
        metavar="CASES",
        help="Files or folders; or one data set, whose boxes or masks are used.",
        show_default=False,
    ),
]
ShowCases = Annotated[
    str | None,
    typer.Option(
        metavar="auto|yes|no",
        help="Draw cases: yes confirms that no text is burned in.  [default: as the run]",
    ),
]
Part = Annotated[str | None, typer.Option(help="Part of a data set: train, val or test.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Cases at most, the first ones.")]


def add_commands(app: typer.Typer, task: str) -> None:
    """Give a recipe's group of commands those of this module.

    Args:
        app: The group.
        task: The recipe's task.
    """

    @app.command("explain")
    def explain_(
        run: Run,
        cases: Cases,
        out: Annotated[Path, typer.Option(help="Folder for pictures.", show_default=False)],
        method: Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME",
                help="gradcam, gradcam++, gradient, integrated, smoothgrad, guided, deconvolution "
                "or occlusion; may be given again.  [default: gradcam]",
            ),
        ] = None,
        class_: Annotated[
            str | None,
            typer.Option("--class", help="Class to explain.  [default: what is predicted]"),
        ] = None,
        truth_class: Annotated[
            str | None, typer.Option(help="The data's name of that class, where it differs.")
        ] = None,
        layer: Annotated[
            str | None,
            typer.Option(help="Layer of Grad-CAM.  [default: the last map before the output]"),
        ] = None,
        cover: Annotated[
            int | None, typer.Option(min=1, help="Side of the covers of occlusion, pixels.")
        ] = None,
        candidates: Annotated[
            int, typer.Option(min=1, help="Of detection: candidates of a case.")
        ] = 1,
        part: Part = None,
        limit: Limit = None,
        pictures: ShowCases = None,
        n_boot: Annotated[int, typer.Option(min=100, help="Bootstrap replicates.")] = 1000,
        seed: Annotated[int, typer.Option(min=0, help="Of the noise of SmoothGrad.")] = 0,
        json_: Json = False,
        quiet: Quiet = False,
    ) -> None:
        """Show on cases what an answer depends on. Give it again to resume."""
        with errors("cases that were finished stay: the same command goes on"):
            quiet_backend()
            from recipes.explaining.methods import Options
            from recipes.explaining.running import explain
            from recipes.explaining.settings import pictures_of
            from recipes.explaining.wanted import Wanted
            from recipes.progress import Reporter

            wanted = Wanted(
                methods=tuple(method or ("gradcam",)),
                label=class_,
                truth=truth_class,
                most=candidates,
                options=Options(layer=layer, seed=seed, cover=cover),
                pictures=pictures_of(run, task, pictures),
            )
            result = explain(
                task,
                run,
                cases,
                out,
                wanted,
                part=part,
                limit=limit,
                n_boot=n_boot,
                reporter=Reporter(quiet=quiet or json_),
            )
            if json_:
                print_json(result)
                return
            _print(result)
            typer.echo(f"page: {out / 'explained.html'}")

    @app.command("features")
    def features_(
        run: Run,
        cases: Cases,
        out: Annotated[Path, typer.Option(help="Folder for pictures.", show_default=False)],
        layer: Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME",
                help="May be given again.  [default: the backbone's pyramid, else the last map]",
            ),
        ] = None,
        units: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = 8,
        part: Part = None,
        limit: Limit = None,
        pictures: ShowCases = None,
        json_: Json = False,
        quiet: Quiet = False,
    ) -> None:
        """Show what units of the network look for: regions of cases, and the first kernels."""
        with errors():
            quiet_backend()
            from recipes.explaining.learned import features
            from recipes.explaining.settings import pictures_of
            from recipes.progress import Reporter

            result = features(
                task,
                run,
                cases,
                out,
                layers=layer or (),
                units=units,
                part=part,
                limit=limit,
                pictures=pictures_of(run, task, pictures),
                reporter=Reporter(quiet=quiet or json_),
            )
            if json_:
                print_json(result)
                return
            typer.echo(f"{result['n']} cases, {result['n_skipped']} skipped")
            for one in result["layers"]:
                sides = " x ".join(str(n) for n in one["receptive_field"])
                typer.echo(f"  {one['name']:32} {one['units']} units that see {sides}")
            typer.echo(f"page: {out / 'features.html'}")


def _print(result: dict[str, Any]) -> None:
    typer.echo(f"{result['n']} cases explained, {result['n_skipped']} skipped")
    for name, measures in result["figures"].items():
        for measure, figure in measures.items():
            typer.echo(f"  {name:20} {measure:10} {figure_text(figure)}")
    for note in result["notes"]:
        typer.echo(f"note: {note}")
    print_skipped(result["rows"])

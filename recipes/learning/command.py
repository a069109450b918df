"""The command ``radzoo classify learning-curve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.cli_common import Json, Quiet, Set, errors, print_json
from recipes.errors import ConfigError
from recipes.figures import figure_text
from recipes.quiet import quiet_backend

Source = Annotated[
    str, typer.Argument(metavar="DATA", help="Labelled data, as for fit.", show_default=False)
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the curve.", show_default=False)]
Sizes = Annotated[
    str, typer.Option(metavar="N,N,...", help="Training patients.", show_default=False)
]
Repeats = Annotated[int, typer.Option(min=1, help="Draws of patients at each size.")]
Weights = Annotated[
    str, typer.Option(metavar="NAME,NAME,...", help="Where training starts: imagenet, none, ...")
]
Metric = Annotated[
    str, typer.Option(metavar="auc|average_precision|accuracy|balanced_accuracy", help="Figure.")
]
Ahead = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="Extrapolate to.  [default: 2 and 4 times the largest]"),
]
Config = Annotated[Path | None, typer.Option(help="YAML file with any of the fits' keys.")]


def add_learning_curve(app: typer.Typer) -> None:
    """Give a group of commands ``learning-curve``."""

    @app.command("learning-curve")
    def command(
        source: Source,
        out: Out,
        sizes: Sizes,
        repeats: Repeats = 3,
        weights: Weights = "imagenet,none",
        metric: Metric = "auc",
        ahead: Ahead = None,
        set_: Set = None,
        config: Config = None,
        json_: Json = False,
        quiet: Quiet = False,
    ) -> None:
        """Fit on more and more patients: how much data helps, and how much pretraining. Resumes."""
        with errors("no finished fit is lost: the same command resumes"):
            quiet_backend()
            from recipes.classification.config import ClassificationConfig
            from recipes.config import load_config
            from recipes.learning.curve import CurvePlan, learning_curve
            from recipes.progress import Reporter

            plan = CurvePlan(
                config=load_config(ClassificationConfig, file=config, changes=set_ or []),
                sizes=numbers(sizes, "--sizes"),
                repeats=repeats,
                weights=tuple(name.strip() for name in weights.split(",") if name.strip()),
                metric=metric,
                ahead=None if ahead is None else numbers(ahead, "--ahead"),
            )
            result = learning_curve(source, out, plan, reporter=Reporter(quiet=quiet or json_))
            if json_:
                print_json(result)
                return
            typer.echo(f"{metric}, {result['part']} part, n = {result['n']}")
            for row in result["rows"]:
                gap = row["difference"]
                more = "" if gap is None else f"   minus {result['weights'][0]}: {figure_text(gap)}"
                name = f"{row['weights']}, {row['patients']} patients"
                typer.echo(f"  {name:32} {figure_text(row['figure'])}{more}")
            for note in result["notes"]:
                typer.echo(f"note: {note}")
            typer.echo(f"page: {out / 'learning.html'}")


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers with commas between them.

    Raises:
        ConfigError: It is something else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{option} wants whole numbers with commas, such as 25,50,100: {text!r}")
    return tuple(int(part) for part in parts)

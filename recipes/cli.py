"""The ``radzoo`` command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from recipes.cli_classify import classify_suggest
from recipes.cli_common import Json, errors
from recipes.cli_data import data
from recipes.cli_pretrain import pretrain_command
from recipes.cli_weights import weights as weights_commands
from recipes.intended_use import INTENDED_USE
from recipes.learning.command import add_learning_curve
from recipes.registry import RECIPES

app = typer.Typer(
    name="radzoo",
    help=f"Pretrained Keras models and transfer-learning recipes for radiology. {INTENDED_USE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for recipe in RECIPES:
    app.add_typer(recipe.commands(), name=recipe.command)
app.add_typer(data, name="data")
app.add_typer(weights_commands, name="weights")
app.command("pretrain")(pretrain_command)
app.command("suggest")(classify_suggest)  # of classification alone, so its name may do
add_learning_curve(app)


@app.command("models")
def models(
    offline: Annotated[
        bool, typer.Option("--offline", help="Only those that need no download.")
    ] = False,
    json_: Json = False,
) -> None:
    """List the backbones: parameters, input, weights, and whether they work offline."""
    with errors():
        from zoo.listing import backbone_table

        rows = [row for row in backbone_table() if row["offline"] or not offline]
        if json_:
            typer.echo(json.dumps(rows, indent=2))
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("name", "parameters", "input", "weights", "offline"):
            table.add_column(name, justify="right" if name in ("parameters", "input") else "left")
        for row in rows:
            table.add_row(
                row["name"],
                f"{row['params'] / 1e6:.1f} M",
                f"{row['input_size']} (>= {row['min_size']})",
                ", ".join(row["weights"]),
                "yes" if row["offline"] else "no",
            )
        Console(soft_wrap=True).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; exits with 0, 2 (a named error) or 130 (Ctrl-C)."""
    app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="radzoo")


if __name__ == "__main__":
    main()

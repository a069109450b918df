"""What the commands share: common options, errors as one line, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from data_adapters.errors import DataError
from recipes.errors import RecipeError
from zoo.errors import ZooError

INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. train.batch_size=16."),
]
Pictures = Annotated[
    str | None,
    typer.Option(
        metavar="auto|yes|no",
        help="Cases in the report: yes confirms that no text is burned into them.",
    ),
]


@contextmanager
def errors(lost: str = "nothing was written") -> Iterator[None]:
    """Turn what goes wrong on purpose into one line and an exit code.

    Args:
        lost: What Ctrl-C leaves behind.
    """
    try:
        yield
    except (RecipeError, DataError, ZooError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; " + lost, err=True)
        raise typer.Exit(INTERRUPTED) from None


def print_json(content: Any) -> None:
    """Print one JSON object; NaN is refused."""
    typer.echo(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False))


def whole(text: str | None) -> str | int | None:
    """A number as one, words as they are."""
    return int(text) if text is not None and text.isdecimal() else text


def print_skipped(rows: Sequence[Mapping[str, Any]]) -> None:
    """Say of each case that was skipped why."""
    for row in rows:
        if row["status"] != "ok":
            typer.echo(f"skipped: {row['file']}: {row.get('message', row['status'])}")

"""The commands under ``radzoo data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.cli_common import Json, Quiet, Set, errors, print_json
from recipes.errors import ConfigError

data = typer.Typer(help="Look at data before training.", no_args_is_help=True)


@data.command("split")
def data_split(
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder, table or npz.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="CSV file to write.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, val and test.")
    ] = (0.7, 0.15, 0.15),
    by: Annotated[
        str,
        typer.Option(
            metavar="patient|site|date",
            help="site: whole sites in one part; date: later patients are tested.",
        ),
    ] = "patient",
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="K|sites", help="Folds of a cross-validation; the parts are its first round."
        ),
    ] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Split by patient, stratified by class, and write splits.csv; no pixels are read."""
    with errors():
        from recipes.splitting import split

        changes = [f"seed={seed}", f"data.fractions={list(fractions)}", f"data.split_by={by}"]
        changes += [f"data.folds={folds}"] if folds is not None else []
        changes += set_ or []
        result = split(source, out, changes)
        if json_:
            print_json(result)
            return
        for part, counts in result["counts"].items():
            typer.echo(f"{part:5} " + ", ".join(f"{name} {n}" for name, n in counts.items()))
        if result["folds"]:
            typer.echo("folds of " + ", ".join(map(str, result["folds"])) + " cases")
        how = result["unit"] if result["by"] == "patient" else result["by"]
        typer.echo(f"split by {how}: {out}")
        if result["n_skipped"]:
            reasons = ", ".join(f"{kind} {n}" for kind, n in result["skipped"].items())
            typer.echo(f"{result['n_skipped']} skipped: {reasons}")
        for note in result["notes"]:
            typer.echo(f"note: {note}")


@data.command("lint")
def data_lint(
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="Folder, table, npz, ...", show_default=False)
    ],
    policy: Annotated[
        str,
        typer.Option(
            metavar="strict|repair|report",
            help="strict: warnings count as errors; repair: say what is put right on reading.",
        ),
    ] = "report",
    format_: Annotated[
        str | None, typer.Option("--format", help="Name of the adapter.  [default: by looking]")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Show the files' own names (may identify patients).")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Option of the adapter: patient=folder."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was found as a page, too.")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is wrong with a delivery before anyone trains on it. Exits with 1 on errors."""
    with errors():
        from recipes.linting import run_lint, show
        from recipes.progress import Reporter

        report = run_lint(
            source,
            policy=policy,
            format_=format_,
            changes=set_ or [],
            reporter=Reporter(quiet=quiet or json_),
        )
        if html is not None:
            from recipes.lint_page import write_page

            write_page(html, report)
        if json_:
            print_json(report.to_dict(names=names))
        else:
            from rich.console import Console

            show(report, Console(), names=names)
    if not report.ok:
        raise typer.Exit(1)


@data.command("cache")
def data_cache(
    list_: Annotated[bool, typer.Option("--list", help="Say what is there: the default.")] = False,
    prune_: Annotated[
        bool, typer.Option("--prune", help="Remove what the conditions fit; all without any.")
    ] = False,
    older: Annotated[
        float | None,
        typer.Option("--older", metavar="DAYS", min=0, help="Only what was not used for so long."),
    ] = None,
    larger: Annotated[
        str | None, typer.Option("--larger", metavar="SIZE", help="Only what is larger: 500MB.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only caches of this kind.  [default: all but weights]"),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="KEY", help="Keep it, come what may.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    json_: Json = False,
) -> None:
    """List what radzoo keeps under RADZOO_HOME, or remove it; all can be made again."""
    with errors():
        from data_adapters.cache_list import PRUNED, list_caches, prune
        from data_adapters.home import home
        from recipes.caching import parse_size, pruned_text, show_entries

        conditions = [older, larger, kind, keep, dry_run or None]
        if list_ and prune_:
            raise ConfigError("give --list or --prune, not both")
        if not prune_ and any(one is not None for one in conditions):
            raise ConfigError("--older, --larger, --kind, --keep and --dry-run go with --prune")
        if not prune_:
            entries = list_caches(home())
            if json_:
                print_json({"caches": [entry.to_dict() for entry in entries]})
            else:
                from rich.console import Console

                show_entries(entries, Console(soft_wrap=True))
            return
        done = prune(
            home(),
            older_than_days=older,
            larger_than=None if larger is None else parse_size(larger),
            keep=keep,
            dry_run=dry_run,
            kinds=kind or PRUNED,
        )
        if json_:
            print_json(done.to_dict())
        else:
            typer.echo(pruned_text(done))

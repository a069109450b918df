"""The commands under ``radzoo weights``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipes.cli_common import Json, Quiet, errors, print_json

if TYPE_CHECKING:
    from zoo.weights.download import Progress

weights = typer.Typer(
    help="Pretrained weights: what there is, bring in, check, carry.", no_args_is_help=True
)

Target = Annotated[str, typer.Argument(metavar="BACKBONE[:NAME]", show_default=False)]


@weights.command("list")
def weights_list(
    backbone: Annotated[str | None, typer.Option(help="Only of this backbone.")] = None,
    json_: Json = False,
) -> None:
    """List all weight sets: source, size, licence, digest, whether here, reference values."""
    with errors():
        from zoo.weights.inventory import weight_table

        rows = weight_table(backbone)
        if json_:
            print_json({"weights": rows})
            return
        _print_table(
            ("backbone", "name", "source", "size", "licence", "digest", "here", "reference"),
            [{**row, **_shown(row)} for row in rows],
        )
        for row in rows:
            if row["damaged"]:
                typer.echo(f"damaged: {row['damaged']}")


@weights.command("fetch")
def weights_fetch(target: Target, json_: Json = False, quiet: Quiet = False) -> None:
    """Bring weights here: out of the mirror RADZOO_WEIGHTS, or from their publisher."""
    with errors():
        from recipes.quiet import quiet_backend

        quiet_backend()
        from zoo.weights.finding import find_weights
        from zoo.weights.inventory import default_name, split_target, weight_table

        spec, name = split_target(target)
        name = name or default_name(spec)
        with _bar(f"fetching {spec.name}:{name}", quiet=quiet or json_) as progress:
            find_weights(spec, name, progress=progress)
        (row,) = [row for row in weight_table(spec.name) if row["name"] == name]
        if json_:
            print_json(row)
        else:
            typer.echo(f"{spec.name}:{name} is here ({_shown(row)['size']}, {row['licence']})")


@weights.command("verify")
def weights_verify(
    target: Annotated[
        str | None, typer.Argument(metavar="[BACKBONE[:NAME]|FILE]", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything that is here.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check digests and compute the reference values anew. Exits with 1 when something is wrong."""
    with errors():
        from recipes.errors import ConfigError

        if (target is None) is not all_:
            raise ConfigError("give a backbone, a file, or --all")
        from recipes.quiet import quiet_backend

        quiet_backend()
        from recipes.weights import verify_all, verify_file, verify_target

        with _bar("verifying", quiet=quiet or json_) as progress:
            if target is None:
                verdicts = verify_all(progress)
            elif Path(target).is_file():
                verdicts = verify_file(Path(target), progress)
            else:
                verdicts = verify_target(target, progress)
        ok = all(verdict["ok"] for verdict in verdicts)
        if json_:
            print_json({"ok": ok, "weights": verdicts})
        else:
            _print_verdicts(verdicts)
    if not ok:
        raise typer.Exit(1)


@weights.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    backbone: Annotated[
        str | None, typer.Option(help="The network.  [default: told from the file]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the weights.  [default: as published]")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    citation: Annotated[str | None, typer.Option(help="Whom to cite.")] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of the first kernel, where none can tell.")
    ] = None,
    preprocessing: Annotated[
        str | None, typer.Option(help="What the network was fed: torch, tf, caffe, none, ...")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace weights of that name.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert a file of PyTorch or Keras; none of its code is run."""
    with errors():
        from recipes.quiet import quiet_backend

        quiet_backend()
        from zoo.weights.importing import import_weights

        with _bar(f"converting {file.name}", quiet=quiet or json_) as progress:
            done = import_weights(
                file,
                backbone=backbone,
                name=name,
                licence=licence,
                citation=citation,
                channels=channels,
                preprocessing=preprocessing,
                force=force,
                progress=progress,
            )
        manifest = done.manifest
        if json_:
            print_json({**manifest.__dict__, "file": done.path.name})
            return
        for layer in manifest.stripped:
            typer.echo(f"left out: {layer}")
        typer.echo(
            f"{done.shown}: {manifest.channels} channels, preprocessing {manifest.preprocessing}, "
            f"licence {manifest.licence}"
        )
        typer.echo(f'create_backbone("{manifest.backbone}", weights="{manifest.name}", ...)')


@weights.command("pack")
def weights_pack(
    targets: Annotated[list[str], typer.Argument(metavar="BACKBONE[:NAME]...", show_default=False)],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Archive to write.", show_default=False)
    ],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write weights into one archive, to carry to a machine without a network."""
    with errors():
        from recipes.quiet import quiet_backend

        quiet_backend()
        from recipes.weights import pack_targets

        with _bar(f"packing {out.name}", quiet=quiet or json_) as progress:
            result = pack_targets(targets, out, progress)
        if json_:
            print_json(result)
        else:
            typer.echo(f"{', '.join(result['sets'])}: {out.name}, SHA-256 {result['sha256']}")


@weights.command("unpack")
def weights_unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    into: Annotated[
        Path | None, typer.Option(help="Folder.  [default: where radzoo looks]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace other weights.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify an archive of `pack`, and only then take the weights out of it."""
    with errors():
        from zoo.weights.archive import unpack

        with _bar(f"unpacking {file.name}", quiet=quiet or json_) as progress:
            done = unpack(file, into=into, force=force, progress=progress)
        if json_:
            print_json({"sets": done.sets, "kept": done.kept, "replaced": done.replaced})
            return
        for name in done.sets:
            state = "was here" if name in done.kept else "replaced" if name in done.replaced else ""
            typer.echo(f"{name}{f' ({state})' if state else ''}")


@weights.command("export")
def weights_export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder, new or empty.", show_default=False)
    ],
    member: Annotated[int, typer.Option(min=0, help="Which network of an ensemble.")] = 0,
    json_: Json = False,
) -> None:
    """Take the backbone out of a finished run, to start the next one from it."""
    with errors():
        from recipes.quiet import quiet_backend

        quiet_backend()
        from recipes.exporting import export_backbone
        from recipes.fewlabels.pretraining import WEIGHTS

        done = export_backbone(run, out, member=member)
        if json_:
            print_json(done)
            return
        typer.echo(f"{done['backbone']}: {done['layers']} layers of the run's network {member}")
        if done["kept"]:
            typer.echo(
                f"{len(done['kept'])} layers above the levels that it used are as it started "
                f"({done['started_from']})"
            )
        typer.echo(f"knows {done['n_seen']} cases that it has seen: none may be tested on")
        typer.echo(f"weights: {out / WEIGHTS}")


@contextmanager
def _bar(label: str, *, quiet: bool) -> Iterator[Progress]:
    """Show a bar once the work has taken two seconds."""
    import time

    from recipes.progress import Reporter

    start = time.monotonic()
    with Reporter(quiet=quiet) as reporter:

        def progress(done: int, total: int) -> None:
            if time.monotonic() - start > 2.0:
                reporter.show(label, done, total)

        yield progress
        reporter.clear()


def _shown(row: dict[str, Any]) -> dict[str, str]:
    from recipes.figures import size_text

    return {
        "size": "" if row["size"] is None else size_text(row["size"]),
        "here": "damaged" if row["damaged"] else "yes" if row["here"] else "no",
    }


def _print_table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(str(row[name]) for name in columns))
    console = Console(soft_wrap=True)
    console.width = max(console.width, 160)
    console.print(table)


def _print_verdicts(verdicts: list[dict[str, Any]]) -> None:
    for one in verdicts:
        parts = [f"digest {one['digest']}", f"reference {one['reference']}"]
        parts += [f"converter {one['converter']}"] if one["converter"] else []
        text = f"FAILED: {one['error']}" if one["error"] else ", ".join(parts)
        typer.echo(f"{one['backbone']}:{one['name']}  {text}")
    bad = sum(not one["ok"] for one in verdicts)
    typer.echo(f"{len(verdicts)} verified, {bad} failed")

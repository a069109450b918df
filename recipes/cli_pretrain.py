"""``radzoo pretrain``: weights for a backbone from cases without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.cli_common import Json, Pictures, Quiet, Set, errors, print_json
from recipes.quiet import quiet_backend


def pretrain_command(
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="Folder, table or npz.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder.", show_default=False)],
    backbone: Annotated[
        str | None, typer.Option(help="A name of `radzoo models`.  [default: efficientnet_lite0]")
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="simclr|byol|masked", help="[default: simclr]")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|none|NAME|PATH", help="Where it starts.  [default: imagenet]"
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="[default: 50]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    pictures: Pictures = None,
    set_: Set = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with any of the run's keys.")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pretrain a backbone on cases without labels. Give it again to resume.

    DIR/backbone.weights.h5 is what `--weights` of the recipes takes. simclr and byol compare two
    views of each case; masked hides patches and rebuilds them. Of volumes masked trains the 3D
    kernels, on patches prepared as `radzoo segment` does: `segment fit --set
    model.network=backbone --set model.weights=DIR/backbone.weights.h5` starts from them. With
    `--set data.volumes=planes`, and for simclr and byol, volumes serve as three planes each, for
    a 2D network.
    """
    with errors("nothing finished is lost: the same command resumes"):
        quiet_backend()
        from recipes.config import load_config, shortcuts
        from recipes.fewlabels.config import PretrainConfig

        given = {
            "model.backbone": backbone,
            "method": method,
            "model.weights": weights,
            "train.epochs": epochs,
            "seed": seed,
            "report.pictures": pictures,
        }
        settings = load_config(
            PretrainConfig, file=config, changes=[*(set_ or []), *shortcuts(given)]
        )
        from recipes.fewlabels.pretraining import WEIGHTS, pretrain
        from recipes.progress import Reporter

        summary = pretrain(source, out, settings, reporter=Reporter(quiet=quiet or json_))
        if json_:
            print_json(summary)
            return
        typer.echo(
            f"{summary['method']} on {summary['n']} cases, {summary['epochs']} epochs: loss "
            f"{summary['loss']:.4f}, spread of the embeddings {summary['embedding_spread']:.2f}"
        )
        if summary["collapsed"]:
            typer.echo("warning: the network has collapsed; its weights are worth little")
        typer.echo(f"weights: {out / WEIGHTS}")

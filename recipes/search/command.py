"""The command ``search`` of every recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.cli_common import Json, Quiet, Set, errors, print_json
from recipes.errors import ConfigError
from recipes.figures import figure_text
from recipes.quiet import quiet_backend

Source = Annotated[
    str, typer.Argument(metavar="DATA", help="Labelled data, as for fit.", show_default=False)
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the search.", show_default=False)]
Trials = Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier calls included.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Most minutes of this call.")]
SpaceFile = Annotated[
    Path | None, typer.Option(metavar="YAML", help="What varies.  [default: the recipe's space]")
]
WriteSpace = Annotated[
    Path | None,
    typer.Option(metavar="YAML", help="Write the recipe's space there, to edit, and stop."),
]
Metric = Annotated[
    str | None, typer.Option(help="Validation figure to choose by.  [default: auc, dice, cpm]")
]
Sampler = Annotated[str, typer.Option(metavar="random|tpe", help="How trials are drawn.")]
Pruner = Annotated[
    str, typer.Option(metavar="none|halving", help="Stop poor trials early (successive halving).")
]
Engine = Annotated[str, typer.Option(metavar="local|ray", help="Where trials run.")]
Jobs = Annotated[int, typer.Option(min=1, help="Trials at a time, each a process.")]
SearchSeed = Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")]
Config = Annotated[
    Path | None, typer.Option(help="YAML file with any of the keys that all trials share.")
]


def add_search(app: typer.Typer, task: str) -> None:
    """Give a recipe's group of commands its ``search``.

    Args:
        app: The group.
        task: The recipe's task.
    """

    @app.command("search")
    def search_command(
        source: Source,
        out: Out,
        trials: Trials = 20,
        minutes: Minutes = None,
        space: SpaceFile = None,
        write_space: WriteSpace = None,
        metric: Metric = None,
        sampler: Sampler = "random",
        pruner: Pruner = "none",
        engine: Engine = "local",
        jobs: Jobs = 1,
        search_seed: SearchSeed = 0,
        set_: Set = None,
        config: Config = None,
        json_: Json = False,
        quiet: Quiet = False,
    ) -> None:
        """Search settings on the validation part, then test the winner once. Give it again to
        continue.
        """
        with errors("no finished trial is lost: the same command continues"):
            quiet_backend()
            words = {"sampler": sampler, "pruner": pruner, "engine": engine}
            plan = make_plan(task, space, metric, words, search_seed, config, set_ or [])
            if write_space is not None:
                _write(plan.space.to_yaml(), write_space)
                return
            from recipes.progress import Reporter
            from recipes.search.running import Budget, search

            result = search(
                source,
                out,
                plan,
                Budget(trials, minutes),
                jobs=jobs,
                engine=engine,
                reporter=Reporter(quiet=quiet or json_),
            )
            if json_:
                print_json(result)
            else:
                print_result(result, out)


KNOWN = {
    "sampler": ("random", "tpe"),
    "pruner": ("none", "halving"),
    "engine": ("local", "ray"),
}


def make_plan(
    task: str,
    space: Path | None,
    metric: str | None,
    words: dict[str, str],
    seed: int,
    config: Path | None,
    changes: list[str],
) -> Any:
    """The plan of a search from the command's options.

    Keys that the user sets are decided: they leave the recipe's own space, and a space file that
    names them is refused.

    Raises:
        ConfigError: A word, key or value is unknown or does not fit.
    """
    from recipes.config import load_config, read_yaml
    from recipes.search.book import load_optuna
    from recipes.search.defaults import default_space
    from recipes.search.plan import SearchPlan, objective_of, recipe_of
    from recipes.search.space import checked_space, read_space

    for name, value in words.items():
        if value not in KNOWN[name]:
            raise ConfigError(f"unknown --{name} {value!r}; known: {', '.join(KNOWN[name])}")
    load_optuna()
    kind = recipe_of(task).config_class()
    base = load_config(kind, file=config, changes=changes)
    decided = {text.partition("=")[0].strip() for text in changes}
    decided |= set(_dotted(read_yaml(config, "--config"))) if config is not None else set()
    if space is None:
        chosen = default_space(base).without(decided)
    else:
        chosen = read_space(space, kind)
        both = sorted(decided & set(chosen.axes))
        if both:
            raise ConfigError(
                f"{both[0]} is in --space and set by --set or --config; leave one out"
            )
    return SearchPlan(
        task=task,
        base=base.model_dump(mode="json"),
        space=checked_space(chosen, kind),
        metric=objective_of(task, metric).name,
        sampler=words["sampler"],  # type: ignore[arg-type]
        pruner=words["pruner"],  # type: ignore[arg-type]
        seed=seed,
    )


def _dotted(content: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in content.items():
        inner = isinstance(value, dict)
        keys += _dotted(value, f"{prefix}{key}.") if inner else [f"{prefix}{key}"]
    return keys


def _write(text: str, path: Path) -> None:
    from recipes.engine.checkpoint import write_atomic

    write_atomic(path, text.encode())
    typer.echo(f"space: {path}; edit it and give it as --space")


def print_result(result: dict[str, Any], out: Path) -> None:
    """Print winner, cost and what to mind."""
    cost, counts = result["cost"], result["counts"]
    typer.echo(
        f"{cost['trials']} trials ({counts['complete']} finished, {counts['pruned']} stopped "
        f"early, {counts['fail']} failed), {cost['hours']:.2f} hours, "
        f"{cost['validation_looks']} looks at validation"
    )
    winner = result["winner"]
    if winner is not None:
        typer.echo(f"winner: trial {winner['number']}, {out / winner['run']}")
        name = f"validation {result['metric']}"
        typer.echo(f"  {name:26} {figure_text(winner['validation'])}")
        if result["optimism"]:
            corrected = figure_text(result["optimism"]["corrected"])
            typer.echo(f"  {'corrected for the choice':26} {corrected}")
        if result["baseline"] is not None:
            typer.echo(f"  {'plain configuration':26} {result['baseline']:.3f}")
        for key, value in winner["values"].items():
            typer.echo(f"  {key:26} {value}")
    for note in result["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"page: {out / 'search.html'}")

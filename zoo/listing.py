"""The registry as a table, for people and for ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.registry import get_spec, list_backbones
from zoo.spec import WeightSpec
from zoo.weights.available import available
from zoo.weights.sets import imported_weights


def backbone_table() -> list[dict[str, Any]]:
    """Describe every registered backbone, in alphabetical order.

    Returns:
        One JSON-able row each: ``name``, ``family``, ``params`` (without top, three channels),
        ``input_size`` and ``min_size`` (pixels a side), ``levels`` (pyramid levels it has),
        ``weights`` (names on offer, those imported here last), ``offline`` (whether any of them
        loads now without a download), ``dims`` (2, and 3 where it can be built for volumes),
        ``licence`` (of the code), ``weights_licence`` and ``paper``.
    """
    own = imported_weights()
    return [_row(name, own) for name in list_backbones()]


def _row(name: str, own: Mapping[str, Sequence[WeightSpec]]) -> dict[str, Any]:
    spec = get_spec(name)
    weights = (*spec.weights, *own.get(name, ()))
    return {
        "name": spec.name,
        "family": spec.family,
        "params": spec.params,
        "input_size": spec.input_size,
        "min_size": spec.min_size,
        "levels": [f"P{stride.bit_length() - 1}" for stride, _ in spec.taps],
        "weights": [weight.name for weight in weights],
        "offline": any(available(spec.name, weight) for weight in weights),
        "dims": sorted({spec.dims, 3}) if spec.inflatable else [spec.dims],
        "licence": spec.licence,
        "weights_licence": sorted({weight.licence for weight in weights}),
        "paper": spec.paper,
    }


BEGIN = "<!-- backbones:begin -->"
END = "<!-- backbones:end -->"
_HEAD = ("name", "family", "parameters", "input", "levels", "weights", "3D", "licence")


def markdown_table() -> str:
    """Write the registry as a table in Markdown, the same on every machine.

    Returns:
        Lines without the last end of line; weights imported here are left out. Input is the side
        in pixels of the ImageNet crop; levels are the strides as powers of two; the licences are
        those of the code and, where they differ, the weights.
    """
    rows = [_cells(_row(name, {})) for name in list_backbones()]
    return "\n".join(_line(cells) for cells in (_HEAD, ("---",) * len(_HEAD), *rows))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    licences = [row["licence"], *(one for one in row["weights_licence"] if one != row["licence"])]
    return (
        f"`{row['name']}`",
        row["family"],
        f"{row['params'] / 1e6:.1f} M",
        str(row["input_size"]),
        f"{row['levels'][0]}-{row['levels'][-1]}",
        ", ".join(f"`{name}`" for name in row["weights"]) or "none",
        "yes" if 3 in row["dims"] else "no",
        "; weights ".join(licences),
    )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or put it between the markers of files.

    ``python -m zoo.listing --markdown [FILE ...]``
    """
    flag, *files = list(sys.argv[1:] if argv is None else argv) or [""]
    if flag != "--markdown":
        print("usage: python -m zoo.listing --markdown [FILE ...]", file=sys.stderr)
        return 2
    for file in files:
        text = Path(file).read_text(encoding="utf-8")
        if text.count(BEGIN) != 1 or text.count(END) != 1:
            print(f"{Path(file).name} lacks the lines {BEGIN} and {END}", file=sys.stderr)
            return 1
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        table = "\n".join([BEGIN, markdown_table(), END])
        Path(file).write_text(before + table + after, encoding="utf-8")
    if not files:
        print(markdown_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())

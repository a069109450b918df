"""U-Net++: nested, dense skips on a backbone."""

from __future__ import annotations

import keras

from zoo.architectures.blocks import concatenate, conv_block, drop
from zoo.architectures.resize import upsample_to
from zoo.decoders import DecoderInput
from zoo.decoders.levels import stages, top_of


def unetpp(given: DecoderInput) -> dict[str, keras.KerasTensor]:
    """Join each level with all of its earlier versions and the next coarser one.

    Zhou et al., 2018, arXiv:1807.10165: node ``X(i, j)`` takes ``X(i, 0..j-1)`` and the upsampled
    ``X(i+1, j-1)``. Row 0 is the finest level with a skip; finer levels follow without. Layers are
    named ``decoder_<level>_<column>``.

    Returns:
        ``"P0"``, then, for supervision as in the paper, the nodes of the finest row before the
        last: ``"<level>_1"``, ``"<level>_2"`` and so on, from the deepest column to the first.
    """
    steps = stages(given.image, given.pyramid)
    width = {stage.level: w for stage, w in zip(steps, reversed(given.widths), strict=True)}
    nested = steps[: max((i for i, s in enumerate(steps) if s.skip is not None), default=-1) + 1]
    plain = steps[len(nested) :]
    # grid[row] holds the versions of one level, finest row first; the last row is the top map.
    grid = [[] if s.skip is None else [s.skip] for s in reversed(nested)]
    grid.append([top_of(given.pyramid)])
    rows = [stage.level for stage in reversed(nested)]
    sizes = [stage.size for stage in reversed(nested)]
    for column in range(1, len(grid)):
        for row in range(len(grid) - column):
            name = f"decoder_{rows[row]}_{column}"
            below = grid[row + 1]
            up = upsample_to(below[min(column, len(below)) - 1], sizes[row], name=name)
            x = concatenate([*grid[row][:column], up], name=f"{name}_join")
            for index in (1, 2):
                x = conv_block(x, width[rows[row]], name=f"{name}_{index}", norm=given.norm)
            grid[row].append(x)
    x = grid[0][-1]
    for stage in plain:
        name = f"decoder_{stage.level}"
        x = upsample_to(x, stage.size, name=name)
        for index in (1, 2):
            x = conv_block(x, width[stage.level], name=f"{name}_{index}", norm=given.norm)
    outputs = {"P0": drop(x, given.dropout, name="decoder_dropout")}
    if given.supervised and rows:
        nodes = grid[0][1:-1] if rows[0] != "P0" else grid[0][1:]
        outputs |= {f"{rows[0]}_{j}": nodes[j - 1] for j in range(len(nodes), 0, -1)}
    return outputs

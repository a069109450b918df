"""Receptive field: how much of the image one place of a feature map has seen.

Computed from the graph of EfficientNet-Lite0, level by level, around one place of a phantom.
"""

from __future__ import annotations

import keras
from drawing import BLUE, GREEN, GREY, ORANGE, folder, panels, phantom, save, show
from matplotlib.patches import Rectangle

import zoo
from zoo.receptive_field import receptive_field

SIDE = 224


def main() -> None:
    """Squares around the middle of the image."""
    out = folder(__doc__)
    image, _ = phantom(1, kind="cyst", size=SIDE)
    body = zoo.create_backbone("efficientnet_lite0", input_shape=(SIDE, SIDE, 3), weights=None)
    figure, axes = panels(1, 1, width=4, height=4)
    show(axes[0, 0], image)
    for level, colour in zip(("P1", "P2", "P3", "P4"), (GREY, BLUE, GREEN, ORANGE), strict=True):
        field = receptive_field(keras.Model(body.input, body.output[level]))[0]
        low = max(0, SIDE / 2 - field.size / 2)
        side = min(SIDE, field.size)
        axes[0, 0].add_patch(Rectangle((low, low), side, side, fill=False, ec=colour, lw=2))
        axes[0, 0].text(low + 2, low + 10, f"{level}: {field.size}", color=colour, fontsize=8)
        print(f"{level}: {field.size} pixels")
    save(figure, out, "receptive_fields")


if __name__ == "__main__":
    main()

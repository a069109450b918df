"""Patches in 2D, 2.5D and 3D around the same nodule, in millimetres.

2D is one plane; 2.5D three orthogonal planes as the channels that a network for colour pictures
takes; 3D the cube, of which every second slice is shown.
"""

from __future__ import annotations

import numpy as np
from drawing import folder, panels, save, show

from data_adapters.phantoms import ct_volume
from recipes.detection.second.cutting import Cut, cut_patch, pixels

FIELD, PIXELS = 40.0, 32
LUNG = (-1000.0, 400.0)


def main() -> None:
    """Cut the three patches of one nodule."""
    out = folder(__doc__)
    volume = ct_volume(
        4, shape=(32, 96, 96), kinds=("nodule",), region="chest", step_mm=3.0, fov_mm=300.0
    )
    case = volume.case("nodule")
    centre = np.asarray(volume.findings[0].centre)
    spacing = np.asarray(volume.geometry.spacing)
    figure, axes = panels(2, 5, width=1.7, height=1.8)
    for row in axes:
        for ax in row:
            ax.axis("off")
    patches = {}
    for kind in ("2d", "2.5d", "3d"):
        cut = Cut(kind, PIXELS, FIELD, LUNG)
        patches[kind] = cut_patch(pixels(case, cut), spacing, centre, cut, None)
        print(f"{kind}: {patches[kind].shape}")
    show(axes[0, 0], patches["2d"][..., 0], "2D")
    for k, plane in enumerate(("axial", "coronal", "sagittal")):
        show(axes[0, 2 + k], patches["2.5d"][..., k], f"2.5D: {plane}")
    for k in range(5):
        row = PIXELS // 2 + 2 * (k - 2)
        show(axes[1, k], patches["3d"][row, ..., 0], f"3D: slice {row}")
    save(figure, out, "patches")


if __name__ == "__main__":
    main()

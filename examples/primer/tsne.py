"""t-SNE: what a network takes for alike lies together.

Features of EfficientNet-Lite0 of slices at three heights, brought to two axes that keep neighbours
(van der Maaten and Hinton, 2008). The network was told nothing of heights. Distances between far
groups mean nothing.
"""

from __future__ import annotations

import numpy as np
from drawing import BLUE, GREEN, ORANGE, folder, grey, panels, save, seen
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from data_adapters.phantoms import ct_slice

HEIGHTS = {"kidneys": 20.0, "liver": 75.0, "chest": 200.0}
EACH = 12


def main() -> None:
    """A map of slices with thumbnails."""
    out = folder(__doc__)
    pairs = [(z, seed) for z in HEIGHTS.values() for seed in range(EACH)]
    regions = ["chest" if z > 100 else "abdomen" for z, _ in pairs]
    images = np.stack([
        grey(ct_slice(seed, size=64, z_mm=z, region=region).image[..., 0])
        for (z, seed), region in zip(pairs, regions, strict=True)
    ]).astype(np.float32)  # fmt: skip
    labels = np.repeat(np.arange(len(HEIGHTS)), EACH)
    values = seen(images)
    places = TSNE(perplexity=8, init="pca", random_state=0).fit_transform(values)
    nearest = NearestNeighbors(n_neighbors=6).fit(values).kneighbors(return_distance=False)
    same = (labels[nearest] == labels[:, None]).mean()
    chance = (EACH - 1) / (len(labels) - 1)
    print(f"of a slice's six nearest, {same:.0%} are of its height (by chance {chance:.0%})")
    figure, axes = panels(1, 1, width=6, height=5)
    ax = axes[0, 0]
    for image, label, place in zip(images, labels, places, strict=True):
        edge = {"edgecolor": (BLUE, ORANGE, GREEN)[label], "lw": 2}
        small = OffsetImage(image[::2, ::2], zoom=0.8, cmap="gray")
        ax.add_artist(AnnotationBbox(small, place, pad=0.1, bboxprops=edge))
    ax.update_datalim(places)
    ax.autoscale()
    ax.margins(0.1)
    ax.set(xticks=[], yticks=[], title=", ".join(HEIGHTS))
    save(figure, out, "tsne")


if __name__ == "__main__":
    main()

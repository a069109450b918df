"""Transfer learning: features from photographs against features of random weights.

The same network, frozen; only the last layer learns, from more and more phantoms. Twenty draws of
the training slices each.
"""

from __future__ import annotations

import numpy as np
from drawing import BLUE, GREY, cases, embeddings, folder, panels, save
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COUNT, TEST, DRAWS = 40, 16, 20


def areas(values: np.ndarray, labels: np.ndarray, size: int) -> list[float]:
    """AUC on slices that were not drawn."""
    found = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(labels))
        test, rest = order[:TEST], order[TEST:]
        both = [rest[labels[rest] == k][: size // 2] for k in (0, 1)]
        train = np.concatenate(both)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(values[train], labels[train])
        found.append(roc_auc_score(labels[test], model.decision_function(values[test])))
    return found


def main() -> None:
    """Two curves over the number of training slices."""
    out = folder(__doc__)
    labels = cases(COUNT)[1]
    sizes = (4, 8, 16)
    figure, axes = panels(1, 1, width=4.4, height=3.2)
    for name, weights, colour in (
        ("pretrained on photographs", "imagenet", BLUE), ("random weights", None, GREY)
    ):  # fmt: skip
        values = embeddings(COUNT, weights=weights)
        each = np.asarray([areas(values, labels, size) for size in sizes])
        middle = each.mean(axis=1)
        low, high = np.percentile(each, (25, 75), axis=1)
        axes[0, 0].plot(sizes, middle, "o-", color=colour, label=name)
        axes[0, 0].fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
        print(f"{name}: AUC " + ", ".join(f"{m:.2f}" for m in middle) + f" of {sizes} slices")
    axes[0, 0].set(xlabel="training slices", ylabel="AUC (middle half of the draws)")
    axes[0, 0].legend()
    save(figure, out, "transfer_learning")


if __name__ == "__main__":
    main()

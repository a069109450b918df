"""Features made by hand against learned ones, on the same phantoms, by the same classifier.

By hand: six figures of the grey values. Learned: means and spreads of feature maps of a network
that was trained on photographs. Logistic regression on each, judged on slices it was not fitted
on.
"""

from __future__ import annotations

import numpy as np
from drawing import BLUE, ORANGE, cases, embeddings, folder, panels, save
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COUNT = 40


def by_hand(images: np.ndarray) -> np.ndarray:
    """Mean, spread and percentiles of the grey values, and how much neighbours differ."""
    flat = images.reshape(len(images), -1)
    rough = np.abs(np.diff(images, axis=2)).mean(axis=(1, 2))
    return np.column_stack([flat.mean(axis=1), flat.std(axis=1), rough,
                            *np.percentile(flat, (25, 50, 90), axis=1)])  # fmt: skip


def main() -> None:
    """Two sets of features, one figure each."""
    out = folder(__doc__)
    images, labels = cases(COUNT)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    figure, axes = panels(1, 2, width=3.4)
    sets = {"by hand": by_hand(images), "learned": embeddings(COUNT)}
    for ax, (name, values) in zip(axes[0], sets.items(), strict=True):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        chance = cross_val_predict(model, values, labels, cv=folds, method="predict_proba")[:, 1]
        area = roc_auc_score(labels, chance)
        for label, colour in ((0, BLUE), (1, ORANGE)):
            ax.hist(chance[labels == label], np.linspace(0, 1, 11), color=colour, alpha=0.6)
        ax.set(title=f"{name}: {values.shape[1]} features, AUC {area:.2f}", xlabel="probability")
        ax.legend(["no lesion", "lesion"], fontsize=8)
        print(f"{name}: AUC {area:.3f}")
    save(figure, out, "features")


if __name__ == "__main__":
    main()

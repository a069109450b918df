"""Training curves: over-fitting, and why training stops early.

A wide perceptron on few, noisy cases learns them by heart: its training loss keeps falling while
the loss on cases it does not train on rises again. The best round is kept.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import BLUE, GREEN, ORANGE, options, panels, save
from sklearn.datasets import make_moons

import zoo


def main() -> None:
    """Both losses, round by round."""
    given = options(__doc__, epochs=200)
    points, labels = make_moons(240, noise=0.35, random_state=3)
    points = ((points + 2) / 4).astype(np.float32)
    wrong = np.random.default_rng(0).random(240) < 0.15
    labels = np.where(wrong, 1 - labels, labels)
    train, val = slice(0, 40), slice(40, None)
    keras.utils.set_random_seed(0)
    model = zoo.multilayer_perceptron(
        input_shape=(2,), classes=1, hidden=(256, 256), input_range=(0.0, 1.0)
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False)
    history = model.fit(
        points[train],
        labels[train].astype(np.float32),
        validation_data=(points[val], labels[val].astype(np.float32)),
        epochs=given.epochs,
        batch_size=40,
        validation_batch_size=200,
        verbose=0,
    ).history
    best = int(np.argmin(history["val_loss"]))
    print(f"best round {best + 1}: {history['val_loss'][best]:.3f}; at the end: training "
          f"{history['loss'][-1]:.3f}, validation {history['val_loss'][-1]:.3f}")  # fmt: skip
    figure, axes = panels(1, 1, width=4.6, height=3.2)
    axes[0, 0].plot(history["loss"], color=BLUE, label="training")
    axes[0, 0].plot(history["val_loss"], color=ORANGE, label="validation")
    axes[0, 0].axvline(best, color=GREEN, ls="--", label="kept by early stopping")
    axes[0, 0].set(xlabel="epoch", ylabel="loss")
    axes[0, 0].legend()
    save(figure, given.out, "training_curves")


if __name__ == "__main__":
    main()

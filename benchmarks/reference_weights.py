"""Make the recorded reference values of EfficientNet-Lite's weights with their own implementation.

``zoo.weights.reference`` says what they are: means of the last feature map on a fixed image. The
network is the PyTorch package of the weights' authors in float64; see
``benchmarks/reference_lite_logits.py`` for the environment. Prints one line per weight set, for
``reference=`` in ``zoo/catalog/efficientnet_lite.py``::

    PYTHONPATH=. python benchmarks/reference_weights.py
"""

from __future__ import annotations

import argparse
import json

import torch

from benchmarks.reference_lite_logits import LOGITS_OF, MEAN, STD, reference
from zoo.weights.reference import features_of, reference_image


def main() -> None:
    """Print the reference values of each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    pixels = torch.from_numpy(reference_image()).double().permute(2, 0, 1)[None]
    values = {}
    for variant in LOGITS_OF:
        with torch.no_grad():
            top = reference(variant).extract_features((pixels - MEAN) / STD)
        values[f"efficientnet_lite{variant}"] = features_of(top.permute(0, 2, 3, 1).numpy())
    if args.json:
        print(json.dumps(values, indent=1))
        return
    for name, found in values.items():
        print(f"{name}: {found}")


if __name__ == "__main__":
    main()

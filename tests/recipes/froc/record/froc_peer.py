"""Record MONAI's free-response figures on random marks; needs MONAI and numpy alone.

    python -m tests.recipes.froc.record.froc_peer tests/recipes/froc/data/monai_froc.json

MONAI takes lesions' highest probabilities (0 where none hits) and false positives' ones; its curve
has a point for every probability, and its score is the mean sensitivity at given rates.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Draw marks, ask MONAI, write both."""
    import monai
    import numpy as np
    from monai.metrics import compute_froc_curve_data, compute_froc_score

    cases = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        found = rng.uniform(0.05, 1, 40).round(3)
        found[rng.uniform(size=40) < 0.25] = 0.0
        false = rng.uniform(0, 0.9, 300).round(3)
        images = 25
        rate, sensitivity = compute_froc_curve_data(false, found[found > 0], len(found), images)
        rates = (0.25, 0.5, 1, 2, 4, 8)
        score = compute_froc_score(rate, sensitivity, rates)
        cases.append(
            {
                "lesions": found.tolist(), "false": false.tolist(), "images": images,
                "rates": list(rates), "score": float(score),
                "rate": np.asarray(rate).tolist(), "sensitivity": np.asarray(sensitivity).tolist(),
            }
        )  # fmt: skip
    content = {"monai": monai.__version__, "cases": cases}
    Path(sys.argv[1]).write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

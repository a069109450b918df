"""What the classification recipe takes and refuses, before any training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes.classification.config import ClassificationConfig
from recipes.classification.data import open_data, prepare
from recipes.classification.fitting import fit
from recipes.errors import RecipeError


def test_boxes_and_masks_are_refused_in_one_sentence(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "a.png")
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 9}],
        "annotations": [],
        "categories": [{"id": 1, "name": "mass"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(whole))
    config = ClassificationConfig()
    said = r"the truth of these data \(coco\) is boxes, and classification wants classes"
    with pytest.raises(RecipeError, match=said):
        prepare(open_data(str(tmp_path), config.data), config)
    with pytest.raises(RecipeError, match=said):
        fit(str(tmp_path), out=tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()

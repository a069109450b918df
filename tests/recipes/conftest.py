"""One tiny run of every recipe for the whole session: tests of finished runs share them."""

from __future__ import annotations

from tests.recipes.detection.tiny import tiny_detection
from tests.recipes.segmentation.tiny import tiny_segmentation
from tests.recipes.tiny import tiny_run

__all__ = ["tiny_detection", "tiny_run", "tiny_segmentation"]

"""``python -m recipes.segmentation fit ...`` is ``radzoo segment fit ...``."""

from __future__ import annotations

import sys

from recipes.cli import main

if __name__ == "__main__":
    main(["segment", *sys.argv[1:]])

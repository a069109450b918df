"""``python -m recipes.detection fit ...`` is ``radzoo detect fit ...``."""

from __future__ import annotations

import sys

from recipes.cli import main

if __name__ == "__main__":
    main(["detect", *sys.argv[1:]])

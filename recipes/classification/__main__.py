"""``python -m recipes.classification fit ...`` is ``radzoo classify fit ...``."""

from __future__ import annotations

import sys

from recipes.cli import main

if __name__ == "__main__":
    main(["classify", *sys.argv[1:]])

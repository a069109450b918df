"""What is wrong with a delivery, before anyone trains on it: `lint`, and `repaired`, which mends.

Importing this package loads nothing heavy: each name comes from its module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_adapters.lazy import lazy_names

if TYPE_CHECKING:
    from data_adapters.lint.codes import CODES
    from data_adapters.lint.linter import lint
    from data_adapters.lint.repair import repaired
    from data_adapters.lint.report import LintReport

_NAMES = {"codes": "CODES", "linter": "lint", "repair": "repaired", "report": "LintReport"}

__all__ = ["CODES", "LintReport", "lint", "repaired"]

__getattr__, __dir__ = lazy_names(__name__, _NAMES)

"""What is wrong with a delivery, before anyone trains on it: `lint`, and `repaired`, which mends.

Importing this package loads nothing heavy: each name comes from its module on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_adapters.lint.codes import CODES
    from data_adapters.lint.linter import lint
    from data_adapters.lint.repair import repaired
    from data_adapters.lint.report import LintReport

_MODULE_OF = {"CODES": "codes", "lint": "linter", "repaired": "repair", "LintReport": "report"}

__all__ = ["CODES", "LintReport", "lint", "repaired"]


def __getattr__(name: str) -> Any:
    """Load the module that holds `name` and return the name."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    """Every public name, loaded or not."""
    return sorted({*globals(), *__all__})

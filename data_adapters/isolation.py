"""Calling code that may crash, hang or eat all memory on a stranger's file."""

from __future__ import annotations

import importlib
from typing import Any


def isolated(function: str, /, *args: Any, seconds: float = 120.0, **options: Any) -> Any:
    """Call a function of this package on a file that is not trusted.

    Args:
        function: `module:name`, a function of `data_adapters` whose arguments and result are
            plain values, arrays, or frozen dataclasses of them.
        *args: Its arguments.
        seconds: Time after which the call is given up.
        **options: Its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        CaseError: What the function raises.
    """
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)(*args, **options)

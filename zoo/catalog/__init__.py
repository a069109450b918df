"""The catalogue: one module per source of backbones, each with a tuple ``SPECS``, data only."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

from zoo.catalog._widths import WIDTHS
from zoo.spec import BackboneSpec


def catalogued() -> Iterator[BackboneSpec]:
    """Give the ``SPECS`` of all modules here but those with a leading underscore, by name."""
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_"):
            continue
        for spec in importlib.import_module(f"{__name__}.{module.name}").SPECS:
            yield spec if spec.widths else replace(spec, widths=WIDTHS.get(spec.name, ()))

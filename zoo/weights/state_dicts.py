"""Find the state dict in what a checkpoint holds: bare, nested, or inside a pickled network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from zoo.weights.pickle_machine import Pickled, Record, RefusedError, Tensor

# Where trainers put the state dict, in the order of preference.
_ENTRIES: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "params",
    "weights",
)
# What wrappers put before every name.
_PREFIXES: Final = ("module.", "_orig_mod.", "model.")
_MAX_DEPTH: Final = 64
_MAX_TENSORS: Final = 100_000
_MAX_NAME: Final = 1000


def state_dict(pickled: Pickled) -> dict[str, Tensor]:
    """Give the tensors of a network by PyTorch's names.

    Args:
        pickled: A mapping of names to tensors; a mapping that holds one, under a name that
            trainers use or as the only such entry; or a module. What is no tensor is left out.

    Raises:
        RefusedError: When there is no state dict, or more than one to choose from.
    """
    found = _search(pickled.value)
    if not found:
        named = f"; it names {', '.join(pickled.names[:3])}" if pickled.names else ""
        raise RefusedError(f"it does not hold a mapping of names to tensors{named}")
    return without_prefix(found)


def without_prefix(tensors: dict[str, Any]) -> dict[str, Any]:
    """Strip ``module.`` (DataParallel) and its like, where every name begins with it."""
    while prefix := next((one for one in _PREFIXES if _all_begin(tensors, one)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _all_begin(names: Iterable[str], prefix: str) -> bool:
    names = tuple(names)
    return bool(names) and all(name.startswith(prefix) and name != prefix for name in names)


def _search(value: object) -> dict[str, Tensor]:
    direct = _direct(value)
    if direct or not isinstance(value, dict):
        return direct
    nested = {key: _direct(item) for key, item in value.items()}
    holding = {key: tensors for key, tensors in nested.items() if tensors}
    for entry in _ENTRIES:
        if entry in holding:
            return holding[entry]
    if len(holding) > 1:
        names = ", ".join(repr(key) for key in list(holding)[:5])
        raise RefusedError(f"it holds several mappings of names to tensors ({names})")
    return next(iter(holding.values()), {})


def _direct(value: object) -> dict[str, Tensor]:
    """Take the tensors of a mapping or of a module; empty for anything else."""
    if isinstance(value, Record):
        return _of_module(value)
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if _named(key) and isinstance(item, Tensor)}


def _named(key: object) -> bool:
    return isinstance(key, str) and len(key) <= _MAX_NAME


def _of_module(module: Record) -> dict[str, Tensor]:
    """Do what ``Module.state_dict`` does: parameters, buffers, then submodules, depth first."""
    tensors: dict[str, Tensor] = {}
    open_modules: list[tuple[str, int, object]] = [("", 0, module)]
    visited = 0
    while open_modules:
        prefix, depth, current = open_modules.pop()
        visited += 1
        if depth > _MAX_DEPTH or visited > _MAX_TENSORS or len(prefix) > _MAX_NAME:
            raise RefusedError("its modules are nested without end")
        if not isinstance(current, Record):
            continue
        volatile = current.state.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, item in _mapping(current, kind):
                gone = isinstance(volatile, frozenset) and kind == "_buffers" and name in volatile
                if isinstance(item, Tensor) and not gone:
                    tensors[f"{prefix}{name}"] = item
        if len(tensors) > _MAX_TENSORS:
            raise RefusedError(f"its modules hold more than {_MAX_TENSORS} tensors")
        inner = _mapping(current, "_modules")
        open_modules += [(f"{prefix}{name}.", depth + 1, item) for name, item in reversed(inner)]
    return tensors


def _mapping(module: Record, kind: str) -> list[tuple[str, object]]:
    value = module.state.get(kind)
    if not isinstance(value, dict):
        return []
    return [(key, item) for key, item in value.items() if _named(key)]

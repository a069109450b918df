"""An interpreter for the pickles ``torch.save`` writes, unable to import or call anything.

A pickle is a little program for a stack machine that may name any function and call it. This
machine knows the opcodes a checkpoint needs and maps every global name to an inert stand-in:
"calling" one of the few that checkpoints call is a case distinction in here, making an object of
any class gives a ``Record`` that holds the class's name and the object's state. Calls of anything
else, names out of Python's standard library and other opcodes are refused before they have an
effect. Memory is bounded by the length of the pickle.
"""

from __future__ import annotations

import math
import pickletools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, Final

DTYPES: Final = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_MAX_DIMENSIONS: Final = 32
_MAX_PROTOCOL: Final = 2
# A tensor without elements may still name sides; their product stays below this.
_MAX_EMPTY: Final = 1 << 40


class RefusedError(Exception):
    """Why a checkpoint is not read; the caller adds the file's name."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of ``count`` numbers of one ``dtype``, found under ``key`` in the file.

    The type is numpy's, or ``"bfloat16"``: the upper half of a float32.
    """

    key: str
    dtype: str
    count: int

    @property
    def stored(self) -> str:
        """Numpy's name for a number as it lies in the file."""
        return "<u2" if self.dtype == "bfloat16" else self.dtype


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view of a storage that lies within it; all figures in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Record:
    """An object of a class that nobody imports: the class's name and the object's attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a pickle holds.

    Attributes:
        value: Made of None, bool, int, float, str, tuple, list, dict (also for OrderedDict and
            its kin), frozenset, Tensor, Record, and stand-ins for names.
        storages: All storages it speaks of, by key.
        names: The global names it uses beyond those of a state dict, dotted.
    """

    value: object
    storages: dict[str, Storage]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Global:
    """Stand-in of a global: a name and nothing to call."""

    name: str


_MARK: Final = object()
_SET: Final = _Global("__builtin__ set")
_REBUILD: Final = _Global("torch._utils _rebuild_tensor_v2")
_PARAMETERS: Final = {
    _Global(f"torch._utils _rebuild_parameter{ending}") for ending in ("", "_with_state")
}
_STORAGES: Final = {_Global(f"torch {name}"): dtype for name, dtype in DTYPES.items()}
_DICTS: Final = {
    _Global(f"collections {name}") for name in ("OrderedDict", "defaultdict", "Counter")
}
# Called by the checkpoints of common trainers, for values that nothing here looks at.
_OPAQUE: Final = {
    _Global(name)
    for name in (
        "_codecs encode",
        "functools partial",
        "numpy dtype",
        "numpy.core.multiarray scalar",
        "numpy._core.multiarray scalar",
        "pathlib PosixPath",
        "torch Size",
        "torch device",
    )
}
_PLAIN: Final = {
    _Global(f"__builtin__ {name}") for name in ("bool", "dict", "float", "int", "list", "str")
}
_STATE_DICT: Final = {item.name for item in (_REBUILD, *_PARAMETERS, *_STORAGES, *_DICTS, _SET)}
_ALLOWED: Final = {
    *_STATE_DICT, *(item.name for item in (*_OPAQUE, *_PLAIN)), "argparse Namespace"
}  # fmt: skip
# The standard library holds what attacks are made of, and no class of a network.
_FORBIDDEN: Final = sys.stdlib_module_names | {"__builtin__", "commands", "copy_reg", "exceptions"}


def run(stream: IO[bytes]) -> Pickled:
    """Run the pickle at the stream's position and leave the stream behind it.

    Raises:
        RefusedError: For a forbidden global (named), any opcode or use of one that ``torch.save``
            does not write, or a damaged stream.
    """
    machine = _Machine()
    try:
        while True:
            code = stream.read(1).decode("latin-1")
            if code not in _OPCODES:
                raise RefusedError("its pickle is truncated or malformed")
            opcode = _OPCODES[code]
            if opcode.name == "STOP":
                return Pickled(machine.pop(), machine.storages, tuple(machine.names))
            if opcode.name not in _PUSHED and opcode.name not in _EFFECTS:
                raise RefusedError(f"its pickle uses {opcode.name}, which PyTorch never writes")
            machine.step(opcode.name, _argument(opcode, stream))
    except (ValueError, OverflowError) as error:
        raise RefusedError("its pickle is truncated or malformed") from error


def _argument(opcode: pickletools.OpcodeInfo, stream: IO[bytes]) -> Any:
    """Read what follows a permitted opcode."""
    if opcode.name == "GLOBAL":  # two raw lines; the reader of pickletools decodes escapes
        module, name = (stream.readline().decode("ascii").removesuffix("\n") for _ in range(2))
        return f"{module} {name}"
    return opcode.arg.reader(stream) if opcode.arg else None


class _Machine:
    """Stack, memo and the effect of each permitted opcode."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.names: dict[str, None] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Carry out one permitted opcode."""
        if opcode in _PUSHED:
            self._stack.append(argument)
        else:
            _EFFECTS[opcode](self, argument)

    def push(self, value: Any) -> None:
        """Lay a value on top."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the topmost value."""
        value = self._stack.pop() if self._stack else _MARK
        if value is _MARK:
            raise RefusedError("its pickle takes from an empty stack")
        return value

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise RefusedError(f"its pickle treats something as a {kind.__name__} that is none")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise RefusedError("its pickle lacks a mark")

    def proto(self, version: int) -> None:
        if version > _MAX_PROTOCOL:
            raise RefusedError(f"its pickle protocol is {version}, PyTorch writes {_MAX_PROTOCOL}")

    def global_name(self, name: str) -> None:
        root = name.split(" ")[0].split(".")[0]
        shown = name[:100].replace(" ", ".")
        if name not in _ALLOWED and root in _FORBIDDEN:
            raise RefusedError(f"it names the forbidden global {shown!r}")
        if name not in _STATE_DICT:
            self.names[shown] = None
        self._stack.append(_Global(name))

    def put(self, index: int) -> None:
        if not self._stack:
            raise RefusedError("its pickle takes from an empty stack")
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise RefusedError("its pickle refers to a value that it does not hold")
        self._stack.append(self._memo[index])

    def make_tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self._stack.append(tuple(values[::-1]))

    def tuple_to_mark(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def append(self, _: Any) -> None:
        value = self.pop()
        self._top(list).append(value)

    def appends(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def new_object(self, _: Any) -> None:
        """Stand in for the making of an object without arguments; a class is only its name."""
        arguments, target = self.pop(), self.pop()
        called = {_REBUILD, *_PARAMETERS, *_STORAGES, *_DICTS, *_PLAIN, _SET}
        if not isinstance(target, _Global) or arguments != () or target in called:
            raise RefusedError(f"its pickle makes {_shown(target)} in a way PyTorch does not")
        self._stack.append(Record(target.name.replace(" ", ".")))

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._set([key, value])

    def set_items(self, _: Any) -> None:
        self._set(self._pop_to_mark())

    def _set(self, values: list[Any]) -> None:
        keys = values[0::2]
        if len(values) % 2 or not all(type(key) in (str, int) for key in keys):
            raise RefusedError("its pickle has a mapping whose keys are neither names nor numbers")
        if self._stack and isinstance(self._stack[-1], Record):
            return  # the entries of a subclass of dict, in the settings of a trainer
        self._top(dict).update(zip(keys, values[1::2], strict=True))

    def build(self, _: Any) -> None:
        """Keep the attributes of an object; drop those PyTorch hangs on a state dict."""
        state = self.pop()
        if not self._stack or not isinstance(self._stack[-1], Record):
            self._top(dict)
        elif isinstance(state, dict):
            self._stack[-1].state.update(state)

    def reduce(self, _: Any) -> None:
        """Stand in for the calls that checkpoints need."""
        arguments, target = self.pop(), self.pop()
        if isinstance(target, _Global) and isinstance(arguments, tuple):
            made = _called(target, arguments)
            if made is not None:
                self._stack.append(made)
                return
        raise RefusedError(f"its pickle calls {_shown(target)} in a way PyTorch does not")

    def persistent(self, _: Any) -> None:
        description = self.pop()
        match description:
            case ("module", _Global() as kind, str() | None, str() | None):
                self._stack.append(kind)  # the legacy format keeps the source text of classes
                return
        storage = _storage(description)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise RefusedError(f"its pickle describes storage {storage.key[:40]!r} in two ways")
        self._stack.append(storage)


_OPCODES: Final = {opcode.code: opcode for opcode in pickletools.opcodes}
_PUSHED: Final = frozenset({"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_EFFECTS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": _Machine.proto,
    "GLOBAL": _Machine.global_name,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_to_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BUILD": _Machine.build,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BINPERSID": _Machine.persistent,
    "EMPTY_TUPLE": lambda machine, _: machine.make_tuple(0),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "MARK": lambda machine, _: machine.push(_MARK),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
}


def _shown(target: object) -> str:
    return target.name[:100].replace(" ", ".") if isinstance(target, _Global) else "a value"


def _called(target: _Global, arguments: tuple[Any, ...]) -> object | None:
    """Give what a call stands for; None when checkpoints do not call this, or not so."""
    if target == _REBUILD:
        return _tensor(arguments)
    if target in _OPAQUE:
        return Record(target.name.replace(" ", "."))
    match arguments:
        case () if target in _DICTS:
            return {}
        case (_Global(),) if target.name == "collections defaultdict":
            return {}
        case (dict(counts),) if target.name == "collections Counter":
            return counts
        case (list(items),) if target == _SET:
            return frozenset(item for item in items if isinstance(item, str))
        case (Tensor() as tensor, bool(), dict(), *_) if target in _PARAMETERS:
            return tensor
    return None


def _storage(description: Any) -> Storage:
    """Check ``("storage", type, key, device, count)``; the legacy format adds a view, unused."""
    match description:
        case ("storage", _Global() as kind, str(key), str(), int(count), *view) if (
            kind in _STORAGES and count >= 0 and view in ([], [None])
        ):
            return Storage(key, _STORAGES[kind], count)
    raise RefusedError("its pickle describes a storage in a way PyTorch does not")


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """Check ``(storage, offset, shape, strides, requires_grad, hooks)`` against the storage."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), dict()):
            figures = (offset, *shape, *strides)
            if len(shape) == len(strides) <= _MAX_DIMENSIONS and all(
                type(figure) is int and figure >= 0 for figure in figures
            ):
                _check_bounds(storage, offset, shape, strides)
                return Tensor(storage, offset, shape, strides)
    raise RefusedError("its pickle describes a tensor in a way PyTorch does not")


def _check_bounds(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    if math.prod(size or 1 for size in shape) > max(storage.count, _MAX_EMPTY):
        raise RefusedError(f"a tensor is larger than its storage of {storage.count} numbers")
    if 0 in shape:
        return
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if last >= storage.count or math.prod(shape) > storage.count:
        raise RefusedError(f"a tensor reaches beyond its storage of {storage.count} numbers")

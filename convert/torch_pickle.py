"""Reads the pickle of a pytorch_model.bin: which tensors there are, never code.

A pickle is a program. The unpickler below knows the few instructions and the few names that a
table of tensors is built from and refuses every other. What it hands out for those names are
inert stand-ins of ours, so even a pickle made of allowed names can build nothing but tensor
descriptions.

It is Python's own, the one not written in C: there a few bytes can ask for gigabytes (the memo
is an array, and a bytearray is as long as it says), or end the process (the hash of a tuple in
a tuple in a tuple …). So the keys of a table are always texts.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from convert.untrusted import MAX_DIMENSIONS, brief, natural

__all__ = ["RefusedError", "TensorView", "load_views"]

_STORAGE_DTYPES = {"BFloat16Storage": "BF16", "HalfStorage": "F16", "FloatStorage": "F32"}


@dataclass(frozen=True)
class Storage:
    dtype: str
    key: str


@dataclass(frozen=True)
class TensorView:
    """A tensor as the pickle describes it; offset, shape and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _StorageType:
    """Stands for torch.FloatStorage and its like."""

    name: str


class _RebuildTensor:
    """Stands for torch._utils._rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(
        self, storage: object, offset: object, shape: object, strides: object, *_: object
    ) -> TensorView:
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor without storage")
        return TensorView(storage, natural(offset), _naturals(shape), _naturals(strides))


class _RebuildParameter:
    """Stands for torch._utils._rebuild_parameter: a parameter is its tensor."""

    __slots__ = ()

    def __call__(self, tensor: object, *_: object) -> object:
        return tensor


class _EmptyTable:
    """Stands for collections.OrderedDict. Its items come by instructions of their own."""

    __slots__ = ()

    def __call__(self) -> OrderedDict[str, object]:
        return OrderedDict()


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > MAX_DIMENSIONS:
        raise pickle.UnpicklingError("a shape that is none")
    return tuple(natural(value) for value in values)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("collections", "OrderedDict"): _EmptyTable(),
}

# What torch.save writes with protocols 2 to 5 for a table of tensors.
_INSTRUCTIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BINPERSID"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
)


class RefusedError(Exception):
    """The pickle asked for a name that no tensor needs."""


class _TensorUnpickler(pickle._Unpickler):
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage"):
            return _StorageType(name)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise RefusedError(f"{module[:80]}.{name[:80]}") from None

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage_type, key, _location, _n_elements = pid
        if (
            kind != "storage"
            or not isinstance(storage_type, _StorageType)
            or not isinstance(key, str)
        ):
            raise pickle.UnpicklingError("a reference that is not a storage")
        return Storage(_STORAGE_DTYPES.get(storage_type.name, storage_type.name), key)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _set_items(self) -> None:
        self._fill(self.pop_mark())

    def _fill(self, items: list[Any]) -> None:
        table = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(table, dict) or not isinstance(key, str):
                raise pickle.UnpicklingError("a table with a key that is no text")
            table[key] = value

    def _drop_state(self) -> None:
        """A state dict carries _metadata, which we do not need; nothing else has a state."""
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise pickle.UnpicklingError("a state for something that has none")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
            for name in _INSTRUCTIONS
        },
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.BUILD[0]: _drop_state,
    }


def load_views(data: bytes) -> dict[str, TensorView]:
    """The tensors that a data.pkl describes, by name.

    Raises:
        RefusedError: when it asks for a name that no tensor needs.
        ValueError: when it is damaged or holds something other than tensors.
    """
    try:
        state = _TensorUnpickler(io.BytesIO(data)).load()
    except RefusedError:
        raise
    except KeyError as error:  # of `dispatch`
        raise ValueError(f"its data.pkl has the instruction {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(str(error)[:200] or "its data.pkl ends too soon") from None
    if not isinstance(state, dict):
        raise ValueError("it is not a dictionary of tensors")
    for name, view in state.items():
        if not isinstance(view, TensorView):
            raise ValueError(f"{brief(name)} is not a tensor")
    return state

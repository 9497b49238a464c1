"""Reads pytorch_model.bin without torch, and without running anything that is in it.

The file is a zip archive whose members are stored, not compressed:

    NAME/data.pkl    a pickle: a dictionary from tensor name to "rebuild a tensor from storage
                     KEY, at this offset, with this shape and these strides"
    NAME/data/KEY    the raw bytes of one storage
    NAME/byteorder   "little" or "big"

A pickle is a program. The unpickler below knows the few names that a tensor is built from and
refuses every other by name. What it hands out for those names are inert stand-ins of ours, so
even a pickle made of allowed names can build nothing but tensor descriptions.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.tensor import DTYPE_SIZES, StoredTensor
from duplex_local.errors import ModelFileError

__all__ = ["read_torch_file"]

# A real data.pkl has some 150 bytes for each tensor; a bigger one is an attempt on our memory.
MAX_PICKLE_BYTES = 64 * 1024 * 1024
_LOCAL_HEADER_BYTES = 30

_STORAGE_DTYPES = {"BFloat16Storage": "BF16", "HalfStorage": "F16", "FloatStorage": "F32"}


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str


@dataclass(frozen=True)
class _View:
    """A tensor as the pickle describes it; offset, shape and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _StorageType:
    """Stands for torch.FloatStorage and its like. Frozen, so a pickle cannot change it."""

    name: str


class _RebuildTensor:
    """Stands for torch._utils._rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(
        self, storage: object, offset: object, shape: object, strides: object, *_: object
    ) -> _View:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without storage")
        return _View(storage, _natural(offset), _naturals(shape), _naturals(strides))


class _RebuildParameter:
    """Stands for torch._utils._rebuild_parameter: a parameter is its tensor."""

    __slots__ = ()

    def __call__(self, tensor: object, *_: object) -> object:
        return tensor


def _natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise pickle.UnpicklingError(f"{value!r} where a count was expected")
    return value


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple):
        raise pickle.UnpicklingError("a shape that is not a tuple")
    return tuple(_natural(value) for value in values)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("collections", "OrderedDict"): OrderedDict,
}


class _RefusedError(Exception):
    """The pickle asked for a name that no tensor needs."""


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage"):
            return _StorageType(name)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, _n_elements = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError("a reference that is not a storage")
        return _Storage(_STORAGE_DTYPES.get(storage_type.name, storage_type.name), str(key))


def read_torch_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a pytorch_model.bin by name. Their bytes are not read yet.

    Raises:
        ModelFileError: when the file is damaged, asks for code to run, or holds something
            other than plain tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return _read_archive(path, archive, file)
    except zipfile.BadZipFile:
        raise ModelFileError(_why_no_zip(path)) from None
    except (OSError, KeyError, NotImplementedError, RuntimeError, struct.error) as error:
        raise _damaged(path, str(error)) from None


def _read_archive(
    path: Path, archive: zipfile.ZipFile, file: io.BufferedReader
) -> dict[str, StoredTensor]:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _damaged(path, "it holds no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if _read_small(archive, folder + "byteorder", b"little").strip() != b"little":
        raise ModelFileError(f"{path} is big-endian. Save it again as safetensors.")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
        raise _damaged(path, "its data.pkl is far too large")
    views = _load_views(path, archive.read(pickles[0]))
    members = {info.filename: info for info in archive.infolist()}
    tensors = {}
    for name, view in views.items():
        member = members.get(f"{folder}data/{view.storage.key}")
        if member is None:
            raise _damaged(path, f"the bytes of {name} are missing")
        tensors[name] = _place(path, file, name, view, member)
    return tensors


def _read_small(archive: zipfile.ZipFile, name: str, default: bytes) -> bytes:
    return archive.read(name) if name in archive.namelist() else default


def _load_views(path: Path, data: bytes) -> dict[str, _View]:
    try:
        state = _TensorUnpickler(io.BytesIO(data)).load()
    except _RefusedError as error:
        raise ModelFileError(
            f"{path} asks for {error}, which no tensor needs: nothing was run. "
            "Do not trust this file; get the checkpoint from its publisher."
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise _damaged(path, str(error)) from None
    if not isinstance(state, dict):
        raise _damaged(path, "it is not a dictionary of tensors")
    for name, view in state.items():
        if not (isinstance(name, str) and isinstance(view, _View)):
            raise _damaged(path, f"{str(name)[:80]!r} is not a tensor")
    return state


def _place(
    path: Path, file: io.BufferedReader, name: str, view: _View, member: zipfile.ZipInfo
) -> StoredTensor:
    """Where the bytes of `view` lie in the file."""
    dtype = view.storage.dtype
    if dtype not in DTYPE_SIZES:
        raise ModelFileError(
            f"{name} in {path} is stored as {dtype}; only bfloat16, float16 and float32 weights "
            "can be converted."
        )
    if view.strides != _contiguous(view.shape) and math.prod(view.shape) > 1:
        raise ModelFileError(f"{name} in {path} is a strided view. Save it again as safetensors.")
    item = DTYPE_SIZES[dtype]
    end = (view.offset + math.prod(view.shape)) * item
    if member.compress_type != zipfile.ZIP_STORED or end > member.file_size:
        raise _damaged(path, f"the storage of {name} is too short or compressed")
    start = _data_start(file, member)
    return StoredTensor(name, dtype, view.shape, path, start + view.offset * item)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _data_start(file: io.BufferedReader, member: zipfile.ZipInfo) -> int:
    """The member's first byte: its local header has a name and padding of its own length."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    return int(member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes)


def _why_no_zip(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(40)
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is only a Git LFS pointer. Fetch the real file (`git lfs pull`)."
    if start.startswith(b"PK"):
        return f"{path} is truncated: the end of the archive is missing. Download it again."
    return (
        f"{path} is not a PyTorch archive (or one older than PyTorch 1.6). "
        "Download it again, or save it as safetensors."
    )


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{path} is damaged: {why}. Download the checkpoint again.")

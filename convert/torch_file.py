"""Reads pytorch_model.bin without torch, and without running anything that is in it.

The file is a zip archive whose members are stored, not compressed:

    NAME/data.pkl    a pickle: a dictionary from tensor name to "rebuild a tensor from storage
                     KEY, at this offset, with this shape and these strides"
    NAME/data/KEY    the raw bytes of one storage
    NAME/byteorder   "little" or "big"
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path

from convert.tensor import DTYPE_SIZES, StoredTensor
from convert.torch_pickle import RefusedError, TensorView, load_views
from convert.untrusted import brief
from duplex_local.errors import ModelFileError

__all__ = ["read_torch_file"]

# A real data.pkl has some 150 bytes for each tensor; a bigger one is an attempt on our memory.
MAX_PICKLE_BYTES = 4 * 1024 * 1024
_MAX_BYTEORDER_BYTES = 16
_LOCAL_HEADER_BYTES = 30


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
    except (
        *(OSError, EOFError, KeyError, ValueError, OverflowError),
        *(NotImplementedError, RuntimeError, struct.error),
    ) as error:
        raise _damaged(path, str(error)[:200]) from None


def _read_archive(
    path: Path, archive: zipfile.ZipFile, file: io.BufferedReader
) -> dict[str, StoredTensor]:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _damaged(path, "it holds no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    members = {info.filename: info for info in archive.infolist()}
    order = members.get(folder + "byteorder")
    if order and _read_small(path, archive, order, _MAX_BYTEORDER_BYTES).strip() != b"little":
        raise ModelFileError(f"{path} is big-endian. Save it again as safetensors.")
    views = _load_views(path, _read_small(path, archive, members[pickles[0]], MAX_PICKLE_BYTES))
    tensors = {}
    for name, view in views.items():
        member = members.get(f"{folder}data/{view.storage.key}")
        if member is None:
            raise _damaged(path, f"the bytes of {name} are missing")
        tensors[name] = _place(path, file, name, view, member)
    return tensors


def _read_small(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int
) -> bytes:
    """PyTorch never compresses, so neither a bomb nor a damaged stream is ever unpacked."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise _damaged(path, f"{brief(member.filename)} in it is compressed")
    if max(member.file_size, member.compress_size) > max_bytes:
        raise _damaged(path, f"{brief(member.filename)} in it is far too large")
    return archive.read(member)


def _load_views(path: Path, data: bytes) -> dict[str, TensorView]:
    try:
        return load_views(data)
    except RefusedError as error:
        raise ModelFileError(
            f"{path} asks for {error}, which no tensor needs: nothing was run. "
            "Do not trust this file; get the checkpoint from its publisher."
        ) from None


def _place(
    path: Path, file: io.BufferedReader, name: str, view: TensorView, member: zipfile.ZipInfo
) -> StoredTensor:
    """Where the bytes of `view` lie in the file."""
    dtype = view.storage.dtype
    if dtype not in DTYPE_SIZES:
        raise ModelFileError(
            f"{name} in {path} is stored as {dtype[:80]}; only bfloat16, float16 and float32 "
            "weights can be converted."
        )
    if view.strides != _contiguous(view.shape) and math.prod(view.shape) > 1:
        raise ModelFileError(f"{name} in {path} is a strided view. Save it again as safetensors.")
    item = DTYPE_SIZES[dtype]
    end = (view.offset + math.prod(view.shape)) * item
    if member.compress_type != zipfile.ZIP_STORED or end > member.file_size:
        raise _damaged(path, f"the storage of {name} is too short or compressed")
    start = _data_start(file, member)
    if start + end > file.seek(0, io.SEEK_END):
        raise _damaged(path, f"it is truncated, {name} is not all there")
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

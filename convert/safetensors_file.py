"""Reads model.safetensors: 8 bytes of header length, a JSON header, then the raw bytes.

Read here rather than by the safetensors package, whose numpy side knows no bfloat16 and hands
out whole tensors; we copy bit patterns in pieces.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from convert.tensor import DTYPE_SIZES, StoredTensor
from convert.untrusted import MAX_DIMENSIONS, MAX_JSON_BYTES, natural, parse_json
from duplex_local.errors import ModelFileError

__all__ = ["read_safetensors_file"]


def read_safetensors_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name. Their bytes are not read yet.

    Raises:
        ModelFileError: when the file is damaged or holds a dtype we do not convert.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if header_bytes > size_bytes - 8:
                raise ModelFileError(_why_no_header(path))
            if header_bytes > MAX_JSON_BYTES:
                raise _damaged(path, "its header is far too large")
            header = parse_json(file.read(header_bytes))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table of tensors")
    header.pop("__metadata__", None)
    data_start = 8 + header_bytes
    return {
        name: _place(path, name, entry, data_start, size_bytes) for name, entry in header.items()
    }


def _place(path: Path, name: str, entry: Any, data_start: int, size_bytes: int) -> StoredTensor:
    try:
        dtype, shape = entry["dtype"], tuple(natural(n) for n in entry["shape"])
        begin, end = (natural(n) for n in entry["data_offsets"])
        if not isinstance(dtype, str) or len(shape) > MAX_DIMENSIONS:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, f"its header describes {name} wrongly") from None
    if dtype not in DTYPE_SIZES:
        raise ModelFileError(
            f"{name} in {path} is stored as {dtype}; only BF16, F16 and F32 weights can be "
            "converted."
        )
    expected = math.prod(shape) * DTYPE_SIZES[dtype]
    if end - begin != expected:
        raise _damaged(path, f"its header describes {name} wrongly")
    if data_start + end > size_bytes:
        missing = data_start + end - size_bytes
        raise _damaged(path, f"it is truncated, {name} lacks {missing} bytes")
    return StoredTensor(name, dtype, shape, path, data_start + begin)


def _why_no_header(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(23) == b"version https://git-lfs":
            return f"{path} is only a Git LFS pointer. Fetch the real file (`git lfs pull`)."
    return f"{path} is no safetensors file or is truncated. Download the checkpoint again."


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{path} is damaged: {why}. Download the checkpoint again.")

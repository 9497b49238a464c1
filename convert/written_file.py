"""Reads a GGUF back: metadata, and tensors row by row as float32.

The gguf package's reader needs 350 MB and 5 s for a vocabulary of 122,760 tokens, maps the whole
file, and answers a damaged file with whatever exception comes up. This one keeps to what is
written there, in plain Python values, and checks every length against the file's size.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np

from convert.tensor import Array
from duplex_local.errors import ModelFileError

__all__ = ["WrittenFile", "WrittenTensor", "read_gguf"]

MAX_ENTRIES = 100_000  # metadata keys, tensors; a MiniCPM file has 25 and 362
MAX_DIMENSIONS = 4
STRING, ARRAY = 8, 9
# GGUF's value types by number, as struct writes them.
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))


@dataclass(frozen=True)
class WrittenTensor:
    """One tensor of a GGUF. `shape` is numpy's: (rows, columns)."""

    name: str
    type: gguf.GGMLQuantizationType
    shape: tuple[int, ...]
    path: Path
    offset: int  # bytes

    @property
    def _row_bytes(self) -> int:
        n_values, n_bytes = gguf.GGML_QUANT_SIZES[self.type]
        return int(self.shape[-1] // n_values * n_bytes)

    @property
    def n_rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def size_bytes(self) -> int:
        return self.n_rows * self._row_bytes

    def stored(self, start: int, stop: int) -> Array:
        """The bytes of rows `start` to `stop`, (stop - start, bytes); a vector is one row.

        Raises:
            ModelFileError: when the file cannot be read, or is not any more what it was.
        """
        count = (stop - start) * self._row_bytes
        try:
            stored = np.fromfile(
                self.path, np.uint8, count=count, offset=self.offset + start * self._row_bytes
            )
        except OSError as error:
            raise ModelFileError(
                f"Cannot read {self.name} from {self.path}: {error.strerror}. Check the disk."
            ) from None
        if stored.size != count:
            raise ModelFileError(
                f"{self.path} became shorter while it was read. Do not write it and verify it at "
                "the same time."
            )
        return stored.reshape(stop - start, self._row_bytes)

    def rows(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop` as float32, (stop - start, columns).

        Raises:
            ModelFileError: as `stored`.
        """
        # Broken scale factors may overflow; what comes of it is looked at by the caller.
        with np.errstate(all="ignore"):
            values: Array = gguf.quants.dequantize(self.stored(start, stop), self.type)
        return values.astype(np.float32, copy=False)


@dataclass(frozen=True)
class WrittenFile:
    """What a GGUF says of itself. Arrays of numbers are numpy arrays, texts are `str`."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, WrittenTensor]


def read_gguf(path: Path) -> WrittenFile:
    """Read the header of the GGUF at `path`; the tensors' bytes must be there, but are not read.

    Raises:
        ModelFileError: when it is missing, no GGUF, damaged or truncated.
    """
    try:
        if not path.is_file():
            raise ModelFileError(f"There is no file {path}. Give a GGUF made by `make convert`.")
        with path.open("rb") as file:
            return _Parser(path, file).parse()
    except OSError as error:
        raise ModelFileError(
            f"Cannot read {path}: {error.strerror}. Check the disk and the file's permissions."
        ) from None
    except (ValueError, struct.error) as error:  # a UnicodeError is a ValueError
        raise ModelFileError(
            f"{path} is no usable GGUF file: {str(error)[:200]}. Make it again with `make convert`."
        ) from None


class _Parser:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size_bytes = os.fstat(file.fileno()).st_size

    def parse(self) -> WrittenFile:
        if self._file.read(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, n_tensors, n_keys = self._numbers("IQQ")
        if version not in (2, 3):
            raise ValueError(f"its version is {version}, not 3")
        if max(n_tensors, n_keys) > MAX_ENTRIES:
            raise ValueError("its header has impossible counts")
        metadata = {}
        for _ in range(n_keys):
            key = self._text()
            metadata[key] = self._value(self._numbers("I")[0])
        infos = [self._tensor_info() for _ in range(n_tensors)]
        return WrittenFile(self._path, metadata, self._tensors(metadata, infos))

    def _bytes(self, count: int) -> bytes:
        if count > self._size_bytes - self._file.tell():
            raise ValueError("it is truncated: it ends in the middle of its header")
        return self._file.read(count)

    def _numbers(self, form: str) -> tuple[Any, ...]:
        form = "<" + form
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def _text(self) -> str:
        return self._bytes(self._numbers("Q")[0]).decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind in _SCALARS:
            return self._numbers(_SCALARS[kind])[0]
        if kind != ARRAY:
            raise ValueError(f"a value of its metadata has the unknown type {kind}")
        of, count = self._numbers("IQ")
        if of in _SCALARS:
            dtype = np.dtype(_SCALARS[of]).newbyteorder("<")
            return np.frombuffer(self._bytes(count * dtype.itemsize), dtype)
        if of != STRING or count > self._size_bytes:
            raise ValueError("it holds an array that cannot be read")
        return [self._text() for _ in range(count)]

    def _tensor_info(self) -> tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]:
        name = self._text()
        (n_dimensions,) = self._numbers("I")
        if not 1 <= n_dimensions <= MAX_DIMENSIONS:
            raise ValueError(f"its tensor {name[:80]} has {n_dimensions} dimensions")
        shape = self._numbers(f"{n_dimensions}Q")[::-1]
        kind, offset = self._numbers("IQ")
        type_ = gguf.GGMLQuantizationType(kind)
        if not all(shape) or shape[-1] % gguf.GGML_QUANT_SIZES[type_][0]:
            raise ValueError(f"its tensor {name[:80]} has an impossible shape")
        return name, shape, type_, offset

    def _tensors(
        self,
        metadata: dict[str, Any],
        infos: list[tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]],
    ) -> dict[str, WrittenTensor]:
        alignment = metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError("its alignment is no number")
        start = -(-self._file.tell() // alignment) * alignment
        tensors: dict[str, WrittenTensor] = {}
        for name, shape, type_, offset in infos:
            tensor = WrittenTensor(name, type_, shape, self._path, start + offset)
            end = tensor.offset + tensor.size_bytes
            if end > self._size_bytes:
                raise ValueError(
                    f"it is truncated: it has {self._size_bytes} bytes, but {name[:80]} ends at "
                    f"byte {end}"
                )
            if name in tensors:
                raise ValueError(f"it has the tensor {name[:80]} twice")
            tensors[name] = tensor
        return tensors

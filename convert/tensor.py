"""One tensor in a checkpoint file: where its bytes lie, and how to read them piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from duplex_local.errors import ModelFileError

__all__ = ["DTYPE_SIZES", "Array", "StoredTensor", "as_bf16", "as_f32", "same_content"]

Array = npt.NDArray[Any]

# The dtypes we convert. BF16 has no numpy type: its bit patterns travel as uint16.
DTYPE_SIZES = {"BF16": 2, "F16": 2, "F32": 4}
_NUMPY_TYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}

# Bytes held at once while a tensor is copied. A 2.4 B model's embedding is 540 MB.
CHUNK_BYTES = 16 * 1024 * 1024
# Plain copies go through a buffer that stays in the processor's cache.
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StoredTensor:
    """A contiguous little-endian row-major tensor at `offset` bytes in `path`."""

    name: str
    dtype: str  # a key of DTYPE_SIZES
    shape: tuple[int, ...]
    path: Path
    offset: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * DTYPE_SIZES[self.dtype]

    def read(self) -> Array:
        """The whole tensor; BF16 as uint16 bit patterns."""
        return self._read_values(0, math.prod(self.shape)).reshape(self.shape)

    def rows(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop` of the first dimension; BF16 as uint16 bit patterns."""
        row = math.prod(self.shape[1:])
        values = self._read_values(start * row, (stop - start) * row)
        return values.reshape(stop - start, *self.shape[1:])

    def chunks(self) -> Iterator[Array]:
        """The values in order, flat, at most CHUNK_BYTES at a time."""
        n_values = math.prod(self.shape)
        step = CHUNK_BYTES // DTYPE_SIZES[self.dtype]
        for start in range(0, n_values, step):
            yield self._read_values(start, min(step, n_values - start))

    def raw(self) -> Iterator[memoryview]:
        """The stored bytes in order. A piece is valid only until the next one is asked for.

        Raises:
            ModelFileError: when the file cannot be read to the tensor's end.
        """
        buffer = memoryview(bytearray(min(COPY_BYTES, self.size_bytes)))
        left = self.size_bytes
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                while left:
                    count = file.readinto(buffer[:left])
                    if not count:
                        raise self._ends_early()
                    left -= count
                    yield buffer[:count]
        except OSError as error:
            raise self._unreadable(error) from None

    def _read_values(self, start: int, count: int) -> Array:
        dtype = np.dtype(_NUMPY_TYPES[self.dtype])
        offset = self.offset + start * dtype.itemsize
        try:
            values = np.fromfile(self.path, dtype=dtype, count=count, offset=offset)
        except OSError as error:
            raise self._unreadable(error) from None
        if values.size != count:
            raise self._ends_early()
        return values

    def _unreadable(self, error: OSError) -> ModelFileError:
        return ModelFileError(
            f"Cannot read {self.name} from {self.path}: {error.strerror}. "
            "Check the disk, or download the checkpoint again."
        )

    def _ends_early(self) -> ModelFileError:
        return ModelFileError(
            f"{self.path} ends in the middle of {self.name}. Download the checkpoint again."
        )


def as_f32(values: Array, dtype: str) -> Array:
    """Values as read from a tensor of `dtype`, in float32. Exact for every dtype we take."""
    if dtype == "BF16":
        bits = values.astype(np.uint32)
        bits <<= 16  # in place: half of the time is spent in memory
        return bits.view(np.float32)
    return values.astype(np.float32, copy=False)


def as_bf16(values: Array, dtype: str) -> Array:
    """Values as read from a tensor of `dtype`, as BF16 bytes: a copy when they are BF16."""
    if dtype == "BF16":
        return values
    quantized: Array = gguf.quants.quantize(as_f32(values, dtype), gguf.GGMLQuantizationType.BF16)
    return quantized


def same_content(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors hold the same bits. Tied tensors often share their bytes."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if (one.path, one.offset) == (other.path, other.offset):
        return True
    pairs = zip(one.chunks(), other.chunks(), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)

"""SHA-256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["sha256_of"]

_PIECE_BYTES = 1024 * 1024


def sha256_of(path: Path) -> str:
    """The digest of the file at `path`, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(_PIECE_BYTES))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()

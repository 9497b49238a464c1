"""SHA-256 of a file, or of one while it is being written: reading that again would take as long."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["FileDigest", "sha256_of"]

_PIECE_BYTES = 1024 * 1024
_WAIT_S = 0.02


def sha256_of(path: Path) -> str:
    """The digest of a complete file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_PIECE_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class FileDigest:
    """Follows a file that only grows; leaving the `with` block says that it is complete.

    The thread that writes must never change what it has written, and have flushed when the block
    is left. An error inside the block ends the following. What is left to do then, having the
    system write the file to the disk, too, goes on until `hexdigest` waits for it: the disk is idle
    while the file is proved.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._error: OSError | None = None
        # Set by the writing side: nothing will be added. `_stop`: nor is the result wanted.
        self._complete, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)

    def __enter__(self) -> FileDigest:
        self._path.touch()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stop.set()
        self._complete.set()
        if error is not None:
            self._thread.join()

    def hexdigest(self) -> str:
        """The digest of the whole file, which is then on the disk.

        Raises:
            OSError: when it could not be read or written.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()

    def _run(self) -> None:
        buffer = memoryview(bytearray(_PIECE_BYTES))
        try:
            with self._path.open("rb+", buffering=0) as file:
                while not self._stop.is_set():
                    # Asked before reading: what was complete then is all there to read.
                    complete = self._complete.is_set()
                    count = file.readinto(buffer)
                    self._sha256.update(buffer[:count])
                    if count == 0:
                        if complete:
                            os.fsync(file.fileno())
                            return
                        self._complete.wait(_WAIT_S)
        except OSError as error:
            self._error = error

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from convert.digest import FileDigest


def test_a_file_that_grows_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    pieces = [bytes([i]) * 700_001 for i in range(5)]
    with FileDigest(path) as digest, path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            file.flush()
    assert digest.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_an_empty_file(tmp_path: Path) -> None:
    with FileDigest(tmp_path / "file") as digest:
        pass
    assert digest.hexdigest() == hashlib.sha256(b"").hexdigest()


def test_an_error_while_writing_ends_the_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), FileDigest(tmp_path / "file"):
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OSError), FileDigest(tmp_path / "no folder" / "file"):
        pass


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with FileDigest(tmp_path / "folder") as digest:
        pass
    with pytest.raises(OSError):
        digest.hexdigest()

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from convert.background import in_background
from convert.digest import sha256_of


def test_a_result_and_an_error_arrive() -> None:
    assert in_background(lambda: 6 * 7).result() == 42
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0).result()


def test_nobody_waits_for_it_at_the_end() -> None:
    assert in_background(lambda: threading.current_thread().daemon).result()


@pytest.mark.parametrize("size_bytes", [0, 5, 3_000_001])
def test_sha256(size_bytes: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size_bytes // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size_bytes])
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content[:size_bytes]).hexdigest()

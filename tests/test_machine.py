from __future__ import annotations

import os
from pathlib import Path

from duplex_local.machine import default_threads, physical_cores


def test_there_are_no_more_cores_than_the_system_counts() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_a_very_small_model_gets_one_thread(tmp_path: Path) -> None:
    small, large = tmp_path / "small.gguf", tmp_path / "large.gguf"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(100 * 2**20)  # sparse
    assert default_threads(small) == 1
    assert default_threads(large) == physical_cores()

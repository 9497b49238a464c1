from __future__ import annotations

import os
from pathlib import Path

from duplex_local.machine import (
    _container_limits,
    default_threads,
    peak_rss_bytes,
    physical_cores,
    total_memory_bytes,
)


def test_there_are_no_more_cores_than_the_system_counts() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_a_very_small_model_gets_one_thread(tmp_path: Path) -> None:
    small, large = tmp_path / "small.gguf", tmp_path / "large.gguf"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(100 * 2**20)  # sparse
    assert default_threads(small) == 1
    assert default_threads(large) == physical_cores()


def test_memory_is_within_reason() -> None:
    total, peak = total_memory_bytes(), peak_rss_bytes()
    assert total is None or 2**28 < total < 2**50
    assert peak is None or 2**22 < peak < 2**40


def test_only_a_limit_that_is_a_number_limits(tmp_path: Path) -> None:
    for name, text in (("none", "max\n"), ("two", "2147483648\n"), ("empty", "")):
        (tmp_path / name).write_text(text)
    files = [tmp_path / name for name in ("none", "two", "empty", "absent")]
    assert _container_limits(files) == [2**31]

"""The whole line at once: the demo model, the real engine, the real page, a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.page import agree, find_chromium

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "models/demo-Q8_0.gguf"

needs_page = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
needs_demo = pytest.mark.skipif(not DEMO.is_file(), reason="no demo model here; make test makes it")


@needs_page
@needs_demo
def test_page_and_memory_agree_after_every_interruption() -> None:
    arguments = ["-m", "benchmarks.page", "--rounds", "3", "--json", "-"]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["stop_ms"]) == 3
    assert result["n_unequal"] == 0 and result["requests_outside"] == []
    assert result["n_unanswered"] == 0


def test_page_and_memory_may_differ_only_where_the_window_slid() -> None:
    memory = {0: ("hi", "a"), 5: ("", "b"), 6: ("no", "c")}
    assert agree(memory, memory)
    assert agree({**memory, 2: ("old", "x")}, memory)
    assert not agree({**memory, 7: ("", "x")}, memory)
    assert not agree({**memory, 6: ("no", "cd")}, memory)
    assert not agree({0: ("hi", "a")}, memory)
    assert agree({}, {})

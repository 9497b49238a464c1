"""What the engine needs to know of the machine it runs on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

__all__ = ["default_threads", "physical_cores"]

_ONE_THREAD_BYTES = 64 * 2**20


def physical_cores() -> int:
    """Cores, not hardware threads: more threads than cores slow llama.cpp down badly."""
    if platform.system() == "Darwin":
        names = ("hw.perflevel0.physicalcpu", "hw.physicalcpu")
        for name in names:  # performance cores first; older machines know only the second
            done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True)
            if done.returncode == 0:
                return int(done.stdout)
    try:
        usable = os.sched_getaffinity(0)
        folder = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        return len({Path(folder.format(cpu)).read_text() for cpu in usable})
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def default_threads(model: Path) -> int:
    """Threads for `model`: all cores, or one where handing work over costs more than the work.

    With a model of a few megabytes a second thread gains nothing, and on a busy machine, where
    one waits for the other at every node of the graph, loses a factor of 20 (docs/log.md).
    """
    return 1 if model.stat().st_size < _ONE_THREAD_BYTES else physical_cores()

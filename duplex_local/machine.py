"""What the engine needs to know of the machine it runs on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "default_threads",
    "maxrss_bytes",
    "peak_rss_bytes",
    "physical_cores",
    "total_memory_bytes",
]

_ONE_THREAD_BYTES = 64 * 2**20
_CGROUP_LIMITS = (  # version 2, version 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


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


def total_memory_bytes() -> int | None:
    """Memory of this machine, or of this container when it may use less; None: it does not say."""
    if platform.system() == "Darwin":
        done = subprocess.run(["sysctl", "-n", "hw.memsize"], capture_output=True, text=True)
        return int(done.stdout) if done.returncode == 0 else None
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    return min([total, *_container_limits(_CGROUP_LIMITS)])


def _container_limits(files: Iterable[Path]) -> list[int]:
    """Limits that are set; "max" and a missing file are none."""
    limits = []
    for file in files:
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):
            continue
    return limits


def peak_rss_bytes() -> int | None:
    """The most memory this process has held, mapped files included; None: it does not say.

    Not getrusage on Linux: there a new process starts with its parent's peak.
    """
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else None
    except OSError:
        pass  # no Linux
    try:
        import resource
    except ImportError:  # Windows
        return None
    return maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def maxrss_bytes(ru_maxrss: int) -> int:
    """What the system says of a process's peak memory, which macOS counts in bytes."""
    return ru_maxrss if sys.platform == "darwin" else ru_maxrss * 1024

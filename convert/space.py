"""Is there room on the disk? Asked before the first byte is downloaded or written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from duplex_local.errors import ModelFileError

__all__ = ["Need", "check_room"]


@dataclass(frozen=True)
class Need:
    """What will be written to `folder`, which need not exist yet."""

    what: str
    folder: Path
    size_bytes: int


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def check_room(needs: Sequence[Need], free_bytes: Callable[[Path], int] = _free_bytes) -> str:
    """The figures in one line: what is needed, and what is free on each disk.

    Raises:
        ModelFileError: when a disk has less free than is needed on it; says the same figures.
    """
    by_disk: dict[int, list[Need]] = {}
    for need in needs:
        by_disk.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    lines = []
    for group in by_disk.values():
        free = free_bytes(_existing(group[0].folder))
        figures = ", ".join(f"{need.what} {need.size_bytes / 1e9:.1f} GB" for need in group)
        lines.append(f"{figures} ({free / 1e9:.1f} GB free in {group[0].folder})")
        if sum(need.size_bytes for need in group) > free:
            raise ModelFileError(
                f"Not enough room on the disk. Needed are: {lines[-1]}. Free some space, or choose "
                "another disk: --out for the results, HF_HOME for the download."
            )
    return "; ".join(lines)


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())

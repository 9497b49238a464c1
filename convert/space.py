"""Where a conversion writes: is there room on the disk, and the hidden folder for what is not done.

A conversion holds a lock on the file `lock` in its hidden folder for as long as it lives. The
system frees it even after `kill -9`, so a folder whose lock is free belongs to nobody.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

from duplex_local.errors import BackendError, ConfigError, ModelFileError

__all__ = ["Need", "check_room", "remove_abandoned", "staging_folder"]

_PREFIX = ".convert-"


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


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A hidden folder in `out`, removed at the end; so is `out` if we made it and it is empty.

    Raises:
        ConfigError: when the folder cannot be made.
        BackendError: when the caller cannot write in it.
    """
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging, lock = _locked_folder(out)
    except OSError as error:
        _remove_empty(created)
        raise ConfigError(
            f"Cannot write to {out}: {error.strerror}. Choose another folder with --out."
        ) from None
    try:
        yield staging
    except BrokenPipeError:
        raise  # nobody reads what we print; the disk is well
    except OSError as error:
        raise BackendError(
            f"Cannot write in {out}: {error.strerror}. Free some space or choose another --out."
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        _remove_empty(created)


def remove_abandoned(out: Path) -> None:
    """Remove the hidden folders in `out` of conversions that were killed.

    Without locks (Windows, some network disks) nobody can tell, and they stay.
    """
    for folder in out.glob(f"{_PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        try:
            lock = _lock(folder)
        except OSError:
            continue  # held by a running conversion, or not ours
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked_folder(out: Path) -> tuple[Path, int | None]:
    """A new hidden folder in `out` and its lock, None where there are no locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=out))
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another conversion took the folder for abandoned before we had its lock
        except OSError:
            return folder, None
        if lock is None or _is_at(lock, folder / "lock"):
            return folder, lock
        os.close(lock)  # the same, and it has removed the file meanwhile


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of `folder` until it is closed; None on Windows.

    Raises:
        BlockingIOError: when another process holds it.
        OSError: when the folder is gone or the disk has no locks.
    """
    if sys.platform == "win32":
        return None
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file `descriptor`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove `folders`, innermost first, as far as they are there and empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return

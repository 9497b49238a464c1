"""The part of benchmarks.fullsize that times converting, against a copy and llama.cpp's way."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.reference_converter import ReferenceConverter
from convert.quants import BF16
from duplex_local.errors import BackendError

__all__ = ["Converted", "Reference", "time_converting"]


@dataclass(frozen=True)
class Reference:
    """The same by llama.cpp's converter, which proves nothing and leaves the disk its time."""

    seconds: float
    vs: float  # our seconds / its seconds, median
    vs_worst: float
    written_vs: float  # what we need to write / its seconds, median
    peak_rss_bytes: int


@dataclass(frozen=True)
class Converted:
    """Checkpoint to BF16 by `python -m convert`, the whole command, against a plain copy.

    Seconds are medians; written and proved are parts of all.
    """

    size_bytes: int
    seconds: float
    seconds_worst: float
    written_seconds: float
    proved_seconds: float
    copy_seconds: float
    vs_copy: float
    vs_copy_worst: float
    python_peak_rss_bytes: int | None
    llama_peak_rss_bytes: int | None
    reference: Reference | None = None


@dataclass(frozen=True)
class _Turn:
    copy_seconds: float
    result: dict[str, Any]  # of our command
    reference: tuple[float, int] | None  # seconds, peak memory


def time_converting(
    checkpoint: Path, bf16: Path, n: int, reference: ReferenceConverter | None = None
) -> Converted:
    """Copying, `reference` and our command take `n` turns; leaves our file at `bf16`."""
    turns = [
        _turn(checkpoint, bf16, reference)
        for _ in tqdm(range(n), desc="converting", leave=False, disable=None)
    ]
    results = [turn.result for turn in turns]
    seconds = [result["seconds"] for result in results]
    files = [result["files"][0] for result in results]
    copies = [turn.copy_seconds for turn in turns]
    ratios = [ours / copy for ours, copy in zip(seconds, copies, strict=True)]
    theirs = [turn.reference for turn in turns if turn.reference is not None]
    return Converted(
        bf16.stat().st_size,
        statistics.median(seconds),
        max(seconds),
        statistics.median(file["written_seconds"] for file in files),
        statistics.median(file["proved_seconds"] for file in files),
        statistics.median(copies),
        statistics.median(ratios),
        max(ratios),
        _largest(result["python_peak_rss_bytes"] for result in results),
        _largest(result["llama_peak_rss_bytes"] for result in results),
        _against(results, theirs) if theirs else None,
    )


def _turn(checkpoint: Path, bf16: Path, reference: ReferenceConverter | None) -> _Turn:
    """Every one begins with nothing left to write from the one before."""
    bf16.unlink(missing_ok=True)
    other = bf16.with_suffix(".other")
    start_s = time.perf_counter()
    shutil.copyfile(checkpoint / "model.safetensors", other)
    _settle(other)  # a converted file is on the disk, too
    copy_seconds = time.perf_counter() - start_s
    other.unlink()
    found = None
    if reference is not None:
        found = reference.convert(checkpoint, other)
        _settle(other)
        other.unlink()
    result = _run_convert(checkpoint, bf16.parent / "converted")
    os.replace(result["files"][0]["path"], bf16)
    return _Turn(copy_seconds, result, found)


def _settle(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _against(results: list[dict[str, Any]], theirs: list[tuple[float, int]]) -> Reference:
    seconds = [seconds for seconds, _ in theirs]
    pairs = list(zip(results, seconds, strict=True))
    ratios = [ours["seconds"] / other for ours, other in pairs]
    return Reference(
        statistics.median(seconds),
        statistics.median(ratios),
        max(ratios),
        statistics.median(ours["files"][0]["written_seconds"] / other for ours, other in pairs),
        max(peak for _, peak in theirs),
    )


def _run_convert(checkpoint: Path, out: Path) -> dict[str, Any]:
    """The command, as a user runs it."""
    arguments = [str(checkpoint), "--quant", BF16, "--out", str(out), "--json", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "convert", *arguments],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode != 0:
        raise BackendError(f"python -m convert failed: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)

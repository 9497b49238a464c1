"""A disk that takes nothing, or not all. Root may write anywhere, and CI runs as root: so a folder
in which nobody can, and a limit for the size of files that even root's writes meet.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convert.cli import main
from tests.convert.tiny import write_tiny_checkpoint

READ_ONLY = [folder for folder in (Path("/sys"), Path("/System")) if folder.is_dir()]


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Writing beyond that fails, here and in child processes: Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def failed(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, out: Path, quant: str = "Q8_0"
) -> str:
    """The one line; nothing is left behind."""
    assert main([str(checkpoint), "--out", str(out), "--quant", quant]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and not out.exists()
    return line


@pytest.mark.skipif(not READ_ONLY, reason="no folder is known that is read-only for everyone")
def test_out_is_read_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    assert "Cannot write to" in failed(capsys, checkpoint, READ_ONLY[0] / "duplex-local" / "out")


@pytest.mark.parametrize("size_bytes", [0, 5_000, 100_000])
def test_the_disk_is_full_while_the_weights_are_written(
    size_bytes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    with largest_file(size_bytes):
        line = failed(capsys, checkpoint, tmp_path / "out")
    assert "Cannot write in" in line and "File too large" in line and "Free some space" in line


def test_the_disk_is_full_while_llama_cpp_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F32 is twice as large as the BF16 it is made from."""
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", hidden=256, feed_forward=512)
    with largest_file(3_000_000):
        line = failed(capsys, checkpoint, tmp_path / "out", "F32")
    assert "llama.cpp" in line and "disk space" in line


def test_the_disk_is_full_while_logits_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", hidden=16, feed_forward=16)
    assert main([str(checkpoint), "--out", str(tmp_path / "good"), "--quant", "BF16"]) == 0
    size_bytes = (tmp_path / "good" / "tiny-BF16.gguf").stat().st_size
    assert size_bytes < 48 * 462 * 4, "the logits are larger than the file"
    capsys.readouterr()
    with largest_file(size_bytes):
        line = failed(capsys, checkpoint, tmp_path / "out", "BF16")
    assert "llama.cpp failed to evaluate" in line and "disk space" in line

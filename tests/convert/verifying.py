"""What the tests of verification share."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.cli import main

__all__ = ["QUANTS", "WIDE", "Files", "complaint"]

WIDE = {"hidden": 256, "feed_forward": 512, "n_heads": 4, "n_kv_heads": 2}
QUANTS = ("BF16", "Q8_0", "Q4_K_M")
Files = tuple[Path, dict[str, Path]]  # the checkpoint, its files by quantization


def complaint(
    capsys: pytest.CaptureFixture[str], path: Path, against: Path | None = None
) -> tuple[str, str]:
    """The table and the one line with which `--verify` fails; no file is touched."""
    capsys.readouterr()
    before = path.read_bytes() if path.is_file() else b""
    options = [] if against is None else ["--against", str(against)]
    assert main(["--verify", str(path), *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ")
    assert str(path) in captured.err
    assert (path.read_bytes() if path.is_file() else b"") == before
    return captured.out, captured.err

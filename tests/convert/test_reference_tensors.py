"""Every tensor is byte for byte the one that llama.cpp's own converter writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.cli import main
from tests.convert.reference_tensors import (
    CASES,
    GOLDEN,
    stored_tensors,
    tensors_of,
    write_checkpoint,
)


def converted(checkpoint: Path, out: Path) -> dict[str, str]:
    assert main([str(checkpoint), "--quant", "BF16", "--out", str(out), "--name", "x"]) == 0
    return tensors_of(out / "x-BF16.gguf")


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_made_here(case: str, tmp_path: Path) -> None:
    tensors = converted(write_checkpoint(case, tmp_path / "checkpoint"), tmp_path)
    assert tensors == stored_tensors(case) and "output.weight" in tensors


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference data (../shared/golden) is not here")
def test_the_golden_checkpoint(tmp_path: Path) -> None:
    tensors = converted(GOLDEN, tmp_path)
    assert tensors == stored_tensors("golden") and "output.weight" not in tensors

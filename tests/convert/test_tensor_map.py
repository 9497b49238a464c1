"""What becomes of an output matrix that differs from the embedding."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from convert.cli import main
from tests.convert.tiny import write_tiny_checkpoint


def names_in(path: Path) -> set[str]:
    return {tensor.name for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("tied", [None, False, True])
def test_an_output_matrix_of_its_own(
    tied: bool | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The original has one matrix for both when config.json ties them, whatever was stored."""
    config = {"tie_word_embeddings": tied}
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", tied=False, config=config)
    options = [str(checkpoint), "--out", str(tmp_path), "--quant", "BF16"]
    assert main(options) == 0
    said = capsys.readouterr().out
    assert ("output.weight" in names_in(tmp_path / "tiny-BF16.gguf")) == (tied is not True)
    note = "lm_head.weight differs from model.embed_tokens.weight and is left out"
    assert (note in said) == (tied is True)
    verify = ["--verify", str(tmp_path / "tiny-BF16.gguf"), "--against", str(checkpoint)]
    assert main(verify) == 0
    assert (note in capsys.readouterr().out) == (tied is True)


def test_equal_ones_are_one_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", config={"tie_word_embeddings": True})
    assert main([str(checkpoint), "--out", str(tmp_path), "--quant", "BF16"]) == 0
    assert "output.weight" not in names_in(tmp_path / "tiny-BF16.gguf")
    assert "differs" not in capsys.readouterr().out

"""Good files of one checkpoint, for the tests of verification.

The checkpoint's widths are multiples of 256, so that Q4_K_M really is Q4_K.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from convert.cli import main
from convert.llama_process import LlamaProcess
from tests.convert.tiny import write_tiny_checkpoint
from tests.convert.verifying import QUANTS, WIDE, Files


@pytest.fixture(scope="session")
def _child() -> Iterator[LlamaProcess]:
    with LlamaProcess() as llama:
        yield llama


@pytest.fixture
def one_child(_child: LlamaProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """One llama.cpp for all `--verify`: a child takes longer to start than to do its work."""
    monkeypatch.setattr("convert.verify_command.LlamaProcess", lambda: nullcontext(_child))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The checkpoint and its good files by quantization."""
    folder = tmp_path_factory.mktemp("verify")
    checkpoint = write_tiny_checkpoint(folder / "wide", **WIDE)  # type: ignore[arg-type]
    assert main([str(checkpoint), "--out", str(folder), "--quant", *QUANTS]) == 0
    return checkpoint, {quant: folder / f"wide-{quant}.gguf" for quant in QUANTS}

"""What several tests share. Reference data stands beside the checkout, never inside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.cli import main as convert_main
from duplex_local.config import EngineConfig
from duplex_local.engine import Engine
from duplex_local.tokenizer import Tokenizer
from tests.convert.tiny import write_tiny_checkpoint
from tests.vocab import letter_tokenizer

SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data."""
    if not SHARED.is_dir():
        pytest.skip("the reference data (../shared) is not beside this checkout")
    return SHARED


@pytest.fixture
def tokenizer() -> Tokenizer:
    return letter_tokenizer()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MiniCPM of two layers, as F32 GGUF."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder / "tiny")
    assert convert_main([str(folder / "tiny"), "--quant", "F32", "--out", str(folder)]) == 0
    return folder / "tiny-F32.gguf"


@pytest.fixture
def engine(tiny_gguf: Path) -> Iterator[Engine]:
    with Engine(EngineConfig(model=tiny_gguf, n_ctx=512, n_sessions=2, n_threads=1)) as engine:
        yield engine

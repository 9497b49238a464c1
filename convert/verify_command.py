"""`python -m convert --verify GGUF [--against CHECKPOINT]`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from convert.checkpoint import find_checkpoint
from convert.llama_process import LlamaProcess
from convert.pipeline import load_model
from convert.report import table, versions
from convert.verify import Verification, Verifier
from convert.verify_file import verify_file
from convert.written_file import read_gguf
from duplex_local.errors import ModelFileError

__all__ = ["verify_command"]

_Bar = Callable[[str, int, str], AbstractContextManager[Callable[[int], object]]]


def verify_command(path: Path, against: str | None, bar: _Bar) -> dict[str, Any]:
    """Check the file at `path`, print the table, and return the result for `--json`.

    Raises:
        ModelFileError: when a check fails or a file cannot be read.
    """
    done = _verify(path, against, bar)
    result = done.as_json()
    print(table({path.name: result["checks"]}), flush=True)
    if done.why:
        raise ModelFileError(
            f"{path} failed verification. {done.why}. Make it again with `make convert`."
        )
    if against is None:
        print("The weights were not compared: give the checkpoint with --against.")
    return {
        "path": str(path),
        "against": against,
        "size_bytes": path.stat().st_size,
        "versions": versions(),
        "verify": result,
    }


def _verify(path: Path, against: str | None, bar: _Bar) -> Verification:
    n_tensors = len(read_gguf(path).tensors)
    with LlamaProcess() as llama, bar("verifying", n_tensors, "tensor") as advance:
        if against is None:
            return verify_file(path, llama, advance)
        directory = find_checkpoint(against)
        return Verifier(directory, load_model(directory, path.stem)).run(path, llama, advance)

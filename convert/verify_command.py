"""`python -m convert --verify GGUF [--against CHECKPOINT]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from convert.checkpoint import find_folder
from convert.llama_process import LlamaProcess
from convert.pipeline import Reporter, load_model
from convert.report import check_sha256, table, versions
from convert.verify import Verification, Verifier
from convert.verify_file import verify_file
from convert.written_file import read_gguf
from duplex_local.errors import ModelFileError

__all__ = ["verify_command"]


def verify_command(
    path: Path, against: str | None, reporter: Reporter, save: Callable[[dict[str, Any]], object]
) -> None:
    """Check the file at `path`, print the table, and `save` the result, good or bad.

    Raises:
        ModelFileError: when a check fails or a file cannot be read.
    """
    done = _verify(path, against, reporter)
    result = done.as_json()
    print(table({path.name: result["checks"]}), flush=True)
    if against is None and not done.why:
        print("The weights were not compared: give the checkpoint with --against.", flush=True)
    save(
        {
            "path": str(path),
            "against": against,
            "size_bytes": path.stat().st_size,
            "versions": versions(),
            "verify": result,
        }
    )
    if done.why:
        raise ModelFileError(
            f"{path} failed verification. {done.why}. Make it again with `make convert`."
        )


def _verify(path: Path, against: str | None, reporter: Reporter) -> Verification:
    n_tensors = len(read_gguf(path).tensors)
    try:
        unchanged = check_sha256(path)
    except OSError as error:
        raise ModelFileError(
            f"Cannot read {path}: {error.strerror}. Check the disk and the file's permissions."
        ) from None
    directory = None if against is None else _folder(against, reporter)
    with LlamaProcess() as llama, reporter.bar("verifying", n_tensors, "tensor") as advance:
        if directory is None:
            done = verify_file(path, llama, advance)
        else:
            model = load_model(directory, path.stem, reporter.note)
            done = Verifier(directory, model).run(path, llama, advance)
    return Verification([unchanged, *done.checks], done.facts)


def _folder(checkpoint: str, reporter: Reporter) -> Path:
    """Of a folder or a hub id."""
    folder = find_folder(checkpoint)
    if folder is None:
        from convert.download import download  # here: a folder is read without it

        folder = download(checkpoint, None, lambda size: [], reporter).folder
    return folder

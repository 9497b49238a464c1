"""Checkpoint in, finished GGUF files out.

Everything is written in a hidden folder inside the output folder and moved to its name only
when it is complete, checked and on the disk. So a file with a model's name is a good file,
whatever was interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from convert.background import in_background
from convert.checkpoint import find_folder, read_json, read_tensors
from convert.digest import sha256_of
from convert.gguf_file import Model, write_gguf
from convert.hyperparameters import parse_config
from convert.llama_process import LlamaProcess
from convert.quants import BF16, estimated_bytes, known_quants, overrides
from convert.report import ConvertedFile, Seconds, report_path, write_report
from convert.space import Need, check_room, remove_abandoned, staging_folder
from convert.tensor import Array, StoredTensor
from convert.tensor_map import plan_tensors
from convert.verify import Verifier
from convert.vocabulary import read_vocabulary
from duplex_local.errors import ConfigError, ModelFileError

__all__ = ["Conversion", "Reporter", "Request", "convert", "load_model"]


@dataclass(frozen=True)
class Request:
    """What the user asked for. `name` None takes the folder's or the model's on the hub."""

    source: str  # a folder or a hub id
    quants: Sequence[str]
    out: Path
    name: str | None = None
    keep_bf16: bool = False
    revision: str | None = None  # of a hub id; None: the newest of its main branch


@dataclass(frozen=True)
class Conversion:
    """What was written, the commit of a checkpoint that came from the hub, and the peak memory of
    llama.cpp's process."""

    files: list[ConvertedFile]
    revision: str | None
    llama_peak_rss_bytes: int | None


class Reporter(Protocol):
    """Where progress goes."""

    def bar(
        self, label: str, total: int, unit: str
    ) -> AbstractContextManager[Callable[[int], object]]:
        """A progress bar; call what it yields with each number of units done."""
        ...

    def note(self, line: str) -> None:
        """Something to know: what is downloaded, what room it needs."""
        ...

    def wrote(self, file: ConvertedFile) -> None:
        """`file` is finished."""
        ...


def load_model(
    directory: Path, name: str, note: Callable[[str], object], source_url: str | None = None
) -> Model:
    """Check everything about the checkpoint in `directory` but the values of its tensors.

    note: called with what its user should know.

    Raises:
        ModelFileError: for anything we would convert wrongly.
    """
    hparams = parse_config(read_json(directory / "config.json"))
    vocabulary = read_vocabulary(directory, hparams.vocab_size)
    for text in ("<s>", "</s>", "<unk>", "<idle>"):
        vocabulary.find(text)
    tensors = plan_tensors(hparams, read_tensors(directory), note)
    return Model(name, hparams, vocabulary, tensors, source_url)


def convert(request: Request, reporter: Reporter) -> Conversion:
    """Write every file of `request`.

    Raises:
        ConfigError: when the output folder or the name cannot be used.
        ModelFileError: when the checkpoint cannot be downloaded or converted.
        BackendError: when llama.cpp fails.
    """
    directory = find_folder(request.source)
    remove_abandoned(request.out)
    name = _name(request, directory)
    _check_targets(request, name)
    if directory is None:
        directory, commit = _download(request, reporter)
        model = load_model(
            directory,
            name,
            reporter.note,
            f"https://huggingface.co/{request.source}/tree/{commit}",
        )
    else:
        if request.revision is not None:
            raise ConfigError(f"{request.source} is a folder here, so --revision says nothing.")
        commit = None
        model = load_model(directory, name, reporter.note)
    with staging_folder(request.out) as staging, LlamaProcess() as llama:
        check_room(_needs(request, model.size_bytes))
        verifier = Verifier(directory, model)
        run = _Run(request, commit, model, verifier, llama, staging, reporter)
        return Conversion(run.files(), commit, llama.ask("peak_rss_bytes"))


def _download(request: Request, reporter: Reporter) -> tuple[Path, str]:
    from convert.download import download  # here: a folder is converted without it

    snapshot = download(
        request.source, request.revision, lambda size: _needs(request, size), reporter
    )
    return snapshot.folder, snapshot.commit


def _needs(request: Request, bf16_bytes: int) -> list[Need]:
    """What will be in the output folder at once: the BF16 file is removed last."""
    quants = [quant for quant in request.quants if quant != BF16]
    sizes = {BF16: bf16_bytes} | {quant: estimated_bytes(quant, bf16_bytes) for quant in quants}
    return [Need(quant, request.out, size_bytes) for quant, size_bytes in sizes.items()]


def _name(request: Request, directory: Path | None) -> str:
    """The start of the files' names."""
    name = request.name
    if name is None:
        name = request.source.split("/")[1] if directory is None else directory.resolve().name
    if not name or name.startswith(".") or Path(name).name != name:
        raise ConfigError(f"{name!r} cannot be the name of a file. Choose one with --name.")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # a folder's name can be any bytes
        raise ConfigError(f"{name!a} is no UTF-8 text. Choose one with --name.") from None
    return name


def _target(request: Request, name: str, suffix: str) -> Path:
    return request.out / f"{name}-{suffix}.gguf"


def _check_targets(request: Request, name: str) -> None:
    """A folder cannot be replaced by a file; better to know before the work."""
    suffixes = [*request.quants, *(["bf16"] if request.keep_bf16 else [])]
    for target in (_target(request, name, suffix) for suffix in suffixes):
        for path in (target, report_path(target)):
            if path.is_dir():
                raise ConfigError(
                    f"{path} is a folder, so no file can get that name. Move it away, or choose "
                    "another --name or --out."
                )


# Of each dtype: its bits, those without the sign, and where of them NaN, infinity and, of F32, what
# BF16 rounds to infinity begin. All of the real model takes 0.3 s.
_LIMITS = {
    "BF16": ("<u2", 0x7FFF, 0x7F80),
    "F16": ("<u2", 0x7FFF, 0x7C00),
    "F32": ("<u4", 0x7FFF_FFFF, 0x7F7F_8000),
}


class _FiniteTensor(StoredTensor):
    """Refuses NaN and infinity while it is read: llama.cpp would say only that it failed."""

    def raw(self) -> Iterator[memoryview]:
        for piece in super().raw():
            self._check(np.frombuffer(piece[: len(piece) // 2 * 2], "<u2"))
            yield piece

    def _read_values(self, start: int, count: int) -> Array:
        values = super()._read_values(start, count)
        self._check(values)
        return values

    def _check(self, values: Array) -> None:
        kind, mask, limit = _LIMITS[self.dtype]
        if values.size and (values.view(kind) & mask).max() >= limit:
            raise ModelFileError(
                f"{self.name} in {self.path} holds NaN or infinity: the checkpoint is damaged. "
                "Download it again, or take one that was saved before its training failed."
            )


def _refusing_nan(model: Model) -> Model:
    tensors = [
        replace(tensor, source=_FiniteTensor(**vars(tensor.source))) for tensor in model.tensors
    ]
    return replace(model, tensors=tensors)


@dataclass(frozen=True)
class _Run:
    """One conversion with all its tools in hand."""

    request: Request
    commit: str | None
    model: Model
    verifier: Verifier
    llama: LlamaProcess
    staging: Path
    reporter: Reporter

    def files(self) -> list[ConvertedFile]:
        started_s = time.monotonic()
        bf16 = self.staging / "bf16.gguf"
        model = _refusing_nan(self.model)
        with self.reporter.bar("converting", self.model.size_bytes, "B") as advance:
            write_gguf(bf16, model, advance)
        writing_s = time.monotonic() - started_s
        files = [self._quantize(bf16, quant) for quant in self.request.quants if quant != BF16]
        if BF16 in self.request.quants:
            files.append(self._finish(bf16, BF16, BF16, time.monotonic() - writing_s))
        elif self.request.keep_bf16:
            files.append(self._finish(bf16, BF16, "bf16", time.monotonic() - writing_s))
        return files

    def _quantize(self, bf16: Path, quant: str) -> ConvertedFile:
        started_s = time.monotonic()
        target = self.staging / f"{quant}.gguf"
        sizes = {tensor.name: tensor.source.size_bytes for tensor in self.model.tensors}
        with self.reporter.bar(f"to {quant}", sum(sizes.values()), "B") as advance:
            begun = ""

            def progress(name: str) -> None:
                nonlocal begun
                advance(sizes.get(begun, 0))  # llama.cpp only says what it begins with
                begun = name

            chosen = overrides(quant, self.model.hparams)
            arguments = (str(bf16), str(target), known_quants()[quant], chosen)
            self.llama.ask("quantize", *arguments, progress=progress)
            progress("")
        return self._finish(target, quant, quant, started_s)

    def _finish(self, path: Path, quant: str, suffix: str, started_s: float) -> ConvertedFile:
        """Check the staged file, make sure it is on the disk, and give it its name."""
        written_s = time.monotonic()
        settled = in_background(lambda: _settled(path))
        with self.reporter.bar(f"verifying {quant}", len(self.model.tensors), "tensor") as advance:
            checks = self.verifier.check(path, self.llama, advance)
        proved_s = time.monotonic()
        sha256 = settled.result()
        final = _target(self.request, self.model.name, suffix)
        size_bytes = path.stat().st_size
        seconds = Seconds(written_s - started_s, proved_s - written_s, time.monotonic() - started_s)
        file = ConvertedFile(final, quant, size_bytes, sha256, seconds, checks)
        report = path.with_suffix(".json")
        write_report(report, self.request.source, self.commit, file)
        # A crash between these steps leaves a good file without a report, never with another's.
        report_path(final).unlink(missing_ok=True)
        _publish(path, final)
        _publish(report, report_path(final))
        self.reporter.wrote(file)
        return file


def _settled(path: Path) -> str:
    """The digest of the file at `path`, which is on the disk by then."""
    _flush(path)
    return sha256_of(path)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _publish(path: Path, final: Path) -> None:
    """Move `path` to `final` so that a crash leaves the old file, the new one or none."""
    _flush(path)
    os.replace(path, final)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

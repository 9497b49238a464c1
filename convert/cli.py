"""python -m convert: arguments in, one line for each file out."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from convert.checkpoint import find_folder, read_json
from convert.hyperparameters import parse_config
from convert.pipeline import Conversion, Request, convert
from convert.quants import DEFAULT_QUANT, quant_name
from convert.recipe_list import MINICPM_DUPLEX, recipe_table
from convert.report import ConvertedFile, table
from convert.verify_command import verify_command
from duplex_local.errors import ConfigError, exit_with_one_line
from duplex_local.machine import peak_rss_bytes, total_memory_bytes

__all__ = ["main"]

DEFAULT_CHECKPOINT = "xinrongzhang2022/MiniCPM-duplex"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Wrong usage is one line too."""
        self.exit(2, f"error: {message}. See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m convert",
        description="Convert a MiniCPM-duplex checkpoint into GGUF files that llama.cpp runs.",
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        help=f"folder with config.json, or hub id to download (default {DEFAULT_CHECKPOINT})",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id (its main branch)")
    parser.add_argument(
        "--list", action="store_true", help="show the recipes and what fits this machine"
    )
    parser.add_argument(
        *("--quant", "-q"),
        metavar="QUANT",
        nargs="+",
        type=quant_name,
        help=f"Q4_K_M, Q8_0, BF16, … (default {DEFAULT_QUANT}); write it after CHECKPOINT",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="(models)")
    parser.add_argument("--name", help="start of the file names (the folder's or model's)")
    parser.add_argument("--keep-bf16", action="store_true", help="keep the unquantized file too")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    parser.add_argument("--verify", metavar="GGUF", type=Path, help="check a file, convert nothing")
    parser.add_argument("--against", metavar="CHECKPOINT", help="--verify: what it was made from")
    return parser


# What each way of using the command has no use for.
_CONVERTING = ("revision", "quant", "out", "name", "keep_bf16")
_UNUSED = {"list": ("verify", "against", "json", *_CONVERTING), "verify": _CONVERTING}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    given = {name for name, value in vars(options).items() if value not in (None, False)}
    for mode, unused in _UNUSED.items():
        if mode in given and (ignored := [name for name in unused if name in given]):
            option = ignored[0].replace("_", "-")
            parser.error(f"--{option} has no meaning together with --{mode}")
    if {"checkpoint", "verify"} <= given:
        parser.error("give CHECKPOINT or --verify GGUF, not both")
    if "against" in given and "verify" not in given:
        parser.error("--against needs --verify GGUF")
    if options.revision == "":
        parser.error("--revision is empty")
    return options


class _Terminal:
    """Bars on stderr when it is a terminal, a line on stdout for each file."""

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        with tqdm(
            desc=label,
            total=total,
            unit=unit,
            unit_scale=unit == "B",
            leave=False,
            disable=not sys.stderr.isatty(),
        ) as progress:
            yield progress.update

    def note(self, line: str) -> None:
        print(line, flush=True)

    def wrote(self, file: ConvertedFile) -> None:
        size = f"{file.size_bytes / 1e6:,.1f} MB"
        print(f"{file.path}  {size}  {file.seconds.total:.1f} s", flush=True)


@exit_with_one_line
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0, 1 with one line on failure, 2 on wrong usage."""
    started_s = time.monotonic()
    options = _parse(arguments)
    if options.list:
        return _list(options.checkpoint)
    out = Path("models") if options.out is None else options.out
    if options.json not in (None, "-"):
        _check_writable(options.json, out)
    if options.verify is not None:
        verify_command(
            options.verify,
            options.against,
            _Terminal(),
            lambda result: None if options.json is None else _write_json(options.json, result),
        )
        return 0
    quants = list(dict.fromkeys(options.quant or [DEFAULT_QUANT]))
    source = DEFAULT_CHECKPOINT if options.checkpoint is None else options.checkpoint
    request = Request(source, quants, out, options.name, options.keep_bf16, options.revision)
    done = convert(request, _Terminal())
    print(table({file.quant: file.verify["checks"] for file in done.files}))
    print(f'Run it: make run ARGS="--model {shlex.quote(str(done.files[0].path))}"')
    if options.json is not None:
        _write_json(options.json, _result(source, done, time.monotonic() - started_s))
    return 0


def _list(source: str | None) -> int:
    hparams = MINICPM_DUPLEX
    folder = find_folder(source) if source is not None else None
    if folder is not None:
        hparams = parse_config(read_json(folder / "config.json"))
    elif source not in (None, DEFAULT_CHECKPOINT):
        raise ConfigError(
            f"The shape of {source} is not known here. Download it and give its folder, or use "
            f"--list alone for {DEFAULT_CHECKPOINT}."
        )
    print("\n".join(recipe_table(hparams, total_memory_bytes())))
    return 0


def _result(source: str, done: Conversion, seconds: float) -> dict[str, Any]:
    files = done.files
    return {
        "source": source,
        "revision": done.revision,
        "files": [
            {
                "path": str(file.path),
                "quant": file.quant,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "written_seconds": round(file.seconds.written, 3),
                "proved_seconds": round(file.seconds.proved, 3),
            }
            for file in files
        ],
        "seconds": round(seconds, 3),
        **_peaks(done.llama_peak_rss_bytes),
        "verify": {
            "ok": all(file.verify["ok"] for file in files),
            "files": {file.path.name: file.verify for file in files},
        },
    }


def _peaks(of_llama: int | None) -> dict[str, int | None]:
    """Peak memory of this process and of llama.cpp's, None where it cannot be asked."""
    own = peak_rss_bytes()
    return {
        "peak_rss_bytes": max(filter(None, (own, of_llama)), default=None),
        "python_peak_rss_bytes": own,
        "llama_peak_rss_bytes": of_llama,
    }


def _write_json(target: str, result: dict[str, Any]) -> None:
    if target == "-":
        print(json.dumps(result))
        return
    try:
        Path(target).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _cannot_write(target, error) from None


def _check_writable(target: str, out: Path) -> None:
    """Before hours of work; leaves what is at `target` as it is.

    Raises:
        ConfigError: when `target` cannot be written.
    """
    path = Path(os.path.realpath(target))
    made_by_us = Path(os.path.realpath(out))
    if path.parent in (made_by_us, *made_by_us.parents) and not path.parent.exists():
        return
    there = path.exists()
    if there and not path.is_file() and not path.is_dir():
        return  # opening a pipe would wait for its reader
    try:
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise _cannot_write(target, error) from None


def _cannot_write(target: str, error: OSError) -> ConfigError:
    return ConfigError(f"Cannot write {target}: {error.strerror}. Choose another file with --json.")

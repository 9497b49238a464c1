"""The part of benchmarks.fullsize that quantizes, and runs what that gives."""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import llama_cpp as llama
from tqdm import tqdm

from benchmarks.bare import BareLoop
from convert.llama_process import LlamaProcess
from convert.pipeline import load_model
from convert.quants import known_quants, overrides, quant_name
from duplex_local.machine import default_threads

__all__ = [
    "TYPES",
    "QuantizedFile",
    "Rates",
    "measure_rates",
    "quantize",
    "quiet",
    "variant",
]

N_CTX = 512
N_PREFILL = 64  # tokens: the engine's batch
N_DECODE = 16

FALLBACK = "fallback"  # llama.cpp's own choice
TYPES: dict[str, dict[str, int]] = {FALLBACK: {}} | {
    kind.name: {"ffn_down": int(kind)} for kind in gguf.GGMLQuantizationType
}

# A C function that does nothing with its arguments: a Ctrl-C that arrives inside a Python callback
# is printed and lost. The library keeps only the address: this reference must stay.
_SILENT = llama.llama_log_callback(("abs", ctypes.CDLL(None)))


@dataclass(frozen=True)
class QuantizedFile:
    """A file that `quantize` made, and what that took."""

    path: Path
    size_bytes: int
    seconds: float
    peak_rss_bytes: int | None


@dataclass(frozen=True)
class Rates:
    """Tokens per second, one value for each round."""

    decode: list[float]
    prefill: list[float]


def variant(text: str) -> str:
    """`text` as QUANT or QUANT:TYPE-of-ffn_down, for argparse."""
    name, _, ffn_down = text.partition(":")
    if ffn_down and ffn_down not in TYPES:
        raise argparse.ArgumentTypeError(f"unknown type {ffn_down!r}; known are {', '.join(TYPES)}")
    return text.replace(name, quant_name(name), 1)


def quantize(checkpoint: Path, bf16: Path, quant: str) -> QuantizedFile:
    """Quantize `bf16` in a process of its own. `quant` is QUANT or QUANT:TYPE-of-ffn_down."""
    model = load_model(checkpoint, "random", print)
    name, _, ffn_down = quant.partition(":")
    types = overrides(name, model.hparams) if not ffn_down else TYPES[ffn_down]
    target = bf16.with_name(f"{name}-{ffn_down}.gguf")
    arguments = (str(bf16), str(target), known_quants()[name], types)
    with (
        LlamaProcess() as llama,
        tqdm(
            desc=f"to {quant}", total=len(model.tensors), unit="tensor", leave=False, disable=None
        ) as bar,
    ):
        llama.ask("peak_rss_bytes")  # waits until the library is loaded
        start_s = time.perf_counter()
        llama.ask("quantize", *arguments, progress=lambda _name: bar.update(1))
        seconds = time.perf_counter() - start_s
        peak = llama.ask("peak_rss_bytes")
        return QuantizedFile(target, target.stat().st_size, seconds, peak)


def quiet() -> None:
    """llama.cpp prints nothing from now on."""
    llama.llama_log_set(_SILENT, None)


def measure_rates(files: Sequence[Path], n_rounds: int, n_pieces: int) -> list[Rates]:
    """Rates of each file. Files take turns, so a noisy minute hits them all.

    n_pieces: ids below are text.
    """
    quiet()
    rates = {path: Rates([], []) for path in files}
    step = max(1, (n_pieces - 300) // N_PREFILL)
    prompt = list(range(299, n_pieces, step))[:N_PREFILL]
    turns = [path for _ in range(n_rounds) for path in files]
    for path in tqdm(turns, desc="decode and prefill", leave=False, disable=None):
        with BareLoop(path, N_CTX, default_threads(path)) as loop:
            loop.prefill_seconds(prompt)  # warm-up: reads the file into memory
            rates[path].prefill.append(len(prompt) / loop.prefill_seconds(prompt))
            rates[path].decode.append(N_DECODE / loop.seconds(prompt, prompt[:N_DECODE]))
    return list(rates.values())

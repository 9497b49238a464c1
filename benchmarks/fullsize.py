"""What the real model's size costs: converting, quantizing, decode and prefill of each recipe.

Writes a random checkpoint in the shape of MiniCPM-duplex into OUT_DIR, where it stays, so no
download is needed. Needs 26 GB of disk on the way, and minutes for each recipe.

    python -m benchmarks.fullsize OUT_DIR [--layers 40] [--json FILE]

`--quant Q4_K_M Q4_K_M:fallback Q4_K_M:Q8_0` compares what a recipe does with ffn_down with what
llama.cpp does by itself and with any GGML type.

`--reference FOLDER` lets llama.cpp's converter take turns with ours. FOLDER holds
convert_hf_to_gguf.py; the source package of llama-cpp-python has it in vendor/llama.cpp.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.fullsize_converting import Converted, time_converting
from benchmarks.fullsize_steps import QuantizedFile, Rates, measure_rates, quantize, variant
from benchmarks.random_checkpoint import REAL, Shape, write_random_checkpoint
from benchmarks.reference_converter import ReferenceConverter
from benchmarks.report import write_json
from convert.quants import RECIPES
from duplex_local.errors import ConfigError, exit_with_one_line
from duplex_local.machine import physical_cores

__all__ = ["Plan", "Quantized", "main", "run", "within_limits"]

MAX_VS_REFERENCE = 0.6  # converting / llama.cpp's converter, where that is measured
MAX_VS_COPY = 1.5  # else: converting / copying the same bytes
MAX_PYTHON_BYTES = 700_000_000
MAX_QUANTIZE_BYTES = 1_300_000_000
MIN_ROUNDS = 5


@dataclass(frozen=True)
class Plan:
    """What is measured. `tokenizer` None writes a synthetic one."""

    out: Path
    shape: Shape
    quants: Sequence[str]
    tokenizer: Path | None = None
    n_conversions: int = 3
    n_rounds: int = MIN_ROUNDS
    reference: ReferenceConverter | None = None


@dataclass(frozen=True)
class Quantized:
    """One recipe. Rates are medians in tokens/s; `vs_first` is the decode rate / the first's."""

    quant: str
    size_bytes: int
    bits_per_weight: float
    seconds: float
    peak_rss_bytes: int | None
    decode: float
    decode_worst: float
    vs_first: float
    prefill: float
    prefill_worst: float


def run(plan: Plan) -> dict[str, Any]:
    """All figures. Whatever ends it early leaves nothing of it in `plan.out`.

    Raises:
        ConfigError: when `plan.out` is not empty or too small.
        BackendError: when a conversion fails.
    """
    if plan.reference is not None:
        plan.reference.check()
    with _work_folder(plan) as work:
        started_s = time.perf_counter()
        checkpoint = work / "checkpoint"
        checkpoint.mkdir()
        with _bar("writing a checkpoint", plan.shape.size_bytes) as advance:
            write_random_checkpoint(checkpoint, plan.shape, plan.tokenizer, advance)
        written_s = time.perf_counter() - started_s
        bf16 = work / "bf16.gguf"
        converted = time_converting(checkpoint, bf16, plan.n_conversions, plan.reference)
        files = [quantize(checkpoint, bf16, quant) for quant in plan.quants]
        paths = [file.path for file in files]
        rates = measure_rates(paths, plan.n_rounds, plan.shape.n_pieces)
        for entry in checkpoint.iterdir():
            os.replace(entry, plan.out / entry.name)
    n_weights = plan.shape.size_bytes // 2
    recipes = [
        _summary(quant, file, n_weights, rate, rates[0])
        for quant, file, rate in zip(plan.quants, files, rates, strict=True)
    ]
    return {
        "machine": _machine(),
        "checkpoint": {"layers": plan.shape.n_layers, "size_bytes": plan.shape.size_bytes,
                       "seconds": written_s},
        "bf16": asdict(converted),
        "recipes": [asdict(recipe) for recipe in recipes],
        # With fewer layers the fixed costs weigh more than what is measured.
        "within_limits": within_limits(converted, recipes) if plan.shape == REAL else {},
    }  # fmt: skip


def within_limits(converted: Converted, recipes: Sequence[Quantized]) -> dict[str, bool]:
    """Whether each figure that has a limit is below it. Unknown memory is not above."""
    peaks = [recipe.peak_rss_bytes or 0 for recipe in recipes]
    if converted.reference is not None:
        time = {"converting_vs_reference": converted.reference.vs <= MAX_VS_REFERENCE}
    else:
        time = {"converting_vs_copy": converted.vs_copy <= MAX_VS_COPY}
    return time | {
        "python_memory": (converted.python_peak_rss_bytes or 0) <= MAX_PYTHON_BYTES,
        "quantizing_memory": max(peaks, default=0) <= MAX_QUANTIZE_BYTES,
    }


@contextmanager
def _work_folder(plan: Plan) -> Iterator[Path]:
    """A folder inside `plan.out` for everything unfinished; it is removed at the end."""
    out, existed = plan.out, plan.out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_room(plan)
        with tempfile.TemporaryDirectory(prefix=".fullsize-", dir=out) as work:
            yield Path(work)
    except OSError as error:
        raise ConfigError(f"Cannot write to {out}: {error.strerror}.") from None
    finally:
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _check_room(plan: Plan) -> None:
    if any(plan.out.iterdir()):
        raise ConfigError(f"{plan.out} is not empty. Give a new folder.")
    needed = plan.shape.size_bytes * (3 + len(plan.quants) // 2)
    free = shutil.disk_usage(plan.out).free
    if free < needed:
        raise ConfigError(
            f"{plan.out} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed. "
            "Free some space, or ask for fewer --quant or --layers."
        )


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], object]]:
    with tqdm(
        desc=label, total=total, unit="B", unit_scale=True, leave=False, disable=None
    ) as progress:
        yield progress.update


def _summary(
    quant: str, file: QuantizedFile, n_weights: int, rates: Rates, first: Rates
) -> Quantized:
    ratios = [ours / base for ours, base in zip(rates.decode, first.decode, strict=True)]
    return Quantized(
        quant,
        file.size_bytes,
        8 * file.size_bytes / n_weights,
        file.seconds,
        file.peak_rss_bytes,
        statistics.median(rates.decode),
        min(rates.decode),
        statistics.median(ratios),
        statistics.median(rates.prefill),
        min(rates.prefill),
    )


def _machine() -> dict[str, object]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": physical_cores(),
        "os": platform.platform(),
    }


def _mb(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / 1e6:,.0f}"


def _print_converted(bf16: dict[str, Any]) -> None:
    print(
        f"to BF16: {_mb(bf16['size_bytes'])} MB in {bf16['seconds']:.1f} s (worst "
        f"{bf16['seconds_worst']:.1f}), of which writing {bf16['written_seconds']:.1f} s, proving "
        f"{bf16['proved_seconds']:.1f} s; peak memory {_mb(bf16['python_peak_rss_bytes'])} MB "
        f"Python, {_mb(bf16['llama_peak_rss_bytes'])} MB llama.cpp with the mapped file\n"
        f"copying: {bf16['copy_seconds']:.1f} s; ratio {bf16['vs_copy']:.2f}, worst "
        f"{bf16['vs_copy_worst']:.2f}"
    )
    if reference := bf16["reference"]:
        print(
            f"llama.cpp's converter: {reference['seconds']:.1f} s; ratio {reference['vs']:.2f}, "
            f"worst {reference['vs_worst']:.2f}, of writing alone {reference['written_vs']:.2f}; "
            f"peak memory {_mb(reference['peak_rss_bytes'])} MB"
        )


def _print(result: dict[str, Any]) -> None:
    _print_converted(result["bf16"])
    print()
    print(
        "recipe          bits/weight    MB   made in s  peak MB   decode tokens/s (worst, vs first)"
        "   prefill (worst)"
    )
    for row in result["recipes"]:
        print(
            f"{row['quant']:15} {row['bits_per_weight']:11.2f} {_mb(row['size_bytes']):>7} "
            f"{row['seconds']:9.1f} {_mb(row['peak_rss_bytes']):>8} {row['decode']:13.2f} "
            f"({row['decode_worst']:.2f}, {row['vs_first']:.2f}) {row['prefill']:14.1f} "
            f"({row['prefill_worst']:.1f})"
        )
    for name, good in result["within_limits"].items():
        print(f"{name}: {'within its limit' if good else 'ABOVE ITS LIMIT'}")
    print(result["machine"])


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fullsize", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="a new or empty folder")
    parser.add_argument("--layers", type=int, default=REAL.n_layers, metavar="N", help="(40)")
    parser.add_argument(
        "--quant",
        metavar="QUANT[:TYPE]",
        nargs="*",
        type=variant,
        default=[recipe.name for recipe in RECIPES],
        help="(all recipes; none when nothing follows)",
    )
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="folder with the real tokenizer.model"
    )
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="folder with convert_hf_to_gguf.py"
    )
    parser.add_argument(
        "--reference-python", default=sys.executable, metavar="FILE", help="what runs it (this one)"
    )
    parser.add_argument("--repeat", type=int, default=MIN_ROUNDS, metavar="N", help="at least 5")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    options = parser.parse_args(argv)
    if options.repeat < MIN_ROUNDS:
        parser.error(f"--repeat needs at least {MIN_ROUNDS}: the median of fewer says nothing")
    if not 1 <= options.layers <= REAL.n_layers:
        parser.error(f"--layers must be from 1 to {REAL.n_layers}")
    return options


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    options = _parse(argv)
    reference = None
    if options.reference is not None:
        reference = ReferenceConverter(options.reference, options.reference_python)
    plan = Plan(
        options.out,
        replace(REAL, n_layers=options.layers),
        list(dict.fromkeys(options.quant)),
        options.tokenizer,
        n_rounds=options.repeat,
        reference=reference,
    )
    result = run(plan)
    _print(result)
    write_json(result, options.json)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` cleans up too
    sys.exit(main())

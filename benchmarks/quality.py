"""How far each quantization is from the unquantized model, on made-up duplex dialogues.

For every token the model has to choose (words of a reply, `<idle>`, end), the distribution of the
quantized model is compared with that of the BF16 file: mean Kullback-Leibler divergence in nats,
its 99th percentile, how often the most likely token differs, and the mean change of the
probability of `<idle>`, which decides between speaking and silence.

    python -m benchmarks.quality models/demo [--quant Q4_K_M Q4_K_M:Q8_0]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.bare import BareLoop
from benchmarks.fullsize_steps import quantize, quiet, variant
from benchmarks.report import write_json
from convert.checkpoint import find_folder
from convert.gguf_file import write_gguf
from convert.pipeline import load_model
from convert.quants import RECIPES
from duplex_local.errors import ConfigError, exit_with_one_line
from duplex_local.machine import default_threads
from train.packing import Generator

__all__ = ["Dialogue", "Quality", "compare", "dialogues", "main", "measure"]

N_CTX = 512
SEED = 777
LONGEST = 450  # tokens of a dialogue

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Dialogue:
    """Token ids, and the positions whose next token the model had to choose."""

    ids: list[int]
    chosen: list[int]


@dataclass(frozen=True)
class Quality:
    """Of one file, against BF16, over `n_choices` tokens."""

    quant: str
    size_bytes: int
    kl: float
    kl_99: float
    differs: float
    idle_change: float
    n_choices: int


def dialogues(tokenizer: Path, n: int) -> Iterator[Dialogue]:
    """The same `n` held-out conversations each time."""
    generator = Generator(tokenizer, None, SEED, held_out=True)
    for _ in range(n):
        rows = generator.transcript(LONGEST).rows
        ids = [token for row in rows for token in row.ids][:N_CTX]
        learned = [flag for row in rows for flag in row.learned][:N_CTX]
        yield Dialogue(ids, [i for i in range(len(ids) - 1) if learned[i + 1]])


def compare(reference: Array, found: Array, idle: int) -> tuple[Array, Array, Array]:
    """(divergence, whether the choice differs, change of P(idle)) of each row of logits."""
    p, q = _log_softmax(reference), _log_softmax(found)
    divergence = (np.exp(p) * (p - q)).sum(-1)
    differs = p.argmax(-1) != q.argmax(-1)
    return divergence, differs, np.abs(np.exp(p[:, idle]) - np.exp(q[:, idle]))


def _log_softmax(logits: Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def measure(checkpoint: Path, quants: Sequence[str], n_dialogues: int) -> list[Quality]:
    """Quantize `checkpoint` in every way of `quants` and compare each with BF16."""
    quiet()
    model = load_model(checkpoint, "quality", print)
    idle = model.vocabulary.find("<idle>")
    script = list(dialogues(checkpoint, n_dialogues))
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        bf16 = Path(folder) / "bf16.gguf"
        write_gguf(bf16, model, lambda _: None)
        found = []
        for quant in quants:
            file = quantize(checkpoint, bf16, quant)
            parts = _all_choices(bf16, file.path, script, idle)
            kl, differs, change = (np.concatenate(part) for part in zip(*parts, strict=True))
            quality = Quality(
                quant,
                file.size_bytes,
                float(kl.mean()),
                float(np.quantile(kl, 0.99)),
                float(differs.mean()),
                float(change.mean()),
                len(kl),
            )
            found.append(quality)
            file.path.unlink()
        return found


def _all_choices(
    bf16: Path, path: Path, script: Sequence[Dialogue], idle: int
) -> list[tuple[Array, Array, Array]]:
    with ExitStack() as stack:
        threads = default_threads(bf16)
        one, other = (stack.enter_context(BareLoop(f, N_CTX, threads)) for f in (bf16, path))
        return [
            compare(one.logits(d.ids)[d.chosen], other.logits(d.ids)[d.chosen], idle)
            for d in script
        ]


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder with config.json")
    parser.add_argument(
        "--quant",
        metavar="QUANT[:TYPE]",
        nargs="+",
        type=variant,
        default=[recipe.name for recipe in RECIPES],
        help="(all recipes); TYPE is that of ffn_down",
    )
    parser.add_argument("--dialogues", type=int, default=60, metavar="N", help="(60)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    options = parser.parse_args(argv)
    if options.dialogues < 1:
        parser.error("--dialogues must be 1 or more")
    quants = list(dict.fromkeys(options.quant))
    folder = find_folder(options.checkpoint)
    if folder is None:
        raise ConfigError(f"There is no folder {options.checkpoint}. Give a checkpoint's folder.")
    found = measure(folder, quants, options.dialogues)
    print("recipe                MB        KL     KL 99%   differs   P(idle) changes by")
    for row in found:
        print(
            f"{row.quant:16} {row.size_bytes / 1e6:7,.2f}   {row.kl:.5f}   {row.kl_99:.5f}   "
            f"{row.differs:6.2%}   {row.idle_change:.5f}"
        )
    print(f"{found[0].n_choices} choices in {options.dialogues} dialogues")
    write_json({"recipes": [asdict(row) for row in found]}, options.json)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` cleans up too
    sys.exit(main())

"""The training loop: a warm-up, a constant rate and a linear fall (WSD), all by the clock."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from duplex_local.sentencepiece_vocab import SentencePieceVocab
from duplex_local.tokenizer import Tokenizer
from train.model import MiniCPM
from train.packing import Generator, pack
from train.trainer import LoopConfig, Run, Trainer

__all__ = ["find_device", "keep_memory", "train"]

N_VALIDATION_ROWS = 48


class Rows(IterableDataset):
    """Packed rows without end; every worker has a seed of its own."""

    def __init__(
        self, vocabulary: Path, data: Path | None, seed: int, length: int, held_out: bool | None
    ) -> None:
        self.arguments = vocabulary, data, seed, length, held_out

    def __iter__(self) -> Iterator[np.ndarray]:
        vocabulary, data, seed, length, held_out = self.arguments
        worker = get_worker_info()
        seed = seed * 1000 + (worker.id if worker else 999)
        return pack(Generator(vocabulary, data, seed, held_out), length)


def find_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def keep_memory() -> None:
    """Let glibc keep freed memory: page faults cost the CPU more than the mathematics (4x)."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):
            libc.mallopt(option, value)  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD


def train(
    config: LoopConfig,
    model: MiniCPM,
    vocabulary: Path,
    data: Path | None,
    work: Path,
    resume: bool,
    export: Callable[[MiniCPM, Run], object],
) -> tuple[MiniCPM, Run]:
    """Train `model` for `config.minutes`; `export` writes the best so far, every now and then."""
    device = find_device()
    if device.type == "cpu":
        keep_memory()
    torch.set_float32_matmul_precision("high")
    idle = Tokenizer(SentencePieceVocab(vocabulary)).idle
    trainer = Trainer(model, config, idle, device)
    state = work / "state.pt"
    spent_s = 0.0
    if resume:
        spent_s = trainer.load(state)
    else:
        state.unlink(missing_ok=True)
    batches = _batches(config, vocabulary, data, trainer.n_steps, device)
    seen = _validation(config, vocabulary, data, config.held_out)
    unseen = [] if config.held_out is None else _validation(config, vocabulary, data, True)
    trainer.warm_up(seen)
    if resume:
        trainer.judge_best(unseen or seen)
    total_s, saved_s = config.minutes * 60, float("-inf")  # the first weights may be the best
    started = time.monotonic() - spent_s
    losses: list[torch.Tensor] = []
    with tqdm(total=round(total_s), unit="s", mininterval=15, initial=round(spent_s)) as bar:
        while True:
            spent_s = time.monotonic() - started
            is_over = spent_s >= total_s
            if is_over or spent_s - saved_s > config.save_every_s:
                saved_s = spent_s
                told, is_best = trainer.judge(seen, unseen)
                if is_best and trainer.n_steps:
                    with trainer.holding(trainer.average) as best:
                        export(best, trainer.run(spent_s))
                trainer.save(state, spent_s)
                mean = f"loss {torch.stack(losses).mean().item():.4f}  " if losses else ""
                losses.clear()
                tqdm.write(f"{spent_s:5.0f} s  {trainer.n_tokens / 1e6:.2f} M tokens  {mean}{told}")
            if is_over:
                break
            losses.append(trainer.step(next(batches), spent_s / total_s))
            if trainer.n_steps % 20 == 0:
                losses[-1].item()  # keeps the clock honest: the device works behind it
            bar.update(round(spent_s) - bar.n)
    model.load_state_dict(trainer.best)
    return model, trainer.run(spent_s)


def _validation(
    config: LoopConfig, vocabulary: Path, data: Path | None, held_out: bool | None
) -> list[torch.Tensor]:
    """Batches that are never trained on."""
    rows = pack(Generator(vocabulary, data, config.seed + 77, held_out), config.length)
    return [
        torch.from_numpy(np.stack([next(rows) for _ in range(config.rows)]))
        for _ in range(max(1, N_VALIDATION_ROWS // config.rows))
    ]


def _batches(
    config: LoopConfig, vocabulary: Path, data: Path | None, n_steps: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Fresh batches; after a resume other ones than before it."""
    seed = config.seed + 31 * n_steps
    rows = Rows(vocabulary, data, seed, config.length, config.held_out)
    n_workers = max(1, min(15, (os.cpu_count() or 2) - 1))
    on_gpu = device.type == "cuda"
    loader = DataLoader(
        rows, config.rows, num_workers=n_workers, pin_memory=on_gpu, prefetch_factor=4
    )
    return iter(loader)

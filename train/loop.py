"""The training loop: a warm-up, a constant rate and a linear fall (WSD), all by the clock."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from duplex_local.errors import ConfigError
from train.model import MiniCPM
from train.optimizer import build
from train.packing import Generator, pack

__all__ = ["LoopConfig", "find_device", "train"]

FALL_FROM = 0.55  # share of the time after which the rate falls
LOWEST = 0.01  # the last rate, as a share of the highest
N_VALIDATION_ROWS = 48
AVERAGE_KEEPS = 0.99


@dataclass(frozen=True)
class LoopConfig:
    """minutes: wall clock of the training itself. rows: a batch, each of `length` tokens."""

    minutes: float
    rows: int
    length: int = 1024
    rate: float = 3e-3
    weight_decay: float = 0.1
    dropout: float = 0.0
    warmup_steps: int = 200
    seed: int = 0
    held_out: bool | None = False  # False: the training side of the wordings; None: all of them

    @property
    def save_every_s(self) -> float:
        return min(300.0, max(20.0, self.minutes * 6))


Weights = dict[str, torch.Tensor]
Run = dict[str, int | float | str | bool]


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


class Masks:
    """Who sees whom: earlier tokens of the same conversation, its history and the own branch."""

    def __init__(self, length: int, device: torch.device) -> None:
        self.earlier = torch.ones(length, length, dtype=torch.bool, device=device).tril()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """batch: (rows, 5, length). Returns (rows, 1, length, length)."""
        branch, talk = batch[:, 3], batch[:, 4]
        same = talk[:, :, None] == talk[:, None, :]
        seen = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
        return (same & seen & self.earlier).unsqueeze(1)


class Trainer:
    def __init__(self, model: MiniCPM, config: LoopConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model.to(device), config, device
        for layer in model.layers:
            layer.dropout.p = config.dropout
        self.body = torch.compile(model) if device.type == "cuda" else model
        self.masks = Masks(config.length, device)
        self.optimizers = build(model, config.rate, config.weight_decay)
        self.average = _copy(model)
        self.best = _copy(model)
        self.best_loss = float("inf")
        self.n_steps = 0

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        """Cross-entropy over what the model chooses. batch: (rows, 5, length)."""
        chosen = torch.from_numpy(np.flatnonzero(batch[:, 1].numpy() >= 0))
        batch = batch.to(self.device, non_blocking=True).long()
        chosen = chosen.to(self.device, non_blocking=True)
        bf16 = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            hidden = self.body(batch[:, 0], batch[:, 2], self.masks(batch))
            logits = self.model.logits(hidden.flatten(0, 1)[chosen])
        return F.cross_entropy(logits.float(), batch[:, 1].flatten()[chosen])

    def step(self, batch: torch.Tensor, share: float) -> torch.Tensor:
        """One update. share: of the time that is over."""
        warm_up = (self.n_steps + 1) / self.config.warmup_steps
        fall = 1 - (share - FALL_FROM) / (1 - FALL_FROM) * (1 - LOWEST)
        rate = self.config.rate * min(1.0, warm_up, max(fall, LOWEST))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        self.n_steps += 1
        self._average()
        return loss.detach()

    @property
    def n_tokens(self) -> int:
        return self.n_steps * self.config.rows * self.config.length

    def run(self, spent_s: float) -> Run:
        """What the checkpoint's config.json tells of this run, whose best weights it holds."""
        return {
            "tokens": self.n_tokens,
            "steps": self.n_steps,
            "minutes": round(spent_s / 60, 1),
            "device": _name(self.device),
            "validation_loss": round(self.best_loss, 4),
            "half": self.config.held_out is not None,
        }

    @torch.no_grad()
    def _average(self) -> None:
        """A running average of the weights: good at any time, not only after the fall."""
        keep = min(AVERAGE_KEEPS, 1 - 10 / (self.n_steps + 10))
        now = self.model.state_dict()
        torch._foreach_lerp_(list(self.average.values()), [now[k] for k in self.average], 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[MiniCPM]:
        """The model with its averaged weights, for as long as the block runs."""
        now = _copy(self.model)
        self.model.load_state_dict(self.average)
        try:
            yield self.model
        finally:
            self.model.load_state_dict(now)

    def warm_up(self, batches: list[torch.Tensor]) -> None:
        """Compile everything before the clock starts."""
        for _ in range(2):
            self.loss(batches[0]).backward()
            self.model.zero_grad(set_to_none=True)
        self.validate(batches[:1])

    @torch.no_grad()
    def validate(self, batches: list[torch.Tensor]) -> float:
        self.model.eval()
        losses = [self.loss(batch).item() for batch in batches]
        self.model.train()
        return float(np.mean(losses))

    def judge(self, seen: list[torch.Tensor], unseen: list[torch.Tensor]) -> tuple[str, bool]:
        """Validate the averaged weights and keep them if they are the best so far.

        Returns the losses for people, and whether they are the best.
        """
        with self.averaged():
            held = loss = self.validate(seen)
            told = f"held {held:.4f}"
            if unseen:  # what half of the wordings are kept back for
                loss = self.validate(unseen)
                told += f"  unseen wordings {loss:.4f}"
            is_best = loss < self.best_loss
            if is_best:
                self.best_loss, self.best = loss, _copy(self.model)
        return told, is_best

    def save(self, path: Path, spent_s: float) -> None:
        state = {
            "settings": self.settings,
            "best_loss": self.best_loss,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "n_steps": self.n_steps,
            "spent_s": spent_s,
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path) -> float:
        """Go on from there; returns the seconds spent.

        Raises:
            ConfigError: when the run was made with other settings.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        now = self.settings
        if other := [name for name in now if state.get("settings", {}).get(name) != now[name]]:
            raise ConfigError(
                f"The run in {path.parent} was made with another {', '.join(other)}. Resume it "
                "with the same options, or leave --resume out."
            )
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.n_steps = state["n_steps"]
        self.best, self.best_loss = state["best"], float(state["best_loss"])
        return float(state["spent_s"])

    @property
    def settings(self) -> dict[str, object]:
        """What a run that is resumed must have in common with its beginning. Time may be added."""
        settings = {**asdict(self.config), **self.model.config.as_dict()}
        del settings["minutes"]
        return settings


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
    trainer = Trainer(model, config, device)
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
                    with trainer.averaged() as best:
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


def _name(device: torch.device) -> str:
    """What the model was trained on, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores" if device.type == "cpu" else device.type


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


def _copy(model: MiniCPM) -> Weights:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}

"""The trainer: one step, what is kept of the weights, and how a run is saved and resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from duplex_local.errors import ConfigError
from train.model import MiniCPM
from train.optimizer import build

__all__ = ["LoopConfig", "Run", "Trainer"]

FALL_FROM = 0.55  # share of the time after which the rate falls
LOWEST = 0.01  # the last rate, as a share of the highest
AVERAGE_KEEPS = 0.99


@dataclass(frozen=True)
class LoopConfig:
    """minutes: wall clock of the training itself. rows: a batch, each of `length` tokens.

    silence_weight: of `<idle>` in the loss. A request that is met with silence is worse than one
    that is taken up a word too early (docs/log.md, 2026-11-26).
    """

    minutes: float
    rows: int
    length: int = 1024
    rate: float = 3e-3
    weight_decay: float = 0.1
    dropout: float = 0.0
    warmup_steps: int = 200
    silence_weight: float = 0.6
    seed: int = 0
    held_out: bool | None = False  # False: the training side of the wordings; None: all of them

    @property
    def save_every_s(self) -> float:
        return min(300.0, max(20.0, self.minutes * 6))


Weights = dict[str, torch.Tensor]
Run = dict[str, int | float | str | bool]


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
    def __init__(self, model: MiniCPM, config: LoopConfig, idle: int, device: torch.device) -> None:
        """idle: the id of `<idle>`."""
        self.model, self.config, self.device = model.to(device), config, device
        for layer in model.layers:
            layer.dropout.p = config.dropout
        self.body = torch.compile(model) if device.type == "cuda" else model
        self.masks = Masks(config.length, device)
        self.token_weights = torch.ones(model.config.vocab_size, device=device)
        self.token_weights[idle] = config.silence_weight
        self.optimizers = build(model, config.rate, config.weight_decay)
        self.average = _copy(model)
        self.best = _copy(model)
        self.best_loss = float("inf")
        self.n_steps = 0

    def loss(self, batch: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy over what the model chooses.

        batch: (rows, 5, length). weights: (vocabulary,), of each token; None: all are equal.
        """
        chosen = torch.from_numpy(np.flatnonzero(batch[:, 1].numpy() >= 0))
        batch = batch.to(self.device, non_blocking=True).long()
        chosen = chosen.to(self.device, non_blocking=True)
        bf16 = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            hidden = self.body(batch[:, 0], batch[:, 2], self.masks(batch))
            logits = self.model.logits(hidden.flatten(0, 1)[chosen])
        labels = batch[:, 1].flatten()[chosen]
        return F.cross_entropy(logits.float(), labels, weight=weights)

    def step(self, batch: torch.Tensor, share: float) -> torch.Tensor:
        """One update. share: of the time that is over."""
        warm_up = (self.n_steps + 1) / self.config.warmup_steps
        fall = 1 - (share - FALL_FROM) / (1 - FALL_FROM) * (1 - LOWEST)
        rate = self.config.rate * min(1.0, warm_up, max(fall, LOWEST))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        loss = self.loss(batch, self.token_weights)
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
    def holding(self, weights: Weights) -> Iterator[MiniCPM]:
        """The model with other weights, for as long as the block runs."""
        now = _copy(self.model)
        self.model.load_state_dict(weights)
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
        with self.holding(self.average):
            held = loss = self.validate(seen)
            told = f"held {held:.4f}"
            if unseen:  # what half of the wordings are kept back for
                loss = self.validate(unseen)
                told += f"  unseen wordings {loss:.4f}"
            is_best = loss < self.best_loss
            if is_best:
                self.best_loss, self.best = loss, _copy(self.model)
        return told, is_best

    def judge_best(self, batches: list[torch.Tensor]) -> None:
        """Validate the kept weights anew: the wordings may be others than before the resume."""
        with self.holding(self.best):
            self.best_loss = self.validate(batches)

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


def _name(device: torch.device) -> str:
    """What the model was trained on, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores" if device.type == "cpu" else device.type


def _copy(model: MiniCPM) -> Weights:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}

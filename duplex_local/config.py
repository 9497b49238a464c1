"""Every setting, with its unit, its default and its allowed range."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from duplex_local.errors import ConfigError

__all__ = [
    "DEFAULT_MODEL",
    "EngineConfig",
    "Mode",
    "SamplingConfig",
    "SessionConfig",
    "with_changes",
]


# What `make run` makes of the bundled checkpoint.
DEFAULT_MODEL = Path("models/demo-Q8_0.gguf")


class Mode(enum.Enum):
    """Which rules a session follows (docs/protocol.md)."""

    LIVE = "live"  # our default: words as slices, barge-in, sliding window
    REFERENCE = "reference"  # the original server to the letter, for parity checks


def _plain(value: float) -> str:
    """Digits as people write them: 1048576, 0.2; never 1e+06 below a billion."""
    is_whole = math.isfinite(value) and value == int(value) and abs(value) < 1e12
    return str(int(value)) if is_whole else f"{value:g}"


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        given = "empty" if value is None else repr(value)
        raise ConfigError(
            f"{name} must be a number from {_plain(low)} to {_plain(high)}, not {given}."
        )
    if not (math.isfinite(value) and low <= value <= high):
        limits = f"from {_plain(low)} to {_plain(high)}"
        raise ConfigError(f"{name} is {_plain(value)}, but must be {limits}.")


def _check_int(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    _check(name, value, low, high)


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, not {value!r}.")


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen. Defaults are the original's (arXiv 2406.15718).

    temperature: 0 is greedy.
    top_p: nucleus, applied after the temperature as Hugging Face does.
    seed: None draws a new one for every conversation.
    talkativeness: nats taken from the logit of `<idle>`; above 0 the model speaks sooner.
    """

    temperature: float = 0.8
    top_p: float = 0.8
    seed: int | None = None
    talkativeness: float = 0.0

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0, 5.0)
        _check("top_p", self.top_p, 0.01, 1.0)
        _check("talkativeness", self.talkativeness, -20.0, 20.0)
        if self.seed is not None:
            _check_int("seed", self.seed, 0, 2**32 - 2)


@dataclass(frozen=True)
class SessionConfig:
    """One conversation.

    slice_s: length of a slice in seconds (the original: 2.0).
    max_tokens_per_slice: token budget of one reply slice.
    max_length: tokens of history at which a REFERENCE session ends; LIVE slides instead.
    """

    slice_s: float = 2.0
    max_tokens_per_slice: int = 15
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    mode: Mode = Mode.LIVE
    max_length: int = 512

    def __post_init__(self) -> None:
        _check_type("sampling", self.sampling, SamplingConfig)
        _check_type("mode", self.mode, Mode)
        _check("slice_s", self.slice_s, 0.2, 30.0)
        _check_int("max_tokens_per_slice", self.max_tokens_per_slice, 1, 64)
        _check_int("max_length", self.max_length, 16, 1 << 20)


@dataclass(frozen=True)
class EngineConfig:
    """One model in memory.

    model: path of the GGUF file.
    n_ctx: tokens of context each conversation has (the model's own limit is a cap).
    n_sessions: conversations that can be open at once.
    n_threads: None takes the physical cores, or one thread for a very small model.
    n_gpu_layers: -1 offloads all layers where a GPU backend is built in (Metal).
    flash_attn: None lets the backend choose: off on CPU (three times faster at depth there,
        docs/log.md), llama.cpp's own choice elsewhere.
    kv_f32: keep the KV cache in float32; for exactness tests only.
    """

    model: Path
    n_ctx: int = 2048
    n_sessions: int = 4
    n_threads: int | None = None
    n_gpu_layers: int = -1
    flash_attn: bool | None = None
    kv_f32: bool = False

    def __post_init__(self) -> None:
        _check_int("n_ctx", self.n_ctx, 256, 1 << 20)
        _check_int("n_sessions", self.n_sessions, 1, 32)
        _check_int("n_gpu_layers", self.n_gpu_layers, -1, 1000)
        if self.n_threads is not None:
            _check_int("n_threads", self.n_threads, 1, 512)


C = TypeVar("C", SamplingConfig, SessionConfig, EngineConfig)


def with_changes(config: C, changes: Mapping[str, Any]) -> C:
    """Return `config` with `changes` applied; a nested mapping changes a nested config.

    Raises:
        ConfigError: for an unknown name (a misspelt setting must not be ignored) or a bad value.
    """
    known = {f.name for f in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}; the settings are {sorted(known)}.")
        current = getattr(config, name)
        nested = dataclasses.is_dataclass(current) and isinstance(value, Mapping)
        values[name] = with_changes(current, value) if nested else value
    return dataclasses.replace(config, **values)

"""What the engine needs of a machine that runs the model, and a double of it for tests.

Token positions are 0-based; a sequence's positions are contiguous, so the position of a new
token is the number of tokens its sequence holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from duplex_local.config import SamplingConfig
from duplex_local.errors import ContextFullError, ProtocolError

__all__ = ["Backend", "Chunk", "ModelInfo", "Sampler", "ScriptedBackend"]


@dataclass(frozen=True)
class ModelInfo:
    """What a model says of itself. description is empty where it says nothing."""

    name: str
    description: str
    quant: str
    backend: str
    n_ctx: int  # tokens per sequence
    size_bytes: int


@dataclass(frozen=True)
class Chunk:
    """Tokens to evaluate at positions `start`, `start + 1`, ... of one sequence."""

    seq_id: int
    start: int
    tokens: Sequence[int]


class Sampler(Protocol):
    """Chooses the next token of one conversation; holds its random state."""

    def sample(self, row: int) -> int:
        """The token for the logits at batch index `row`, as `Backend.eval` returned it."""
        ...

    def close(self) -> None: ...


class Backend(Protocol):
    """One loaded model with `n_sequences` KV sequences. Used by one thread only."""

    n_ctx: int  # tokens each sequence can hold
    n_sequences: int
    n_batch: int  # tokens one `eval` can take
    info: ModelInfo

    def eval(self, chunks: Sequence[Chunk]) -> list[int]:
        """Evaluate `chunks` as one batch; return per chunk the row of its last token's logits.

        Rows are valid until the next `eval`.

        Raises:
            ProtocolError: for a batch llama.cpp would abort the process on.
            ContextFullError: when a sequence has no room.
            BackendError: when the computation failed. Part of the batch may then be in the
                cache: ask `n_past`.
        """
        ...

    def sampler(self, config: SamplingConfig, idle: int) -> Sampler:
        """A sampler for one conversation; `idle` is the token that talkativeness biases."""
        ...

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """A copy of the logits at `row`, shape (n_vocab,)."""
        ...

    def n_past(self, seq_id: int) -> int:
        """Tokens the sequence holds."""
        ...

    def truncate(self, seq_id: int, n_past: int) -> None:
        """Forget all but the first `n_past` tokens of the sequence."""
        ...

    def close(self) -> None: ...


class ScriptedBackend:
    """A `Backend` without a model: it checks every call and says what it was told to say.

    script: what `sample` returns, sequence by sequence; `</s>` for ever once it is used up.
    held: per sequence the tokens its cache holds. n_evaluated counts all tokens evaluated.
    """

    n_batch = 512

    def __init__(self, eos: int, n_ctx: int = 4096, n_sequences: int = 4) -> None:
        self.n_ctx, self.n_sequences = n_ctx, n_sequences
        self.info = ModelInfo("scripted", "", "none", "scripted", n_ctx, 0)
        self.held: list[list[int]] = [[] for _ in range(n_sequences)]
        self.script: list[Iterator[int]] = [iter(()) for _ in range(n_sequences)]
        self.n_evaluated = 0
        self._eos = eos
        self._rows: list[int] = []  # row -> seq_id

    def eval(self, chunks: Sequence[Chunk]) -> list[int]:
        if sum(len(chunk.tokens) for chunk in chunks) > self.n_batch:
            raise ProtocolError(f"a batch holds more than {self.n_batch} tokens.")
        for chunk in chunks:
            held = self.held[chunk.seq_id]
            if chunk.start != len(held) or not chunk.tokens:
                raise ProtocolError(f"chunk starts at {chunk.start}, sequence has {len(held)}.")
            if len(held) + len(chunk.tokens) > self.n_ctx:
                raise ContextFullError(f"sequence {chunk.seq_id} is full at {self.n_ctx} tokens.")
            held += chunk.tokens
            self.n_evaluated += len(chunk.tokens)
        self._rows = [chunk.seq_id for chunk in chunks]
        return list(range(len(chunks)))

    def sampler(self, config: SamplingConfig, idle: int) -> Sampler:
        return _ScriptedSampler(self)

    def next_token(self, row: int) -> int:
        return next(self.script[self._rows[row]], self._eos)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        raise ProtocolError("a scripted backend has no logits.")

    def n_past(self, seq_id: int) -> int:
        return len(self.held[seq_id])

    def truncate(self, seq_id: int, n_past: int) -> None:
        del self.held[seq_id][n_past:]

    def close(self) -> None:
        self.held.clear()


class _ScriptedSampler:
    def __init__(self, backend: ScriptedBackend) -> None:
        self._backend = backend

    def sample(self, row: int) -> int:
        return self._backend.next_token(row)

    def close(self) -> None:
        pass

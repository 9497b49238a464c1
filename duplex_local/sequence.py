"""The KV cache as a cache of a token list.

`advance_to(ids)` declares which token ids the model must have seen. What the cache already holds
of them stays, the rest of the cache is removed, and only what is missing becomes `pending`.
`evaluate` then brings several sequences forward in one batch. Appending a slice, pruning an
idle pair, cutting a reply, tokenizing a reply again with its marker, sliding the window: each is
"here are the ids now", so the cache can never disagree with the history.
"""

from __future__ import annotations

from collections.abc import Iterable

from duplex_local.backend import Backend, Chunk
from duplex_local.errors import ContextFullError, ProtocolError

__all__ = ["MAX_CHUNK", "Sequence", "evaluate"]

# Tokens evaluated between two looks at the inbox: an interruption waits for one chunk at most.
MAX_CHUNK = 32


def _common_prefix(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix; whole slices are compared at C speed."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:  # invariant: a[:low] == b[:low], a[:high] != b[:high] beyond `low`
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Sequence:
    """The token ids of one conversation in the backend's KV cache.

    seq_id: which of the backend's sequences this is.
    """

    def __init__(self, backend: Backend, seq_id: int) -> None:
        self.seq_id = seq_id
        self._backend = backend
        self._held: list[int] = []
        self._pending: list[int] = []
        backend.truncate(seq_id, 0)

    @property
    def n_past(self) -> int:
        """Tokens in the cache."""
        return len(self._held)

    @property
    def n_ctx(self) -> int:
        """Tokens the cache has room for."""
        return self._backend.n_ctx

    @property
    def held(self) -> list[int]:
        """A copy of the ids in the cache."""
        return list(self._held)

    @property
    def n_pending(self) -> int:
        """Tokens declared but not evaluated yet."""
        return len(self._pending)

    def advance_to(self, ids: list[int]) -> int:
        """Declare that the model must have seen exactly `ids`; return how many are missing.

        The last id always counts as missing: llama.cpp keeps logits of the last batch only.

        Raises:
            ContextFullError: when `ids` are more than the cache holds. Nothing is changed.
            ProtocolError: for an empty list.
        """
        if not ids:
            raise ProtocolError("advance_to() needs at least one id.")
        if len(ids) > self.n_ctx:
            raise ContextFullError(
                f"{len(ids)} tokens do not fit the context of {self.n_ctx}. "
                "Start a new conversation, or start with a larger --n-ctx."
            )
        n_kept = min(_common_prefix(self._held, ids), len(ids) - 1)
        self._drop_after(n_kept)
        self._pending = ids[n_kept:]
        return len(self._pending)

    def append(self, token: int) -> None:
        """Declare one more token after what was declared before."""
        if self.n_past + self.n_pending >= self.n_ctx:
            raise ContextFullError(f"the context of {self.n_ctx} tokens is full.")
        self._pending.append(token)

    def halt(self) -> None:
        """Withdraw what is pending. What was evaluated stays: the next call decides about it."""
        self._pending = []

    def clear(self) -> None:
        """Forget everything."""
        self.halt()
        self._drop_after(0)

    def _drop_after(self, n_past: int) -> None:
        if n_past < len(self._held):
            self._backend.truncate(self.seq_id, n_past)
            del self._held[n_past:]

    def _next_chunk(self, n_tokens: int) -> Chunk:
        return Chunk(self.seq_id, self.n_past, self._pending[:n_tokens])

    def _evaluated(self, chunk: Chunk) -> bool:
        """Book `chunk`; True when nothing is pending any more, so its logits are the next."""
        self._held += chunk.tokens
        del self._pending[: len(chunk.tokens)]
        return not self._pending

    def _resync(self) -> None:
        """After a failed batch: keep what cache and ledger agree on, declare nothing."""
        n_past = min(self.n_past, self._backend.n_past(self.seq_id))
        self._backend.truncate(self.seq_id, n_past)
        del self._held[n_past:]
        self._pending = []


def evaluate(
    backend: Backend, sequences: Iterable[Sequence], n_tokens: int = MAX_CHUNK
) -> list[tuple[Sequence, int]]:
    """Evaluate up to `n_tokens` pending tokens of all `sequences` as one batch.

    Sequences that need one token (they are speaking) go first, so a long prefill beside them
    delays nobody. Returns those that have no token pending now, with the row of their logits.

    Raises:
        BackendError, ContextFullError: the sequences then hold what the cache holds, and have
            nothing pending.
    """
    waiting = sorted((s for s in sequences if s.n_pending), key=lambda s: s.n_pending)
    batch: list[tuple[Sequence, Chunk]] = []
    for sequence in waiting[:n_tokens]:
        chunk = sequence._next_chunk(n_tokens)
        n_tokens -= len(chunk.tokens)
        batch.append((sequence, chunk))
        if n_tokens == 0:
            break
    if not batch:
        return []
    try:
        rows = backend.eval([chunk for _, chunk in batch])
    except Exception:
        for sequence, _ in batch:
            sequence._resync()
        raise
    return [
        (sequence, row)
        for (sequence, chunk), row in zip(batch, rows, strict=True)
        if sequence._evaluated(chunk)
    ]

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplex_local.backend import Backend, Chunk, ScriptedBackend
from duplex_local.config import EngineConfig
from duplex_local.errors import BackendError, ContextFullError, ProtocolError
from duplex_local.llama_backend import LlamaBackend
from duplex_local.sequence import Sequence, evaluate

ids_lists = st.lists(st.integers(3, 9), min_size=1, max_size=60)


def run(backend: Backend, sequence: Sequence, chunk: int = 32) -> int | None:
    """Evaluate all that is pending; the row of the last logits."""
    ready: list[tuple[Sequence, int]] = []
    while sequence.n_pending:
        ready = evaluate(backend, [sequence], chunk)
    return ready[0][1] if ready else None


@given(st.lists(ids_lists, min_size=1, max_size=8), st.integers(1, 40))
def test_the_cache_holds_exactly_what_was_declared(targets: list[list[int]], chunk: int) -> None:
    backend = ScriptedBackend(eos=2)
    sequence = Sequence(backend, 0)
    for ids in targets:
        held = list(backend.held[0])
        common = next((i for i, (a, b) in enumerate(zip(held, ids, strict=False)) if a != b), None)
        common = min(len(held), len(ids)) if common is None else common
        before = backend.n_evaluated
        n_missing = sequence.advance_to(ids)
        run(backend, sequence, chunk)
        assert backend.held[0] == ids == sequence.held
        # The least possible: what was not there, and the last id for its logits.
        assert backend.n_evaluated - before == n_missing == len(ids) - min(common, len(ids) - 1)


@given(st.lists(st.tuples(st.integers(0, 2), ids_lists), min_size=1, max_size=10))
def test_sequences_in_one_batch_do_not_touch_each_other(steps: list[tuple[int, list[int]]]) -> None:
    backend = ScriptedBackend(eos=2)
    sequences = [Sequence(backend, seq_id) for seq_id in range(3)]
    wanted: list[list[int]] = [[], [], []]
    for seq_id, ids in steps:
        sequences[seq_id].advance_to(ids)
        wanted[seq_id] = ids
        evaluate(backend, sequences)
    while any(sequence.n_pending for sequence in sequences):
        evaluate(backend, sequences)
    assert backend.held[:3] == wanted


def test_one_token_beside_a_long_prefill_waits_for_nobody() -> None:
    backend = ScriptedBackend(eos=2)
    speaking, hearing = Sequence(backend, 0), Sequence(backend, 1)
    hearing.advance_to([5] * 100)
    speaking.advance_to([7])
    ready = evaluate(backend, [hearing, speaking])
    assert [sequence for sequence, _ in ready] == [speaking]
    assert backend.n_past(1) == 31  # 32 tokens at most between two looks at the inbox


def test_what_does_not_fit_changes_nothing() -> None:
    backend = ScriptedBackend(eos=2, n_ctx=10)
    sequence = Sequence(backend, 0)
    sequence.advance_to([4, 5, 6])
    run(backend, sequence)
    with pytest.raises(ContextFullError, match="11 tokens do not fit the context of 10"):
        sequence.advance_to([4] * 11)
    assert sequence.held == [4, 5, 6]
    with pytest.raises(ProtocolError):
        sequence.advance_to([])


class BreakingBackend(ScriptedBackend):
    """Fails in the middle of a batch, part of which stays in the cache, as llama.cpp does."""

    is_broken = False

    def eval(self, chunks: list[Chunk]) -> list[int]:  # type: ignore[override]
        if self.is_broken:
            self.held[chunks[0].seq_id] += list(chunks[0].tokens)[:2]
            raise BackendError("llama_decode failed with code 2 (aborted).")
        return super().eval(chunks)


def test_after_a_failed_batch_cache_and_ledger_agree() -> None:
    backend = BreakingBackend(eos=2)
    sequence = Sequence(backend, 0)
    sequence.advance_to([3, 4, 5])
    run(backend, sequence)
    backend.is_broken = True
    sequence.advance_to([3, 4, 5, 6, 7, 8])
    with pytest.raises(BackendError):
        evaluate(backend, [sequence])
    assert sequence.held == backend.held[0] == [3, 4, 5]
    backend.is_broken = False
    sequence.advance_to([3, 4, 5, 6, 7, 8])
    run(backend, sequence)
    assert backend.held[0] == [3, 4, 5, 6, 7, 8]


@pytest.fixture(scope="module")
def backend(tiny_gguf: Path) -> Iterator[LlamaBackend]:
    config = EngineConfig(model=tiny_gguf, n_ctx=256, n_sessions=2, n_threads=1, kv_f32=True)
    backend = LlamaBackend(config)
    yield backend
    backend.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(targets=st.lists(ids_lists, min_size=1, max_size=5), chunk=st.integers(1, 32))
def test_rollback_is_exact(backend: LlamaBackend, targets: list[list[int]], chunk: int) -> None:
    """Append, prune, truncate, re-tokenize: the logits are those of a fresh prefill.

    Float noise only: chunks of other sizes use other kernels.
    """
    worn, fresh = Sequence(backend, 0), Sequence(backend, 1)
    worn.clear()
    for ids in targets:
        worn.advance_to(ids)
        row = run(backend, worn, chunk)
        assert row is not None
        logits = backend.logits(row)
        fresh.clear()
        fresh.advance_to(ids)
        row = run(backend, fresh)
        assert row is not None
        np.testing.assert_allclose(logits, backend.logits(row), atol=2e-5, rtol=0)


def test_the_rollback_test_would_notice_a_wrong_token(backend: LlamaBackend) -> None:
    worn = Sequence(backend, 0)
    logits = []
    for ids in ([5, 6, 7, 8], [5, 9, 7, 8]):
        worn.advance_to(ids)
        row = run(backend, worn)
        assert row is not None
        logits.append(backend.logits(row))
    assert np.abs(logits[0] - logits[1]).max() > 1e-3

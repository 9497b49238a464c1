"""The least code that decodes with llama.cpp: what the engine's speed is compared with."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np
import numpy.typing as npt

__all__ = ["BareLoop"]


class BareLoop:
    """A model, a context and a sampler chain; nothing is checked. A context manager.

    n_threads: as the engine uses. The context settings are the engine's, too.
    """

    def __init__(self, model: Path, n_ctx: int, n_threads: int) -> None:
        with ExitStack() as stack:
            params = llama.llama_model_default_params()
            params.n_gpu_layers = -1 if llama.llama_supports_gpu_offload() else 0
            self._model = llama.llama_model_load_from_file(os.fsencode(model), params)
            stack.callback(llama.llama_model_free, self._model)
            options = llama.llama_context_default_params()
            options.n_ctx, options.n_batch, options.n_ubatch = n_ctx, 512, 512
            options.n_threads = options.n_threads_batch = n_threads
            options.flash_attn_type = -1 if llama.llama_supports_gpu_offload() else 0
            self._context = llama.llama_init_from_model(self._model, options)
            stack.callback(llama.llama_free, self._context)
            self._batch = llama.llama_batch_init(512, 0, 1)
            stack.callback(llama.llama_batch_free, self._batch)
            self._chain = self._new_chain()
            stack.callback(llama.llama_sampler_free, self._chain)
            self._memory = llama.llama_get_memory(self._context)
            self._handles = stack.pop_all()

    def _new_chain(self) -> Any:
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        for sampler in (
            llama.llama_sampler_init_top_k(1000),
            llama.llama_sampler_init_temp(0.8),
            llama.llama_sampler_init_top_p(0.8, 1),
            llama.llama_sampler_init_dist(1),
        ):
            llama.llama_sampler_chain_add(chain, sampler)
        return chain

    def _decode(self, tokens: Sequence[int], start: int, every_row: bool = False) -> None:
        batch = self._batch
        for row, token in enumerate(tokens):
            batch.token[row], batch.pos[row] = token, start + row
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, 0
            batch.logits[row] = every_row or row == len(tokens) - 1
        batch.n_tokens = len(tokens)
        if llama.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama_decode failed in the bare loop")

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits after each of `ids`, at most 512, from an empty cache: (n, n_vocab)."""
        llama.llama_memory_seq_rm(self._memory, 0, 0, -1)
        self._decode(ids, 0, every_row=True)
        n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        rows = llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(rows, (len(ids), n_vocab)).copy()

    def prefill_seconds(self, prompt: Sequence[int]) -> float:
        """Seconds to decode `prompt` in one batch, from an empty cache."""
        llama.llama_memory_seq_rm(self._memory, 0, 0, -1)
        start_s = time.perf_counter()
        self._decode(prompt, 0)
        llama.llama_get_logits_ith(self._context, len(prompt) - 1)  # waits for a GPU
        return time.perf_counter() - start_s

    def seconds(self, prompt: Sequence[int], replies: Sequence[int]) -> float:
        """Seconds to sample and decode one token after another, after `prompt` (untimed).

        replies: what is fed back, whatever was sampled, so that two loops do the same work.
        """
        llama.llama_memory_seq_rm(self._memory, 0, 0, -1)
        self._decode(prompt, 0)
        llama.llama_get_logits_ith(self._context, len(prompt) - 1)  # waits for a GPU
        row, start_s = len(prompt) - 1, time.perf_counter()
        for offset, token in enumerate(replies):
            llama.llama_sampler_sample(self._chain, self._context, row)
            self._decode([token], len(prompt) + offset)
            row = 0
        return time.perf_counter() - start_s

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self._handles.close()

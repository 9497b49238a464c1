"""The few llama.cpp calls that the converter's tests need, on the low-level API."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from llama_cpp import llama_cpp as lib

# The library keeps only the address: this reference must live as long as the process.
_SILENT = lib.llama_log_callback(lambda level, text, data: None)


class LlamaModel:
    """An open GGUF."""

    def __init__(self, model: object) -> None:
        self._model = model
        self.vocab = lib.llama_model_get_vocab(model)
        self.n_vocab = lib.llama_vocab_n_tokens(self.vocab)

    def tokenize(self, text: str) -> list[int]:
        """Ids of plain text: no bos, special tokens stay text."""
        data = text.encode("utf-8")
        buffer = (lib.llama_token * (len(data) + 1))()
        n = lib.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), False, False)
        return list(buffer[:n])

    def metadata(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(4096)
        n = lib.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return None if n < 0 else buffer.value.decode()

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Logits after each of `ids`, with an F32 cache and flash attention off: (n, n_vocab)."""
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 256
        params.type_k = params.type_v = lib.GGML_TYPE_F32
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_threads = params.n_threads_batch = 1
        context = lib.llama_init_from_model(self._model, params)
        batch = lib.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            assert lib.llama_decode(context, batch) == 0
            rows = [lib.llama_get_logits_ith(context, i) for i in range(len(ids))]
            return np.stack([np.ctypeslib.as_array(row, (self.n_vocab,)).copy() for row in rows])
        finally:
            lib.llama_batch_free(batch)
            lib.llama_free(context)


@contextmanager
def open_model(path: Path, vocab_only: bool = False) -> Iterator[LlamaModel]:
    lib.llama_log_set(_SILENT, None)
    params = lib.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    assert model, f"llama.cpp cannot load {path}"
    try:
        yield LlamaModel(model)
    finally:
        lib.llama_model_free(model)

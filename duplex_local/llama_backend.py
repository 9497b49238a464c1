"""llama.cpp through the ctypes API of llama-cpp-python 0.3.36: the only file that knows it.

It owns the C pointers, checks before every call what llama.cpp would abort the process on, and
names every return code. The high-level `Llama` class is never used: it addresses all sequences
at once and keeps a copy of the logits.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # no debugger on an assertion in C

import gguf
import llama_cpp as llama
import numpy as np
import numpy.typing as npt

from duplex_local.backend import Chunk, ModelInfo
from duplex_local.config import EngineConfig, SamplingConfig
from duplex_local.errors import BackendError, ContextFullError, ModelFileError, ProtocolError
from duplex_local.machine import default_threads

__all__ = [
    "LlamaBackend",
    "LlamaVocab",
    "load_vocab",
    "system_info",
]

_log = logging.getLogger(__name__)
_last_errors: deque[str] = deque(maxlen=8)  # what llama.cpp said when something failed
_LOG_LEVEL_ERROR = 4

_DECODE_CODES = {
    1: "no KV slot for the batch",
    2: "aborted",
    -1: "invalid batch",
    -2: "out of memory for the computation",
    -3: "the computation failed",
}
_NOT_OURS = "Make the file again with `python -m convert CHECKPOINT`."
_SCALES = ("minicpm.embedding_scale", "minicpm.residual_scale", "minicpm.logit_scale")


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if level == _LOG_LEVEL_ERROR:
        _last_errors.append(line)
    _log.debug("%s", line)


@functools.cache
def _start() -> None:
    """Prepare the library once; refuse one whose structs are not those this file was written for.

    A wrong layout would corrupt memory silently: ctypes cannot see it.
    """
    llama.llama_log_set(_on_log, ctypes.c_void_p(0))
    context, model = llama.llama_context_default_params(), llama.llama_model_default_params()
    seen = (ctypes.sizeof(model), ctypes.sizeof(context), context.n_ctx, context.n_batch)
    if seen != (80, 160, 512, 2048):
        raise BackendError(
            f"this llama-cpp-python ({llama.__version__}) has another layout than 0.3.36 {seen}. "
            "Install the pinned version: make install."
        )
    llama.llama_backend_init()


def system_info() -> str:
    """What the library was built for, as llama.cpp says it."""
    _start()
    return f"{llama.__version__}, {llama.llama_print_system_info().decode().strip()}"


def _load_model(path: Path, params: Any, stack: ExitStack) -> Any:
    if not path.is_file():
        raise ModelFileError(
            f"Model file not found: {path}. Run `make run` for the demo model, or `make convert` "
            "for MiniCPM-duplex."
        )
    _start()
    _last_errors.clear()
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        reason = _last_errors[0] if _last_errors else "no reason given"
        raise ModelFileError(f"{path} could not be loaded ({reason}). {_NOT_OURS}")
    stack.callback(llama.llama_model_free, model)
    _check_metadata(model, path)
    return model


def _metadata(model: Any, key: str) -> str | None:
    buffer = ctypes.create_string_buffer(4096)
    n_bytes = llama.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return None if n_bytes < 0 else buffer.value.decode("utf-8", "replace")


def _quant_name(file_type: str | None) -> str:
    """Q4_K_M of file type 15; empty when the file does not say."""
    try:
        name = str(gguf.LlamaFileType(int(file_type or "")).name)  # MOSTLY_Q4_K_M
    except ValueError:
        return ""
    return name.split("_", 1)[1]


def _check_metadata(model: Any, path: Path) -> None:
    """Refuse what would run and give wrong answers (docs/protocol.md, section "GGUF")."""
    arch = _metadata(model, "general.architecture")
    if arch != "minicpm":
        raise ModelFileError(
            f"{path} holds a model of architecture {arch!r}, not MiniCPM; duplex-local runs "
            "MiniCPM-duplex checkpoints only. Convert one with `python -m convert CHECKPOINT`."
        )
    missing = [key for key in _SCALES if _metadata(model, key) is None]
    if missing:
        raise ModelFileError(f"{path} lacks {missing[0]}: its logits would be wrong. {_NOT_OURS}")
    if _metadata(model, "tokenizer.ggml.add_space_prefix") != "false":
        raise ModelFileError(
            f"{path} was made by another converter: it would put a space before every text, and "
            f"the model would see other tokens than it was trained on. {_NOT_OURS}"
        )


class LlamaVocab:
    """The vocabulary inside a GGUF. See `tokenizer.Vocab`."""

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        self._vocab = llama.llama_model_get_vocab(model)
        self.n_tokens = llama.llama_vocab_n_tokens(self._vocab)
        self._check_types()
        self.added = self._trailing_user_defined()
        self.piece = functools.cache(self._piece)

    def _text(self, token: int) -> str:
        return str(llama.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))

    def _is_user_defined(self, token: int) -> bool:
        attr = llama.llama_vocab_get_attr(self._vocab, token)
        return bool(attr & llama.LLAMA_TOKEN_ATTR_USER_DEFINED)

    def _check_types(self) -> None:
        """sentencepiece gives score 0 to the first merge and to user-defined pieces only. Many
        normal pieces of score 0 are user-defined ones whose type was lost: unreachable by
        merging, so `...` would become three tokens.
        """
        normal = llama.LLAMA_TOKEN_ATTR_NORMAL
        n_lost = sum(
            llama.llama_vocab_get_score(self._vocab, token) == 0.0
            and llama.llama_vocab_get_attr(self._vocab, token) == normal
            for token in range(self.n_tokens)
        )
        if n_lost > 1:
            raise ModelFileError(
                f"{self.name} has lost the types of {n_lost - 1} vocabulary pieces: texts would "
                f"become other tokens than the model was trained on. {_NOT_OURS}"
            )

    def _trailing_user_defined(self) -> tuple[str, ...]:
        """Added tokens stand behind all pieces of the sentencepiece model."""
        texts = []
        for token in reversed(range(self.n_tokens)):
            text = self._text(token)
            if not (self._is_user_defined(token) and text[:1] == "<" and text[-1:] == ">"):
                break
            texts.append(text)
        return tuple(texts)

    def encode(self, text: str) -> list[int]:
        return self._tokenize(text, parse_special=False)

    def _tokenize(self, text: str, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        ids = (ctypes.c_int32 * max(1, len(data)))()  # a byte makes one token at most
        n_ids = llama.llama_tokenize(
            self._vocab, data, len(data), ids, len(ids), False, parse_special
        )
        if n_ids < 0:
            raise BackendError(f"llama_tokenize needs {-n_ids} ids for {len(data)} bytes.")
        return list(ids[:n_ids])

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(512)
        n_bytes = llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        if n_bytes < 0:
            raise BackendError(f"llama_token_to_piece needs {-n_bytes} bytes for token {token}.")
        return buffer.raw[:n_bytes]

    def find(self, text: str) -> int | None:
        ids = self._tokenize(text, parse_special=True)
        return ids[0] if len(ids) == 1 and self._text(ids[0]) == text else None


class _VocabFile(LlamaVocab):
    """A vocabulary that keeps its own model handle alive."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            params = llama.llama_model_default_params()
            params.vocab_only = True
            super().__init__(_load_model(path, params, stack), str(path))
            self._handle = stack.pop_all()


def load_vocab(path: Path) -> LlamaVocab:
    """The vocabulary of a GGUF without its weights.

    Raises:
        ModelFileError: as `LlamaBackend`.
    """
    return _VocabFile(path)


class _LlamaSampler:
    """A chain in the order of Hugging Face: bias, temperature, then top-p.

    top_k 1000 goes first: it makes top-p 80 times cheaper on 122,760 flat logits, and cuts off
    nothing that top-p 0.8 of a trained model would keep.
    """

    def __init__(self, context: Any, config: SamplingConfig, idle: int, n_vocab: int) -> None:
        self._context = context
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        if config.talkativeness:
            bias = llama.llama_logit_bias(token=idle, bias=-config.talkativeness)
            self._add(llama.llama_sampler_init_logit_bias(n_vocab, 1, ctypes.pointer(bias)))
        if config.temperature == 0.0:
            self._add(llama.llama_sampler_init_greedy())
            return
        seed = llama.LLAMA_DEFAULT_SEED if config.seed is None else config.seed
        self._add(llama.llama_sampler_init_top_k(1000))
        self._add(llama.llama_sampler_init_temp(config.temperature))
        self._add(llama.llama_sampler_init_top_p(config.top_p, 1))
        self._add(llama.llama_sampler_init_dist(seed))

    def _add(self, sampler: Any) -> None:
        llama.llama_sampler_chain_add(self._chain, sampler)  # the chain owns it now

    def sample(self, row: int) -> int:
        if self._chain is None:
            raise ProtocolError("sample() called on a sampler that is closed.")
        return int(llama.llama_sampler_sample(self._chain, self._context, row))

    def close(self) -> None:
        if self._chain is not None:
            llama.llama_sampler_free(self._chain)
            self._chain = None


class LlamaBackend:
    """A GGUF in memory, with one KV stream per conversation. See `backend.Backend`.

    Raises:
        ModelFileError: when the file is missing, damaged, or would run wrong.
        BackendError: when llama.cpp cannot make a context (memory).
    """

    def __init__(self, config: EngineConfig) -> None:
        with ExitStack() as stack:
            _start()
            params = llama.llama_model_default_params()
            has_gpu = bool(llama.llama_supports_gpu_offload()) and config.n_gpu_layers != 0
            params.n_gpu_layers = config.n_gpu_layers if has_gpu else 0
            self._model = _load_model(config.model, params, stack)
            self.vocab = LlamaVocab(self._model, str(config.model))
            self.n_ctx = min(config.n_ctx, llama.llama_model_n_ctx_train(self._model))
            self.n_sequences = config.n_sessions
            self.n_batch = max(64, config.n_sessions)
            self._context = self._new_context(config, has_gpu, stack)
            self._memory = llama.llama_get_memory(self._context)
            self._batch = llama.llama_batch_init(self.n_batch, 0, 1)
            stack.callback(llama.llama_batch_free, self._batch)
            self.info = self._describe(config.model, has_gpu)
            self._warm_up()
            self._handles = stack.pop_all()

    def _new_context(self, config: EngineConfig, has_gpu: bool, stack: ExitStack) -> Any:
        params = llama.llama_context_default_params()
        # One stream per conversation: in a shared pool, attention without flash attention pays
        # for the cells of every other conversation.
        params.kv_unified = False
        params.n_ctx = self.n_ctx * config.n_sessions
        params.n_seq_max = config.n_sessions
        params.n_batch = params.n_ubatch = self.n_batch
        params.n_threads = params.n_threads_batch = config.n_threads or default_threads(
            config.model
        )
        flash = config.flash_attn
        automatic = llama.LLAMA_FLASH_ATTN_TYPE_AUTO if has_gpu else 0
        params.flash_attn_type = automatic if flash is None else int(flash)
        if config.kv_f32:
            params.type_k = params.type_v = llama.GGML_TYPE_F32
        context = llama.llama_init_from_model(self._model, params)
        if not context:
            reason = _last_errors[0] if _last_errors else "no reason given"
            raise BackendError(
                f"llama.cpp could not make a context of {params.n_ctx} tokens ({reason}). Try "
                "fewer tabs (--tabs) or a smaller context (--n-ctx)."
            )
        stack.callback(llama.llama_free, context)
        return context

    def _describe(self, path: Path, has_gpu: bool) -> ModelInfo:
        gpu = "Metal" if platform.system() == "Darwin" else "GPU"
        return ModelInfo(
            name=_metadata(self._model, "general.name") or path.stem,
            description=_metadata(self._model, "general.description") or "",
            quant=_quant_name(_metadata(self._model, "general.file_type")),
            backend=gpu if has_gpu else "CPU",
            n_ctx=self.n_ctx,
            size_bytes=path.stat().st_size,
        )

    def _warm_up(self) -> None:
        """The first graph of each batch size is slow; pay for it before anybody waits."""
        for n_tokens in (1, 16):
            self.eval([Chunk(0, 0, [0] * n_tokens)])
            self.truncate(0, 0)

    def eval(self, chunks: Sequence[Chunk]) -> list[int]:
        rows = self._fill_batch(chunks)
        code = llama.llama_decode(self._context, self._batch)
        if code == 1:
            raise ContextFullError("llama_decode found no room in the context (code 1).")
        if code != 0:
            raise BackendError(
                f"llama_decode failed with code {code} ({_DECODE_CODES.get(code, 'fatal')}). "
                "Start a new conversation; if it comes back, run `make doctor`."
            )
        return rows

    def _fill_batch(self, chunks: Sequence[Chunk]) -> list[int]:
        """Write `chunks` into the C batch after checking all that would abort the process."""
        if not 0 < sum(len(chunk.tokens) for chunk in chunks) <= self.n_batch:
            raise ProtocolError(f"a batch takes 1 to {self.n_batch} tokens.")
        batch, row, rows = self._batch, 0, []
        for chunk in chunks:
            self._check_chunk(chunk)
            for offset, token in enumerate(chunk.tokens):
                batch.token[row] = token
                batch.pos[row] = chunk.start + offset
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = chunk.seq_id
                batch.logits[row] = 0
                row += 1
            batch.logits[row - 1] = 1
            rows.append(row - 1)
        batch.n_tokens = row
        return rows

    def _check_chunk(self, chunk: Chunk) -> None:
        if not chunk.tokens:
            raise ProtocolError("a chunk has no tokens.")
        n_past = self.n_past(chunk.seq_id)
        if chunk.start != n_past:
            raise ProtocolError(f"chunk starts at {chunk.start}, but the cache holds {n_past}.")
        if n_past + len(chunk.tokens) > self.n_ctx:
            raise ContextFullError(f"the context of {self.n_ctx} tokens is full.")
        if not all(0 <= token < self.vocab.n_tokens for token in chunk.tokens):
            raise ProtocolError(f"a token id is outside 0..{self.vocab.n_tokens - 1}.")

    def sampler(self, config: SamplingConfig, idle: int) -> _LlamaSampler:
        return _LlamaSampler(self._context, config, idle, self.vocab.n_tokens)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        pointer = llama.llama_get_logits_ith(self._context, row)
        if not pointer:
            raise ProtocolError(f"row {row} of the last batch has no logits.")
        view = np.ctypeslib.as_array(pointer, (self.vocab.n_tokens,))
        return np.array(view, np.float32)  # a copy: the memory is the next batch's

    def n_past(self, seq_id: int) -> int:
        self._check_seq_id(seq_id)
        return int(llama.llama_memory_seq_pos_max(self._memory, seq_id)) + 1

    def truncate(self, seq_id: int, n_past: int) -> None:
        self._check_seq_id(seq_id)
        llama.llama_memory_seq_rm(self._memory, seq_id, n_past, -1)

    def _check_seq_id(self, seq_id: int) -> None:
        if not 0 <= seq_id < self.n_sequences:
            raise ProtocolError(f"there is no sequence {seq_id}.")

    def close(self) -> None:
        """Free everything, the context before the model."""
        self._handles.close()

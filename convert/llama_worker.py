"""The child process that calls llama.cpp: quantizes, reports on a file, evaluates.

A child, because llama.cpp can abort the whole process on a bad file, and because its calls
cannot be interrupted: killing the child is what stops them.

One job a line on stdin, `[method, arguments]`; answers are lines on stdout:
    {"progress": name}         llama.cpp begins with this tensor; any number of them
    {"result": …}              the job is done
    {"error": text}            it failed; the last thing llama.cpp said
End of input ends the process at once, so it never outlives its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llama_cpp import llama_cpp as lib

from duplex_local.machine import peak_rss_bytes

MAX_BUFFER_BYTES = 256 * 1024 * 1024  # rows held at once; the library's default is 8 GiB
ERROR = 4  # GGML_LOG_LEVEL_ERROR; the binding has no such name, and a table that is off by one
SMALL_BYTES = 64 * 1024 * 1024  # a file that one thread evaluates faster than several
N_CTX = 256  # the smallest context llama.cpp makes
_PROGRESS = re.compile(r"\[\s*\d+/\s*\d+\]\s+(\S+)")


class _Log:
    """Keeps what llama.cpp says instead of printing it; passes its progress on."""

    def __init__(self) -> None:
        # The reason comes before a general "failed to load model".
        self._errors: deque[str] = deque(maxlen=2)
        # ctypes does not keep the function alive for the library: this reference must stay.
        self._callback = lib.llama_log_callback(self._take)
        lib.llama_log_set(self._callback, None)

    def last_words(self) -> str:
        """The last errors since this was last asked."""
        words = "; ".join(self._errors)
        self._errors.clear()
        return words

    def _take(self, level: int, text: bytes, _user_data: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        progress = _PROGRESS.match(line)
        if progress:
            _answer("progress", progress[1])
        elif level == ERROR:
            self._errors.append(line)


def _answer(kind: str, value: object) -> None:
    print(json.dumps({kind: value}), flush=True)


def quantize(source: str, target: str, ftype: int, overrides: dict[str, int]) -> None:
    """Write `target`, `source` in another LLAMA_FTYPE.

    overrides: {regular expression of tensor names: GGML type}, which win over the type that
        llama.cpp's mix has for these tensors.
    """
    params = lib.llama_model_quantize_default_params()
    params.ftype = ftype
    params.max_buf_size = MAX_BUFFER_BYTES
    # The last entry stays zero: a pattern of NULL ends the array.
    table = (lib.llama_model_tensor_override * (len(overrides) + 1))()
    for entry, (pattern, kind) in zip(table, overrides.items(), strict=False):
        entry.pattern, entry.type = pattern.encode(), kind
    params.tt_overrides = table
    code = lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    if code != 0:
        raise RuntimeError(f"llama_model_quantize returned {code}")


def inspect(path: str, texts: list[str], piece_ids: list[int]) -> dict[str, Any]:
    """What llama.cpp makes of the file without its weights: shapes and vocabulary."""
    with _model(path, with_weights=False) as model:
        vocab = lib.llama_model_get_vocab(model)
        ids = [_tokenize(vocab, text) for text in texts]
        return {
            "n_tokens": lib.llama_vocab_n_tokens(vocab),
            "bos": lib.llama_vocab_bos(vocab),
            "eos": lib.llama_vocab_eos(vocab),
            "n_params": lib.llama_model_n_params(model),
            "ids": ids,
            "decoded": [b"".join(_piece(vocab, token) for token in some).hex() for some in ids],
            "pieces": [_piece(vocab, token).hex() for token in piece_ids],
        }


@contextmanager
def _model(path: str, with_weights: bool) -> Iterator[Any]:
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    params.check_tensors = with_weights
    params.no_alloc = not with_weights
    # The library aborts on no_alloc with a mapped file.
    params.load_mode = lib.LLAMA_LOAD_MODE_MMAP if with_weights else lib.LLAMA_LOAD_MODE_NONE
    params.use_extra_bufts = False  # repacking would copy all weights for one evaluation
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise RuntimeError("llama_model_load_from_file returned NULL")
    try:
        yield model
    finally:
        lib.llama_model_free(model)


def _tokenize(vocab: Any, text: str) -> list[int]:
    data = text.encode("utf-8")
    buffer = (lib.llama_token * (len(data) + 1))()
    count = lib.llama_tokenize(vocab, data, len(data), buffer, len(buffer), False, False)
    return list(buffer[: max(count, 0)])


def _piece(vocab: Any, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(1024)
    count = lib.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, False)
    return buffer.raw[: max(count, 0)]


def evaluate(path: str, ids: list[int], target: str) -> None:
    """Write the logits after each of `ids` to `target`: rows of float32, n_vocab each.

    With the cache in float32 and flash attention off, so that what is left of the difference to
    an exact computation comes from the weights.
    """
    with _model(path, with_weights=True) as model, open(target, "wb") as file:
        n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        with _context(model, _n_threads(path)) as context, _batch(ids) as batch:
            code = lib.llama_decode(context, batch)
            if code != 0:
                raise RuntimeError(f"llama_decode returned {code}")
            for i in range(len(ids)):
                file.write(ctypes.string_at(lib.llama_get_logits_ith(context, i), n_vocab * 4))


def _n_threads(path: str) -> int:
    """Small models are slower with several threads. One core is the parent's, which works, too:
    threads that share a core wait for each other in turn."""
    return 1 if os.path.getsize(path) < SMALL_BYTES else max(1, min(8, (os.cpu_count() or 1) - 1))


@contextmanager
def _context(model: Any, n_threads: int) -> Iterator[Any]:
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = N_CTX
    params.type_k = params.type_v = lib.GGML_TYPE_F32
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.n_threads = params.n_threads_batch = n_threads
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError("llama_init_from_model returned NULL")
    try:
        yield context
    finally:
        lib.llama_free(context)


@contextmanager
def _batch(ids: list[int]) -> Iterator[Any]:
    """`ids` as sequence 0 with the logits of all of them asked for."""
    if not 0 < len(ids) <= N_CTX:
        raise RuntimeError(f"{len(ids)} ids do not fit the context")
    batch = lib.llama_batch_init(len(ids), 0, 1)
    try:
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        yield batch
    finally:
        lib.llama_batch_free(batch)


_METHODS: dict[str, Callable[..., Any]] = {
    "quantize": quantize,
    "inspect": inspect,
    "evaluate": evaluate,
    "peak_rss_bytes": peak_rss_bytes,
}


def _read_jobs(jobs: queue.Queue[str]) -> None:
    """Reader thread: hands lines to the main thread, ends the process with its parent."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


def main() -> None:
    """Serve jobs until stdin ends."""
    # Ctrl-C in a terminal reaches this process too; the parent answers it, and kills this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    log = _Log()
    while True:
        method, arguments = json.loads(jobs.get())
        log.last_words()
        try:
            _answer("result", _METHODS[method](*arguments))
        except (RuntimeError, OSError) as error:
            _answer("error", f"{error} ({log.last_words() or 'no reason given'})")


if __name__ == "__main__":
    main()

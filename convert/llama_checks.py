"""What llama.cpp itself makes of a written file: special ids, tokenization, logits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convert.checks import Check, result_of
from convert.llama_process import LlamaProcess
from convert.tensor import Array
from convert.untrusted import brief
from convert.vocabulary import PieceType, Vocabulary
from duplex_local.errors import BackendError

__all__ = [
    "TEXTS",
    "check_special_ids",
    "check_tokenization",
    "evaluate",
    "evaluation",
    "sampled_pieces",
]

N_SAMPLED_PIECES = 256
TEXTS = (
    "<用户>Hello, what's the time?<AI>",
    "<用户>你好，今天天气怎么样？<AI>It is 12:30...\n\n",
    "  two  spaces\tand a tab, 3.14159 © 😀",
)


def sampled_pieces(vocabulary: Vocabulary) -> list[int]:
    """Ids spread evenly over the pieces that stand for text."""
    kinds = (PieceType.NORMAL, PieceType.USER_DEFINED)
    n_pieces = vocabulary.n_pieces
    ids = [token for token in range(n_pieces) if vocabulary.types[token] in kinds]
    return ids[:: max(1, len(ids) // N_SAMPLED_PIECES)]


def check_special_ids(found: dict[str, Any], vocabulary: Vocabulary, n_params: int) -> Check:
    """found: the worker's answer to "inspect"."""
    special = {text: vocabulary.find(text) for text in ("<s>", "</s>", "<idle>")}
    facts = {
        "begin of text (<s>)": (found["bos"], special["<s>"]),
        "end of text (</s>)": (found["eos"], special["</s>"]),
        "number of tokens": (found["n_tokens"], len(vocabulary.texts)),
        "number of parameters": (found["n_params"], n_params),
    }
    wrong = [
        f"llama.cpp has {mine} for the {what}, not {theirs}"
        for what, (mine, theirs) in facts.items()
        if mine != theirs
    ]
    return result_of("special ids", ", ".join(map(str, special.values())), wrong)


def check_tokenization(
    name: str,
    texts: Sequence[str],
    found: Sequence[Sequence[int]],
    expected: Sequence[Sequence[int]],
    pieces: Sequence[str],
    expected_pieces: Sequence[str],
) -> Check:
    """Ids of texts, and the bytes (hexadecimal) that sampled tokens stand for."""
    wrong = [
        f"{brief(text)} becomes {_few(mine)}, not {_few(theirs)}"
        for text, mine, theirs in zip(texts, found, expected, strict=True)
        if list(mine) != list(theirs)
    ]
    n_pieces = sum(a != b for a, b in zip(pieces, expected_pieces, strict=True))
    if n_pieces:
        wrong.append(f"{n_pieces} tokens stand for other bytes")
    return result_of(name, f"{len(texts)} texts", wrong)


def _few(ids: Sequence[int]) -> str:
    return f"[{', '.join(map(str, ids[:6]))}{', …' if len(ids) > 6 else ''}]"


def evaluate(path: Path, ids: Sequence[int], n_vocab: int, llama: LlamaProcess) -> Array:
    """llama.cpp's logits after each of `ids`: (n, n_vocab), float32.

    Raises:
        BackendError: when llama.cpp cannot load or run the file.
    """
    with evaluation(path, ids, n_vocab, llama) as logits:
        return logits()


@contextmanager
def evaluation(
    path: Path, ids: Sequence[int], n_vocab: int, llama: LlamaProcess
) -> Iterator[Callable[[], Array]]:
    """As `evaluate`, but llama.cpp computes while the block runs; call what this yields to wait.

    The logits come through a file: 48 rows of 122,760 numbers are 24 MB.
    """
    try:
        scratch = tempfile.TemporaryDirectory(
            prefix="duplex-verify-",
            ignore_cleanup_errors=True,  # after an error llama.cpp may still be writing in it
        )
    except OSError as error:
        raise _cannot_keep_logits(error) from None
    with scratch as folder:
        target = Path(folder) / "logits.f32"
        wait = llama.start("evaluate", str(path), list(ids), str(target))

        def logits() -> Array:
            wait()
            try:
                values = np.fromfile(target, np.float32)
            except OSError as error:
                raise _cannot_keep_logits(error) from None
            if values.size != len(ids) * n_vocab:
                raise BackendError(
                    f"llama.cpp gave {values.size} logits for {len(ids)} ids of {path.name}"
                )
            return values.reshape(len(ids), n_vocab)

        yield logits


def _cannot_keep_logits(error: OSError) -> BackendError:
    return BackendError(
        f"Cannot keep logits in {tempfile.gettempdir()}: {error.strerror}. Free some space."
    )

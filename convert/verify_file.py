"""Checks of a written file whose checkpoint is not at hand (`--verify GGUF`).

What can be known without it: that the file is complete, says everything llama.cpp would otherwise
guess wrongly, is finite and not zeroed in part, and that its tokenizer gives back every text. Not:
that the weights are the right ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from convert.checks import Check
from convert.duplex_prompt import PROMPT_TEXTS, duplex_prompt
from convert.header_checks import (
    check_metadata,
    check_plausible,
    check_tensor_table,
    check_vocabulary,
    expected_metadata,
    hyperparameters_of,
    tensor_shapes,
    vocabulary_of,
)
from convert.hyperparameters import Hyperparameters
from convert.llama_checks import (
    TEXTS,
    check_special_ids,
    check_tokenization,
    evaluate,
    sampled_pieces,
)
from convert.llama_process import LlamaProcess
from convert.tensor_checks import check_finite
from convert.tensor_map import n_params
from convert.untrusted import brief
from convert.verify import Verification, ignore
from convert.vocabulary import PieceType, Vocabulary
from convert.written_file import WrittenFile, read_gguf
from duplex_local.errors import BackendError, ModelFileError

__all__ = ["verify_file"]


def verify_file(
    path: Path, llama: LlamaProcess, advance: Callable[[int], object] = ignore
) -> Verification:
    """All checks that need nothing but the file.

    Raises:
        ModelFileError: when the file is no GGUF or is truncated.
    """
    file = read_gguf(path)
    try:
        architecture = file.metadata.get("general.architecture")
        if architecture != "minicpm":
            raise ModelFileError(f"general.architecture is {brief(architecture)}, not minicpm")
        vocabulary = vocabulary_of(file.metadata)
        hparams = hyperparameters_of(file.metadata, len(vocabulary.texts))
    except ModelFileError as error:
        return Verification([Check("metadata", "-", str(error))], {"tensors": len(file.tensors)})
    table = check_tensor_table(file, tensor_shapes(hparams, file))
    checks = [
        check_metadata(file.metadata, expected_metadata(hparams, vocabulary)),
        check_plausible(file.metadata),
        check_vocabulary(vocabulary, None),
        table,
    ]
    if table.ok:
        checks.append(check_finite(file, advance))
        try:
            checks += _check_in_llama(file, hparams, vocabulary, llama)
        except BackendError as error:
            checks.append(Check("llama.cpp", "-", str(error).rstrip(".")))
    return Verification(checks, {"tensors": len(file.tensors)})


def _check_in_llama(
    file: WrittenFile, hparams: Hyperparameters, vocabulary: Vocabulary, llama: LlamaProcess
) -> list[Check]:
    user_defined = [
        token
        for token in range(vocabulary.n_pieces)
        if vocabulary.types[token] is PieceType.USER_DEFINED
    ]
    texts = [*TEXTS, *PROMPT_TEXTS, *(vocabulary.texts[token] for token in user_defined)]
    found = llama.ask("inspect", str(file.path), texts, sampled_pieces(vocabulary))
    prompt_ids = dict(zip(texts, found["ids"], strict=True))
    prompt = duplex_prompt(vocabulary, prompt_ids.__getitem__, hparams.context_length)
    logits = evaluate(file.path, prompt.ids, len(vocabulary.texts), llama)
    why = "" if np.isfinite(logits).all() else "the logits are not finite"
    return [
        check_special_ids(found, vocabulary, n_params(t.shape for t in file.tensors.values())),
        _check_round_trips(texts, found["decoded"]),
        _check_pieces(vocabulary, user_defined, found["ids"][len(texts) - len(user_defined) :]),
        Check("logits", f"{len(prompt.ids)} positions finite" if not why else "-", why),
    ]


def _check_round_trips(texts: list[str], decoded: list[str]) -> Check:
    same = [text.encode("utf-8").hex() for text in texts]
    wrong = [
        f"{text!r} comes back as {bytes.fromhex(back).decode('utf-8', 'replace')!r}"
        for text, good, back in zip(texts, same, decoded, strict=True)
        if good != back
    ]
    more = f" ({len(wrong)} of {len(texts)} texts)" if wrong else ""
    return Check("round trips", f"{len(texts)} texts", wrong[0][:200] + more if wrong else "")


def _check_pieces(vocabulary: Vocabulary, tokens: list[int], found: list[list[int]]) -> Check:
    """A USER_DEFINED piece alone is its own id."""
    texts = [vocabulary.texts[token] for token in tokens]
    return check_tokenization("own ids", texts, found, [[token] for token in tokens], [], [])

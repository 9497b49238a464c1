"""Checks of what a GGUF says before its first weight: metadata, vocabulary, tensor table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

from convert.checks import Check, result_of
from convert.hyperparameters import MAX_LAYERS, Hyperparameters
from convert.tensor_limits import NOMINAL_ERRORS
from convert.tensor_map import required_tensors
from convert.untrusted import brief
from convert.vocabulary import ADDED_SCORE, PieceType, Vocabulary
from convert.written_file import WrittenFile
from duplex_local.errors import ModelFileError

__all__ = [
    "SPECIAL_TEXTS",
    "check_metadata",
    "check_plausible",
    "check_tensor_table",
    "check_vocabulary",
    "expected_metadata",
    "hyperparameters_of",
    "tensor_shapes",
    "vocabulary_of",
]

SPECIAL_TEXTS = ("<s>", "</s>", "<unk>", "<idle>")
LOGIT_SCALE = "minicpm.logit_scale"
_TOKENS, _SCORES, _TYPES = (f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type"))
# Far beyond any MiniCPM. llama.cpp's default for an absent logit scale, 256 / hidden size, is the
# inverse of what it must be and lies below.
_PLAUSIBLE = {
    "minicpm.embedding_scale": (1e-3, 1e3),
    "minicpm.residual_scale": (1e-4, 10.0),
    LOGIT_SCALE: (0.2, 1e3),
}


def expected_metadata(hparams: Hyperparameters, vocabulary: Vocabulary) -> dict[str, object]:
    """What the file must say: key by key, in the order in which trouble is worth reporting."""
    return {
        "general.architecture": "minicpm",
        "minicpm.embedding_scale": hparams.scale_emb,
        "minicpm.residual_scale": hparams.residual_scale,
        LOGIT_SCALE: hparams.logit_scale,
        "minicpm.rope.freq_base": hparams.rope_theta,
        "minicpm.rope.dimension_count": hparams.head_dim,
        "minicpm.attention.layer_norm_rms_epsilon": hparams.rms_norm_eps,
        "minicpm.block_count": hparams.n_layers,
        "minicpm.embedding_length": hparams.hidden_size,
        "minicpm.feed_forward_length": hparams.feed_forward_size,
        "minicpm.attention.head_count": hparams.n_heads,
        "minicpm.attention.head_count_kv": hparams.n_kv_heads,
        "minicpm.context_length": hparams.context_length,
        "minicpm.vocab_size": hparams.vocab_size,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.bos_token_id": vocabulary.find("<s>"),
        "tokenizer.ggml.eos_token_id": vocabulary.find("</s>"),
        "tokenizer.ggml.unknown_token_id": vocabulary.find("<unk>"),
    }


# Keys that llama.cpp reads begin so; those of the vocabulary are checked as such.
_READ = ("minicpm.", "tokenizer.ggml.")
# The pre-tokenizer of other vocabularies than sentencepiece's; ours is said to be "default".
_OPTIONAL = {"tokenizer.ggml.pre": "default"}


def check_metadata(found: Mapping[str, Any], expected: Mapping[str, object]) -> Check:
    """A key too many can change the model as much as a wrong one: scaled positions, say."""
    wrong = []
    for key, value in expected.items():
        if key not in found:
            wrong.append(f"{key} is missing ({_shown(value)} expected)")
        elif not _agrees(found[key], value):
            wrong.append(f"{key} is {_shown(found[key])}, not {_shown(value)}")
    known = {*expected, _TOKENS, _SCORES, _TYPES}
    known |= {key for key, value in _OPTIONAL.items() if _agrees(found.get(key), value)}
    wrong += [
        f"{brief(key)[1:-1]} is {_shown(value)}, and should not be there"
        for key, value in found.items()
        if key.startswith(_READ) and key not in known
    ]
    return result_of("metadata", f"{len(expected)} keys", wrong)


def check_plausible(found: Mapping[str, Any]) -> Check:
    """The scales of a file whose checkpoint is not at hand. An absent one raises before."""
    wrong = [
        f"{key} is {found[key]:g}, which no MiniCPM has ({low:g} to {high:g})"
        for key, (low, high) in _PLAUSIBLE.items()
        if not low <= found[key] <= high
    ]
    return result_of("scales", ", ".join(f"{found[key]:.4g}" for key in _PLAUSIBLE), wrong)


def hyperparameters_of(found: Mapping[str, Any], n_tokens: int) -> Hyperparameters:
    """The model's shape by a file's own words.

    Raises:
        ModelFileError: when a key is missing or impossible.
    """

    def number(name: str, kind: type) -> Any:
        value: Any = found.get(f"minicpm.{name}")
        if value is None:
            raise ModelFileError(f"minicpm.{name} is missing")
        # A NaN compares false, too.
        in_range = isinstance(value, (int, float)) and 0 < value < 2**31
        if type(value) is not kind or not in_range:
            raise ModelFileError(f"minicpm.{name} is {_shown(value)}")
        return value

    n_layers, hidden = number("block_count", int), number("embedding_length", int)
    n_heads, n_kv_heads = (
        number("attention.head_count", int),
        number("attention.head_count_kv", int),
    )
    if hidden % (2 * n_heads) or n_heads % n_kv_heads:
        raise ModelFileError(
            f"a width of {hidden} cannot have {n_heads} heads and {n_kv_heads} key heads"
        )
    if n_layers > MAX_LAYERS:
        raise ModelFileError(f"minicpm.block_count is {n_layers}, llama.cpp's limit {MAX_LAYERS}")
    return Hyperparameters(
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        hidden_size=hidden,
        feed_forward_size=number("feed_forward_length", int),
        context_length=number("context_length", int),
        vocab_size=n_tokens,
        rms_norm_eps=number("attention.layer_norm_rms_epsilon", float),
        rope_theta=number("rope.freq_base", float),
        scale_emb=number("embedding_scale", float),
        scale_depth=number("residual_scale", float) * math.sqrt(n_layers),
        dim_model_base=hidden / number("logit_scale", float),
        tied=None,
        description=None,
    )


def vocabulary_of(found: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary as the file holds it.

    Raises:
        ModelFileError: when it is not complete.
    """
    texts, scores, types = (found.get(key, ()) for key in (_TOKENS, _SCORES, _TYPES))
    arrays = isinstance(scores, np.ndarray) and isinstance(types, np.ndarray)
    if not arrays or not isinstance(texts, list) or {len(scores), len(types)} != {len(texts)}:
        raise ModelFileError("its token texts, scores and types are not there or differ in number")
    try:
        kinds = [PieceType(kind) for kind in np.asarray(types).tolist()]
    except ValueError as error:
        raise ModelFileError(f"a token type is unknown: {error}") from None
    numbers = np.asarray(scores, float).tolist()
    n_pieces = len(texts)
    while n_pieces and numbers[n_pieces - 1] == ADDED_SCORE:
        n_pieces -= 1
    vocabulary = Vocabulary(texts, numbers, kinds, n_pieces, None)
    for text in SPECIAL_TEXTS:
        vocabulary.find(text)
    return vocabulary


def check_vocabulary(found: Vocabulary, expected: Vocabulary | None) -> Check:
    """Texts, types and scores; without `expected` what every MiniCPM vocabulary has."""
    figure = f"{len(found.texts):,} tokens"
    if expected is not None and len(found.texts) != len(expected.texts):
        return Check("vocabulary", figure, f"it has {figure}, not {len(expected.texts):,}")
    wrong = _odd_pieces(found) if expected is None else _other_pieces(found, expected)
    return result_of("vocabulary", figure, wrong)


def _other_pieces(found: Vocabulary, expected: Vocabulary) -> list[str]:
    wrong = []
    kinds = ([kind.name for kind in found.types], [kind.name for kind in expected.types])
    scores = (found.scores, np.asarray(expected.scores, np.float32).tolist())
    pairs: tuple[tuple[str, tuple[list[Any], list[Any]]], ...] = (
        ("text", (found.texts, expected.texts)),
        ("type", kinds),
        ("score", scores),
    )
    for what, (mine, theirs) in pairs:
        differing = [i for i, pair in enumerate(zip(mine, theirs, strict=True)) if len({*pair}) > 1]
        if differing:
            i = differing[0]
            wrong.append(
                f"the {what} of {len(differing):,} tokens, the first {brief(expected.texts[i])} "
                f"(id {i}): {_shown(mine[i])}, not {_shown(theirs[i])}"
            )
    return wrong


def _odd_pieces(vocabulary: Vocabulary) -> list[str]:
    wrong = []
    infinite = np.flatnonzero(~np.isfinite(np.asarray(vocabulary.scores, float)))
    if infinite.size:
        i = int(infinite[0])
        wrong.append(
            f"the scores of {infinite.size:,} tokens, the first {brief(vocabulary.texts[i])} (id "
            f"{i}), are not finite"
        )
    n_bytes = vocabulary.types.count(PieceType.BYTE)
    if n_bytes != 256:
        wrong.append(f"{n_bytes} BYTE tokens, not 256")
    # Merges have scores 0, -1, -2, …; a USER_DEFINED piece has 0.
    unscored = [
        i
        for i, (kind, score) in enumerate(zip(vocabulary.types, vocabulary.scores, strict=True))
        if kind is PieceType.NORMAL and score == 0
    ]
    if len(unscored) > 1:
        wrong.append(
            f"{len(unscored):,} tokens such as {brief(vocabulary.texts[unscored[0]])} (id "
            f"{unscored[0]}) are NORMAL without a score: USER_DEFINED pieces, which would not "
            "be found in a text"
        )
    if len(set(vocabulary.texts)) != len(vocabulary.texts):
        wrong.append("a token is there twice")
    return wrong


def tensor_shapes(hparams: Hyperparameters, file: WrittenFile) -> dict[str, tuple[int, ...]]:
    """Name and shape of all tensors a file of this shape has; the output matrix if it is there."""
    shapes = {name: shape for _, name, shape, _ in required_tensors(hparams)}
    if "output.weight" in file.tensors:
        shapes["output.weight"] = shapes["token_embd.weight"]
    return shapes


def check_tensor_table(file: WrittenFile, expected: Mapping[str, tuple[int, ...]]) -> Check:
    wrong = []
    for name, shape in expected.items():
        tensor = file.tensors.get(name)
        if tensor is None:
            wrong.append(f"{name} is missing")
        elif tensor.shape != shape:
            wrong.append(f"{name} has shape {list(tensor.shape)}, not {list(shape)}")
        elif len(shape) == 1 and tensor.type != gguf.GGMLQuantizationType.F32:
            wrong.append(f"{name} is {tensor.type.name}, not F32")
        elif tensor.type not in NOMINAL_ERRORS:
            wrong.append(f"{name} is {tensor.type.name}, whose error was never measured")
    wrong += [f"{name[:80]} does not belong there" for name in file.tensors if name not in expected]
    types = sorted({tensor.type.name for tensor in file.tensors.values()})
    return result_of("tensors", f"{len(file.tensors)} ({', '.join(types)})", wrong)


def _agrees(found: object, expected: object) -> bool:
    """Factors are stored as float32."""
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(found, expected, rel_tol=1e-5)
    return type(found) is type(expected) and found == expected


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and len(value) < 80 else brief(value)

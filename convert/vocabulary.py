"""The vocabulary of a checkpoint: tokenizer.model plus added tokens, as llama.cpp needs it.

llama.cpp finds the same ids as sentencepiece only when every piece keeps its type. In
particular USER_DEFINED pieces (`...`, newlines) are cut out of the text before any merging;
written as NORMAL, many of them are never found. The sentencepiece package does not tell that
type, so the file, a protobuf, is read here:

    ModelProto      1: repeated SentencePiece   2: TrainerSpec   3: NormalizerSpec
    SentencePiece   1: piece   2: score (float32)   3: type
    TrainerSpec     3: model_type
    NormalizerSpec  2: precompiled_charsmap   3: add_dummy_prefix   4: remove_extra_whitespaces
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.checkpoint import read_json
from convert.untrusted import natural, read_whole
from duplex_local.errors import ModelFileError

__all__ = ["PieceType", "Vocabulary", "read_vocabulary"]

BPE = 2  # TrainerSpec.model_type
SPACE = "\u2581"  # how a sentencepiece model spells a space
ADDED_SCORE = -1000.0  # never read for a USER_DEFINED token; llama.cpp's converter writes it
BYTE_TEXTS = sorted(f"<0x{byte:02X}>" for byte in range(256))
MAX_MODEL_BYTES = 16 * 1024 * 1024  # MiniCPM's has 2 MB


class PieceType(enum.IntEnum):
    """sentencepiece's numbers, which GGUF shares."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Index = token id. `n_pieces` of them come from tokenizer.model, the rest were added."""

    texts: list[str]
    scores: list[float]
    types: list[PieceType]
    n_pieces: int
    chat_template: str | None

    def find(self, text: str) -> int:
        """The id of the token spelt `text`.

        Raises:
            ModelFileError: when there is none.
        """
        try:
            return self.texts.index(text)
        except ValueError:
            raise ModelFileError(
                f"The vocabulary has no token {text}, so this is not a duplex checkpoint. "
                "Give a MiniCPM-duplex checkpoint with its added_tokens.json."
            ) from None

    @property
    def added(self) -> list[str]:
        return self.texts[self.n_pieces :]


def read_vocabulary(directory: Path, vocab_size: int) -> Vocabulary:
    """The vocabulary of the checkpoint in `directory`, which must have `vocab_size` tokens.

    Raises:
        ModelFileError: when files are missing or damaged, counts differ, a token is there twice
            (llama.cpp would abort the process) or llama.cpp could not tokenize the same way.
    """
    texts, scores, types = _read_pieces(directory / "tokenizer.model")
    n_pieces = len(texts)
    added = _added_tokens(directory, texts)
    if n_pieces + len(added) != vocab_size:
        raise ModelFileError(
            f"config.json has vocab_size {vocab_size}, but tokenizer.model has {n_pieces} pieces "
            f"and {len(added)} tokens were added, {n_pieces + len(added)} in all. "
            "Use the tokenizer files that belong to this checkpoint."
        )
    vocabulary = Vocabulary(
        texts + added,
        scores + [ADDED_SCORE] * len(added),
        types + [PieceType.USER_DEFINED] * len(added),
        n_pieces,
        _chat_template(directory),
    )
    _refuse_duplicates(vocabulary.texts)
    return vocabulary


def _read_pieces(path: Path) -> tuple[list[str], list[float], list[PieceType]]:
    try:
        model = read_whole(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise ModelFileError(
            f"Cannot read {path}: {error.strerror}. A MiniCPM checkpoint has a tokenizer.model; "
            "download it again."
        ) from None
    except ValueError as error:
        raise ModelFileError(f"Cannot read {path}: {error}. Download it again.") from None
    try:
        return _parse_model(model)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error):
        raise ModelFileError(
            f"{path} is no sentencepiece model or is truncated. Download it again."
        ) from None


def _parse_model(model: bytes) -> tuple[list[str], list[float], list[PieceType]]:
    texts: list[str] = []
    scores: list[float] = []
    types: list[PieceType] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(model):
        if number == 1:
            piece = dict(_fields(value))
            kind = PieceType(piece.get(3, PieceType.NORMAL))
            text = piece[1].decode("utf-8")
            # llama.cpp looks for USER_DEFINED tokens in the text as the user wrote it.
            texts.append(text.replace(SPACE, " ") if kind is PieceType.USER_DEFINED else text)
            scores.append(_score(piece))
            types.append(kind)
        elif number == 2:
            trainer.update(_fields(value))
        elif number == 3:
            normalizer.update(_fields(value))
    _check_algorithm(trainer, normalizer, texts, types)
    return texts, scores, types


def _score(piece: dict[int, Any]) -> float:
    score: float = struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0]
    if not math.isfinite(score):
        raise ValueError("a score that cannot be compared")
    return score


def _check_algorithm(
    trainer: dict[int, Any], normalizer: dict[int, Any], texts: list[str], types: list[PieceType]
) -> None:
    """Refuse what llama.cpp would tokenize differently from sentencepiece."""
    if not types:
        raise ValueError("no pieces")
    byte_texts = [text for text, kind in zip(texts, types, strict=True) if kind is PieceType.BYTE]
    why = ""
    if trainer.get(3, 1) != BPE:
        why = "is not a BPE model"
    elif normalizer.get(3, 1) or normalizer.get(4, 1) or normalizer.get(2, b""):
        why = "changes the text (a prefix space, merged spaces or a normalizer)"
    elif sorted(byte_texts) != BYTE_TEXTS:
        why = "has no complete byte fallback"
    if why:
        raise ModelFileError(
            f"tokenizer.model {why}, so llama.cpp would find other ids than the original. "
            "Give a checkpoint with MiniCPM's tokenizer."
        )


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a protobuf message; a fixed-size value as its bytes."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, position = _varint(message, position)
        else:
            size = {1: 8, 5: 4}.get(kind, end)
        if position + size > end:
            raise ValueError("truncated")
        yield tag >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _added_tokens(directory: Path, pieces: list[str]) -> list[str]:
    """Texts of the tokens that follow the pieces, in the order of their ids."""
    by_id = _added_by_id(directory)
    for token, text in by_id.items():
        if token < len(pieces) and pieces[token] != text:
            raise ModelFileError(
                f"The added token {text} has id {token}, which tokenizer.model gives to "
                f"{pieces[token]}. Use the tokenizer files that belong to this checkpoint."
            )
    beyond = sorted(token for token in by_id if token >= len(pieces))
    if beyond != list(range(len(pieces), len(pieces) + len(beyond))):
        raise ModelFileError(
            f"The added tokens do not follow the {len(pieces)} pieces without a gap. "
            "Use the tokenizer files that belong to this checkpoint."
        )
    return [by_id[token] for token in beyond]


def _added_by_id(directory: Path) -> dict[int, str]:
    try:
        if (directory / "added_tokens.json").is_file():
            added = read_json(directory / "added_tokens.json")
            by_id = {natural(token): text for text, token in added.items()}
        else:
            decoder = _tokenizer_config(directory).get("added_tokens_decoder", {})
            by_id = {natural(int(token)): entry["content"] for token, entry in decoder.items()}
        if not all(isinstance(text, str) and text for text in by_id.values()):
            raise ValueError
        return by_id
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ModelFileError(
            f"The added tokens of {directory} are not a table of texts and ids. "
            "Download the tokenizer files again."
        ) from None


def _tokenizer_config(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _chat_template(directory: Path) -> str | None:
    template = _tokenizer_config(directory).get("chat_template")
    return template if isinstance(template, str) else None


def _refuse_duplicates(texts: list[str]) -> None:
    if len(set(texts)) == len(texts):
        return
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise ModelFileError(
                f"The vocabulary has the token {text!r} twice, which llama.cpp cannot load. "
                "Use the tokenizer files that belong to this checkpoint."
            )
        seen.add(text)

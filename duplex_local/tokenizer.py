"""Text to ids and back. The ids of special tokens are looked up by their text, once."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Protocol

from duplex_local.errors import ModelFileError
from duplex_local.protocol import MARK_AI, MARK_USER

__all__ = ["Detokenizer", "Tokenizer", "Vocab"]

BOS, EOS, IDLE = "<s>", "</s>", "<idle>"


class Vocab(Protocol):
    """The vocabulary of a model file: a GGUF's through llama.cpp, or a sentencepiece model."""

    name: str  # where it came from, for messages
    n_tokens: int
    added: tuple[str, ...]  # texts that `encode` recognises as one token inside ordinary text

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as one string: no bos, no prefix space, control tokens stay text."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; empty for control tokens."""
        ...

    def find(self, text: str) -> int | None:
        """The id whose piece is spelt `text`, None when there is none."""
        ...


class Tokenizer:
    """A vocabulary with the special ids the protocol needs.

    Raises:
        ModelFileError: when the vocabulary would give the model other ids than the original's.
    """

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self.bos = self._special(BOS)
        self.eos = self._special(EOS)
        self.idle = self._special(IDLE)
        self.n_tokens = vocab.n_tokens
        self.added = tuple(vocab.added)
        self._check_markers()

    def _special(self, text: str) -> int:
        token = self._vocab.find(text)
        if token is None:
            raise ModelFileError(
                f"{self._vocab.name} has no token {text}, so it is not a duplex model. "
                "Convert a MiniCPM-duplex checkpoint with `make convert`."
            )
        return token

    def _check_markers(self) -> None:
        """A prefix space, or markers that are single characters, would corrupt every prompt."""
        for mark in (MARK_USER, MARK_AI):
            ids = self.encode(mark)
            if self.decode(ids) != mark:
                raise ModelFileError(
                    f"{self._vocab.name} does not keep {mark} as it is (add_space_prefix must be "
                    "false). Make the file again with `python -m convert`."
                )
            if ids == self.encode(mark[:2]) + self.encode(mark[2:]):
                raise ModelFileError(
                    f"{self._vocab.name} spells {mark} letter by letter, so a user's text could "
                    "not be told from it. Train the tokenizer with the marker's word as a piece."
                )

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as one string."""
        return self._vocab.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; control tokens are nothing, broken UTF-8 is dropped."""
        return b"".join(self._vocab.piece(token) for token in ids).decode("utf-8", "ignore")

    def detokenizer(self) -> Detokenizer:
        """A fresh streaming detokenizer."""
        return Detokenizer(self._vocab)


class Detokenizer:
    """Text of a token stream, as soon as it is certain. One token may hold half a character.

    The texts returned, joined, equal `Tokenizer.decode` of all the tokens; a character that is
    never completed is dropped, so that what is shown and what is remembered agree.
    """

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def push(self, token: int) -> str:
        """Add one token and return the text that became certain."""
        return self._decoder.decode(self._vocab.piece(token))

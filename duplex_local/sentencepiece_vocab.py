"""The vocabulary of a Hugging Face checkpoint folder, read with sentencepiece itself.

Independent of llama.cpp, so training and the parity check can use it, and a converted file can
be compared with it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import sentencepiece

from duplex_local.errors import ModelFileError

__all__ = ["SentencePieceVocab"]

SPACE = "▁"


class SentencePieceVocab:
    """`tokenizer.model` plus `added_tokens.json` of a folder. See `tokenizer.Vocab`.

    Raises:
        ModelFileError: when one of the files is missing or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        model, added = folder / "tokenizer.model", folder / "added_tokens.json"
        try:
            self._pieces: Any = sentencepiece.SentencePieceProcessor(model_file=str(model))
            entries = json.loads(added.read_text("utf-8"))
            self._ids = {str(text): int(token) for text, token in entries.items()}
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{folder} holds no usable tokenizer ({error}). It needs tokenizer.model and "
                "added_tokens.json of the checkpoint."
            ) from error
        self.added = tuple(self._ids)
        self._texts = {token: text for text, token in self._ids.items()}
        longest_first = sorted(self._ids, key=len, reverse=True)
        either = "|".join(map(re.escape, longest_first)) or "(?!)"  # nothing matches this
        self._split = re.compile(f"({either})")
        self.n_tokens = self._pieces.get_piece_size() + len(self._ids)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in self._split.split(text):
            added = self._ids.get(part)
            if added is not None:
                ids.append(added)
            elif part:
                ids += self._pieces.encode(part)
        return ids

    def piece(self, token: int) -> bytes:
        if token in self._texts:
            return self._texts[token].encode("utf-8")
        if self._pieces.is_control(token) or self._pieces.is_unknown(token):
            return b""
        text = str(self._pieces.id_to_piece(token))
        if self._pieces.is_byte(token):
            return bytes([int(text[1:-1], 16)])  # "<0xE4>"
        return text.replace(SPACE, " ").encode("utf-8")

    def find(self, text: str) -> int | None:
        if text in self._ids:
            return self._ids[text]
        token: int = self._pieces.piece_to_id(text)
        return None if token == self._pieces.unk_id() else token

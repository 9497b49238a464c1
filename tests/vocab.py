"""A small vocabulary with the real interface: letters, two marker words, and pieces that merge
across the marker's edge as the real one's do."""

from __future__ import annotations

from duplex_local.tokenizer import Tokenizer

CONTROL = ("<unk>", "<s>", "</s>")
MERGED = ("><", ",<", ">|", "用户", "AI", "...", " the", "hello")
FIRST_LETTER = 100


class LetterVocab:
    """Longest match over a few pieces; every other character is its code point + 100."""

    name = "letters"
    added = ("<idle>", "<s0>")
    n_tokens = FIRST_LETTER + 0x110000

    def __init__(self) -> None:
        texts = (*CONTROL, *self.added, *MERGED)
        self._ids = {text: token for token, text in enumerate(texts)}
        self._texts = dict(enumerate(texts))
        self._matched = sorted((*self.added, *MERGED), key=len, reverse=True)

    def encode(self, text: str) -> list[int]:
        ids, at = [], 0
        while at < len(text):
            piece = next((p for p in self._matched if text.startswith(p, at)), None)
            ids.append(FIRST_LETTER + ord(text[at]) if piece is None else self._ids[piece])
            at += len(piece or " ")
        return ids

    def piece(self, token: int) -> bytes:
        if token < len(CONTROL):
            return b""
        text = self._texts.get(token) or chr(token - FIRST_LETTER)
        return text.encode("utf-8")

    def find(self, text: str) -> int | None:
        return self._ids.get(text)


def letter_tokenizer() -> Tokenizer:
    return Tokenizer(LetterVocab())

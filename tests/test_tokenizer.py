from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplex_local.errors import ModelFileError
from duplex_local.llama_backend import load_vocab
from duplex_local.sentencepiece_vocab import SentencePieceVocab
from duplex_local.tokenizer import Tokenizer
from tests.vocab import LetterVocab, letter_tokenizer


class ByteVocab(LetterVocab):
    """Every byte is a token, as byte fallback makes them."""

    def piece(self, token: int) -> bytes:
        return bytes([token])


@given(st.binary(max_size=40))
def test_streaming_gives_the_text_of_the_whole(data: bytes) -> None:
    tokenizer = Tokenizer(LetterVocab())
    tokenizer._vocab = ByteVocab()
    detokenizer = tokenizer.detokenizer()
    assert "".join(detokenizer.push(byte) for byte in data) == tokenizer.decode(data)


def test_half_a_character_is_never_shown() -> None:
    tokenizer = letter_tokenizer()
    tokenizer._vocab = ByteVocab()
    detokenizer = tokenizer.detokenizer()
    assert [detokenizer.push(byte) for byte in "é!".encode()] == ["", "é", "!"]


def test_a_vocabulary_without_idle_is_refused() -> None:
    class NoIdle(LetterVocab):
        def find(self, text: str) -> int | None:
            return None if text == "<idle>" else super().find(text)

    with pytest.raises(ModelFileError, match=r"no token <idle>.*make convert"):
        Tokenizer(NoIdle())


def test_a_prefix_space_is_refused() -> None:
    class Spaced(LetterVocab):
        def encode(self, text: str) -> list[int]:
            return super().encode(" " + text)

    with pytest.raises(ModelFileError, match="add_space_prefix"):
        Tokenizer(Spaced())


def test_markers_spelt_letter_by_letter_are_refused() -> None:
    class Letters(LetterVocab):
        def encode(self, text: str) -> list[int]:
            return [100 + ord(letter) for letter in text]

    with pytest.raises(ModelFileError, match="letter by letter"):
        Tokenizer(Letters())


def test_texts_have_the_reference_ids(shared: Path) -> None:
    tokenizer = Tokenizer(SentencePieceVocab(shared / "minicpm-duplex"))
    texts = json.loads((shared / "golden/tokens.json").read_text("utf-8"))["texts"]
    assert len(texts) > 100
    for text in texts:
        assert tokenizer.encode(text["text"]) == text["ids"], text["text"]


@pytest.mark.parametrize("damage", ["missing", "broken json", "not a model"])
def test_a_broken_tokenizer_folder_is_one_sentence(tmp_path: Path, damage: str) -> None:
    if damage != "missing":
        (tmp_path / "tokenizer.model").write_bytes(b"\x00\x01")
        (tmp_path / "added_tokens.json").write_text("[]" if damage == "not a model" else "{")
    with pytest.raises(ModelFileError, match=r"tokenizer\.model"):
        SentencePieceVocab(tmp_path)


@given(text=st.text(max_size=30))
def test_a_gguf_and_its_checkpoint_agree(tiny_gguf: Path, text: str) -> None:
    ours = _vocabs(tiny_gguf)
    assert ours[0].encode(text) == ours[1].encode(text)
    ids = ours[0].encode(text)
    assert ours[0].decode(ids) == ours[1].decode(ids)


_cache: dict[Path, tuple[Tokenizer, Tokenizer]] = {}


def _vocabs(gguf: Path) -> tuple[Tokenizer, Tokenizer]:
    if gguf not in _cache:
        folder = SentencePieceVocab(gguf.parent / "tiny")
        _cache[gguf] = Tokenizer(load_vocab(gguf)), Tokenizer(folder)
    return _cache[gguf]

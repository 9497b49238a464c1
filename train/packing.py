"""Conversations packed into rows of one length: what the trainer reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from duplex_local.sentencepiece_vocab import SentencePieceVocab
from duplex_local.tokenizer import Tokenizer
from train.answers import Request
from train.dialogue import Dialogue
from train.real import load_real, load_words
from train.requests import Speaker
from train.transcript import CachedCodec, Transcript
from train.wording import load

__all__ = ["IGNORED", "Generator", "flatten", "pack"]

IGNORED = -1  # a position where nothing is learned
# Ids from, to, share of the conversations. Half of what is read are short ones, which end in the
# first answer or in what broke into it: when a request is complete is harder to learn than how an
# answer goes on.
LENGTHS = ((20, 90, 60), (90, 200, 25), (200, 420, 8), (420, 880, 7))

N_WAITING = 24  # conversations to choose from when a row is filled


class Generator:
    """An endless stream of conversations; the same seed gives the same stream."""

    def __init__(
        self, folder: Path, data: Path | None, seed: int, held_out: bool | None = False
    ) -> None:
        self.codec = CachedCodec(Tokenizer(SentencePieceVocab(folder)))
        self.rng = random.Random(seed)
        self.speaker = Speaker(load(held_out), self.rng, load_words(data))
        self.real: list[Request] = load_real(data, self.speaker, held_out is True)

    def transcript(self, longest: int) -> Transcript:
        low, high, _ = self.rng.choices(LENGTHS, [share for *_, share in LENGTHS])[0]
        n_tokens = min(self.rng.randint(low, high), longest - longest // 8)
        return Dialogue(self.codec, self.speaker, self.real).play(n_tokens)


def flatten(script: Transcript) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """ids, labels (what comes next, or IGNORED), positions and branch numbers (0: the history)."""
    ids: list[int] = []
    labels: list[int] = []
    at: list[int] = []
    branch: list[int] = []
    position = n_branches = 0

    def add(new: list[int], learned: list[bool], start: int, number: int) -> None:
        ids.extend(new)
        labels.extend(new[i + 1] if learned[i + 1] else IGNORED for i in range(len(new) - 1))
        labels.append(IGNORED)
        at.extend(range(start, start + len(new)))
        branch.extend([number] * len(new))

    for row in script.rows:
        add(row.ids, row.learned, position, 0)
        position += len(row.ids)
        for side_ids, learned in row.branches:
            n_branches += 1
            add(side_ids, learned, position, n_branches)
    return tuple(np.asarray(x, dtype=np.int32) for x in (ids, labels, at, branch))


def pack(generator: Generator, length: int) -> Iterator[np.ndarray]:
    """Rows of shape (5, length): ids, labels, positions, branches, conversation numbers."""
    waiting: list[tuple[np.ndarray, ...]] = []
    while True:
        row, used, number = _blank(length), 0, 0
        while True:
            while len(waiting) < N_WAITING:
                parts = flatten(generator.transcript(length))
                if len(parts[0]) <= length:
                    waiting.append(parts)
            fits = [i for i, parts in enumerate(waiting) if used + len(parts[0]) <= length]
            if not fits:
                break
            # The first one as it comes, then the longest that fits.
            i = max(fits, key=lambda i: len(waiting[i][0])) if used else 0
            parts = waiting.pop(i)
            n, number = len(parts[0]), number + 1
            for at, part in enumerate(parts):
                row[at, used : used + n] = part
            row[4, used : used + n] = number
            used += n
        yield row


def _blank(length: int) -> np.ndarray:
    row = np.zeros((5, length), dtype=np.int32)
    row[1] = IGNORED
    return row

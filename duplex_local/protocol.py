"""The slice protocol: slice pairs in, the token ids the model must see out. No model, no clock.

One conversation, as the model sees it (MiniCPM-duplex, arXiv 2406.15718):

    <s> <用户>user slice<AI>reply slice</s> <用户><idle><AI>reply slice</s> ...

Two rules make the ids exact:

* `<s>`, `</s>` and `<idle>` are hard tokens: no merge crosses them, so we splice their ids in.
* `<用户>` and `<AI>` are plain text and merge with their neighbours (`,<` and `>|` are single
  pieces). The text between two hard tokens is therefore tokenized as one string, and a reply is
  tokenized again, together with its marker, once its slice has closed.

A slice pair ends in `</s>`, so its ids never change again: they are computed once and kept.

What a user or the model *writes* must never act as a marker. A text that spells one is cut in
two inside it before tokenization; the characters stay, the marker's ids do not arise.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Protocol

from duplex_local.errors import ProtocolError
from duplex_local.events import ReplyEnd

__all__ = [
    "FINISHED_WITHIN",
    "MARK_AI",
    "MARK_USER",
    "Codec",
    "History",
    "SlicePair",
    "pair_ids",
    "prompt_ids",
]

MARK_USER = "<用户>"
MARK_AI = "<AI>"

# `</s>` among the first six sampled tokens says that the whole answer is finished.
FINISHED_WITHIN = 6

# A silent pair whose reply says nothing more than this leaves the history (reference server).
_SAYS_NOTHING = frozenset({"<idle>", "<idle></s>", "</s>", "idle", "idle</s>"})


class Codec(Protocol):
    """Exact tokenization, as `tokenizer.Tokenizer` offers it."""

    bos: int
    eos: int
    idle: int
    added: tuple[str, ...]  # texts of tokens that tokenization would find inside ordinary text

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as one string: no bos, no prefix space, no special parsing."""
        ...


@dataclass(frozen=True)
class SlicePair:
    """What the user said in slice `index` (None: nothing) and what the model replied."""

    index: int
    user: str | None
    reply: str
    end: ReplyEnd

    @property
    def says_idle(self) -> bool:
        """True when the reply side carries the idle token."""
        return self.end in (ReplyEnd.IDLE, ReplyEnd.FORCED) or (
            self.end is ReplyEnd.CUT and not self.reply
        )

    @property
    def is_empty(self) -> bool:
        """True when the pair leaves the history: neither side said anything."""
        text = self.reply + ("<idle>" if self.says_idle else "") + "</s>"
        return self.user is None and text.strip(" .,\n") in _SAYS_NOTHING


def _split_at_literals(text: str, codec: Codec) -> list[str]:
    """Cut `text` inside every spelt-out marker or added token, so that none is recognised."""
    literals = sorted({MARK_USER, MARK_AI, *codec.added}, key=len, reverse=True)
    pieces, start = [], 0
    for match in re.finditer("|".join(map(re.escape, literals)), text):
        pieces.append(text[start : match.start() + 2])  # after "<" and one more character
        start = match.start() + 2
    return [*pieces, text[start:]]


def _encode(codec: Codec, *parts: str | list[str]) -> list[int]:
    """Ids of `parts` joined into one string; a list part is joined only at its ends."""
    strings = [""]
    for part in parts:
        head, *rest = [part] if isinstance(part, str) else part
        strings[-1] += head
        strings.extend(rest)
    return [token for string in strings if string for token in codec.encode(string)]


def prompt_ids(codec: Codec, user: str | None) -> list[int]:
    """Ids that open a slice: everything up to where the model's reply begins."""
    if user is None:
        return [*_encode(codec, MARK_USER), codec.idle, *_encode(codec, MARK_AI)]
    return _encode(codec, MARK_USER, _split_at_literals(user, codec), MARK_AI)


def pair_ids(codec: Codec, pair: SlicePair) -> list[int]:
    """Ids of a closed slice pair, `</s>` included."""
    reply = _split_at_literals(pair.reply, codec)
    if pair.user is None:
        ids = [*_encode(codec, MARK_USER), codec.idle, *_encode(codec, MARK_AI, reply)]
    else:
        ids = _encode(codec, MARK_USER, _split_at_literals(pair.user, codec), MARK_AI, reply)
    if pair.says_idle:
        ids.append(codec.idle)
    return [*ids, codec.eos]


class History:
    """The slice pairs of one conversation and the reference's rule for when the model runs.

    active: the model is in the middle of something. While it is not, silence wakes nobody.
    A slice is opened by `hear` and closed by `answer`; the ids in between are a prompt.
    n_slices: slices opened so far; the open or last one is number `n_slices - 1`.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._pairs: list[tuple[SlicePair, list[int]]] = []
        self._open: tuple[str | None, list[int]] | None = None
        self.active = False
        self.n_slices = 0

    @property
    def pairs(self) -> list[SlicePair]:
        """The closed slice pairs, oldest first."""
        return [pair for pair, _ in self._pairs]

    @property
    def last(self) -> SlicePair | None:
        """The newest closed pair."""
        return self._pairs[-1][0] if self._pairs else None

    @property
    def is_asleep(self) -> bool:
        """True when the next silent slice will not run the model.

        `active` says so only after the pair in which the model chose silence was pruned.
        """
        last = self.last
        if self._open is not None or last is None:
            return not self.active
        chose_silence = last.is_empty and last.end is not ReplyEnd.CUT
        return chose_silence or not self.active

    def ids(self) -> list[int]:
        """The ids the model must have seen by now."""
        ids = [self._codec.bos]
        for _, kept in self._pairs:
            ids += kept
        return ids + self._open[1] if self._open else ids

    def hear(self, user: str | None) -> bool:
        """Open a slice in which the user said `user`; None is silence.

        Returns False when there is nothing to do: silence, and the model sleeps.

        Raises:
            ProtocolError: when the previous slice is still open, or `user` is empty.
        """
        if self._open is not None:
            raise ProtocolError("hear() called while a slice is open; answer() closes it first.")
        if user == "":
            raise ProtocolError("hear() takes None for silence, not an empty text.")
        if self.active:
            self._drop_empty()
        if user is None and not self.active:
            return False
        self.active = True
        self.n_slices += 1
        self._open = (user, prompt_ids(self._codec, user))
        return True

    def _drop_empty(self) -> None:
        self.active = bool(self._pairs) and not self._pairs[-1][0].is_empty
        self._pairs = [kept for kept in self._pairs if not kept[0].is_empty]

    def answer(self, reply: str, end: ReplyEnd, n_sampled: int) -> SlicePair:
        """Close the open slice with `reply`; `n_sampled` counts the stop token, too."""
        if self._open is None:
            raise ProtocolError("answer() called, but no slice is open; hear() opens one.")
        pair = SlicePair(self.n_slices - 1, self._open[0], reply, end)
        self._pairs.append((pair, pair_ids(self._codec, pair)))
        self._open = None
        if end is ReplyEnd.EOS and n_sampled <= FINISHED_WITHIN:
            self.active = False
        return pair

    def interrupt(self, index: int, n_chars: int) -> None:
        """Cut the replies to what was shown, and mark an unfinished answer as cut.

        Shown are the replies before slice `index`, and of slice `index` the first `n_chars`
        characters. Later replies were not shown at all; a silent pair without one leaves.
        """
        self.active = not self.is_asleep
        for at, (pair, _) in enumerate(self._pairs):
            shown = pair.reply if pair.index < index else ""
            if pair.index == index:
                shown = pair.reply[:n_chars]
            is_unfinished = self.active and at == len(self._pairs) - 1 and pair.reply != ""
            if shown != pair.reply or is_unfinished:
                cut = dataclasses.replace(pair, reply=shown, end=ReplyEnd.CUT)
                self._pairs[at] = (cut, pair_ids(self._codec, cut))
        self._pairs = [kept for kept in self._pairs if not kept[0].is_empty]

    def drop_oldest(self, n_tokens: int) -> int:
        """Drop whole pairs after the first until at most `n_tokens` ids are left.

        The first pair stays: the start of a context anchors attention (arXiv 2309.17453).
        Returns the number of pairs dropped.
        """
        excess = len(self.ids()) - n_tokens
        n_dropped = 0
        while excess > 0 and len(self._pairs) > n_dropped + 1:
            excess -= len(self._pairs[1 + n_dropped][1])
            n_dropped += 1
        del self._pairs[1 : 1 + n_dropped]
        return n_dropped

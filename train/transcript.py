"""A conversation as training data: the ids the engine would feed, and which of them are learned.

Every slice goes through the engine's own `History`, so pruning, markers and the rule for when the
model runs are its own. A silent slice answered by `<idle>` leaves the history at once: it is kept
as a *branch*, seen by itself alone. Only what the model chooses is learned: the words of a reply
slice and `<idle>` or `</s>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from duplex_local.events import ReplyEnd
from duplex_local.protocol import Codec, History, prompt_ids
from train.speech import SLICE_TOKENS

__all__ = ["CachedCodec", "Row", "Transcript"]

BUDGET = 15  # tokens a slice may sample, the engine's default
CACHE_TEXTS = 200_000


class CachedCodec:
    """A codec that remembers: the same words come up all the time."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._known: dict[str, list[int]] = {}
        self.bos, self.eos, self.idle = codec.bos, codec.eos, codec.idle
        self.added = codec.added

    def encode(self, text: str) -> list[int]:
        ids = self._known.get(text)
        if ids is None:
            if len(self._known) > CACHE_TEXTS:
                self._known.clear()
            ids = self._known[text] = self._codec.encode(text)
        return ids

    def count(self, text: str) -> int:
        return len(self.encode(text))


@dataclass
class Row:
    """One slice pair. learned[i]: ids[i] is what the model should have chosen."""

    ids: list[int]
    learned: list[bool]
    branches: list[tuple[list[int], list[bool]]] = field(default_factory=list)


class Transcript:
    """Slices in, rows out. `hear` then `reply` or `idle`; `cut` shortens the last reply."""

    def __init__(self, codec: CachedCodec) -> None:
        self.codec = codec
        self.history = History(codec)
        self.rows: list[Row] = [Row([codec.bos], [False])]
        self._user: str | None = None

    @property
    def n_tokens(self) -> int:
        return sum(len(r.ids) + sum(len(ids) for ids, _ in r.branches) for r in self.rows)

    def hear(self, user: str | None) -> bool:
        """Open a slice; False when the model sleeps through it."""
        self._user = user
        return self.history.hear(user)

    def idle(self, *, learned: bool = True, forced: bool = False) -> None:
        """The model stays silent in this slice."""
        end = ReplyEnd.FORCED if forced else ReplyEnd.IDLE
        prompt = prompt_ids(self.codec, self._user)
        pair = self.history.answer("", end, 1)
        learned = learned and not forced
        if pair.is_empty:  # pruned by the next `hear`
            ids = [*prompt, self.codec.idle]
            self.rows[-1].branches.append((ids, [False] * len(prompt) + [learned]))
            return
        ids = [*prompt, self.codec.idle, self.codec.eos]
        self.rows.append(Row(ids, [False] * len(prompt) + [learned, False]))

    def reply(self, text: str, *, learned: bool = True) -> None:
        """The model says `text` and closes the slice with `</s>`."""
        prompt = prompt_ids(self.codec, self._user)
        said = self.codec.encode(text)
        if not 0 < len(said) < BUDGET:
            raise ValueError(f"{text!r} has {len(said)} tokens, a slice holds {SLICE_TOKENS}.")
        self.history.answer(text, ReplyEnd.EOS, len(said) + 1)
        ids = [*prompt, *said, self.codec.eos]
        self.rows.append(Row(ids, [False] * len(prompt) + [learned] * (len(said) + 1)))

    def cut(self, n_chars: int) -> None:
        """Only `n_chars` of the last slice were shown; the rest is forgotten."""
        index = self.history.n_slices - 1
        self.history.interrupt(index, n_chars)
        pair = self.history.last
        if pair is None or pair.index != index:  # a silent slice of which nothing was shown
            self.rows.pop()
            return
        prompt = prompt_ids(self.codec, pair.user)
        said = self.codec.encode(pair.reply) if pair.reply else [self.codec.idle]
        ids = [*prompt, *said, self.codec.eos]
        self.rows[-1] = Row(ids, [False] * len(ids))

    def drop_oldest(self, n_tokens: int) -> None:
        """The window slid: the first pair and the newest ones, about `n_tokens` ids, are left."""
        n_dropped = self.history.drop_oldest(n_tokens)
        del self.rows[2 : 2 + n_dropped]

    def sleep(self) -> None:
        """The user pressed Stop: silent until the next words."""
        self.history.active = False

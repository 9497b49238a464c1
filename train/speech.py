"""What the model says: an answer that is spoken a slice at a time, cut, resumed or left.

A slice holds about ten tokens and ends with a whole word. A slice that does not end the answer
samples more than `FINISHED_WITHIN` tokens, stop token included, so that `</s>` does not say
"finished"; a last slice short enough says so. After a longer last slice the next silence is
answered by `<idle>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from duplex_local.protocol import FINISHED_WITHIN

__all__ = ["SLICE_TOKENS", "Speech", "next_chunk"]

SLICE_TOKENS = 10
MOST_TOKENS = 13  # where a long word must be taken to stay above FINISHED_WITHIN
_WORD = re.compile(r"\s*\S+")


@dataclass(frozen=True)
class Speech:
    """text: the answer. at: how many characters of it were said.

    about: what it is about (a topic, a label, or None). intent: `about`, a fact key, or another.
    join, main: a side answer that returns to `main`, whose rest begins at `join` in `text`.
    """

    text: str
    about: object = None
    intent: str = ""
    at: int = 0
    join: int = 0
    main: Speech | None = None

    @property
    def rest(self) -> str:
        return self.text[self.at :]

    @property
    def is_over(self) -> bool:
        return not self.rest.strip()

    def said(self, n_chars: int) -> Speech:
        """`n_chars` more were said."""
        return replace(self, at=self.at + n_chars)

    def cut(self, n_chars: int) -> Speech:
        """Only `n_chars` of the slice that begins here were shown: a broken word is said again."""
        at = self.at + n_chars
        if n_chars and at < len(self.text) and not self.text[at].isspace():
            at = max(self.text.rfind(" ", 0, at), 0)
        return replace(self, at=at)

    def subject(self) -> Speech:
        """The answer this is about: `main`, at the place where it was, for a side answer."""
        if self.main is None:
            return self
        return self.main.said(self.at - self.join) if self.at > self.join else self.main

    def after(self, side: str, name: str) -> Speech:
        """A side answer that then comes back to this one, where it was."""
        main = self.subject()
        text = f"{side} Back to {name}:".lstrip()
        rest = main.rest if main.rest.startswith(" ") else " " + main.rest
        join = len(text) + len(rest) - len(main.rest)
        return Speech(text + rest, main.about, main.intent, 0, join, main)


def next_chunk(rest: str, count: Callable[[str], int]) -> str:
    """The next slice of `rest`: whole words, about `SLICE_TOKENS` tokens."""
    chunk, n_tokens = "", 0
    for word in _WORD.findall(rest):
        more = count(word)
        full = n_tokens + more > SLICE_TOKENS and n_tokens >= FINISHED_WITHIN
        if full or n_tokens + more > MOST_TOKENS:
            break
        chunk, n_tokens = chunk + word, n_tokens + more
    return chunk

"""What stands in the text box and has not been said yet.

Words leave the box for the model every slice, while the user goes on typing; nothing may be lost,
said twice or torn apart. The page and the engine both hold the text, and their messages cross, so
each side says what it has seen: the page numbers its inputs (`revision`, they may overtake each
other), and both count the characters that have left the box, by words taken or by Enter
(`n_taken`). The difference of the two counts is what the page does not know yet.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

__all__ = ["Draft", "in_slices"]

# Chinese and Japanese write no spaces: once composed, every character may leave.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# A word is whole when something after it says so: white space, an end mark that no word
# contains, or a script without spaces. A full stop is none: "3." may become "3.14".
_BORDER = re.compile(rf"\s|[?!？！。，、；：…]|[{_CJK}]")
# The units that are counted as words: two characters of Chinese make about one.
_UNIT = re.compile(rf"[{_CJK}]{{1,2}}|[^\s{_CJK}]+")
_TAIL_CHARS = 100_000

# User slices of the training data hold 4-6 words (arXiv 2406.15718).
MAX_WORDS = 6


def in_slices(text: str) -> list[str]:
    """Split a message into user slices of at most six words, as even as possible.

    Every slice is stripped; their words, in order, are the words of `text`.
    """
    starts = [match.start() for match in _UNIT.finditer(text)]
    n_slices = -(-len(starts) // MAX_WORDS)
    if not starts:
        return []
    firsts = [starts[k * len(starts) // n_slices] for k in range(n_slices)]
    return [text[a:b].strip() for a, b in zip(firsts, [*firsts[1:], len(text)], strict=True)]


class Draft:
    """The text box, shared by the page's threads and the model's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards every attribute below
        self._text = ""
        self._revision = -1
        self._n_taken = 0
        self._n_page = 0  # the page's count, as last heard
        self._tail = ""  # the last characters taken, to recognise them in a page that lags

    def update(self, text: str, revision: int, n_taken: int) -> bool:
        """The box holds `text`. Returns False when a newer revision was seen before."""
        with self._lock:
            if revision <= self._revision:
                return False
            self._revision, self._n_page = revision, n_taken
            self._text = self._without_taken(text, n_taken)
            return True

    def send(self, text: str, revision: int, n_taken: int) -> str:
        """The user sent `text`, the whole box. Returns what of it has not been said."""
        with self._lock:
            rest = self._without_taken(text, n_taken)
            self._n_taken += len(rest)
            if revision > self._revision:
                self._revision, self._n_page = revision, n_taken + len(text)
                self._text = ""
            return rest

    def _without_taken(self, text: str, n_taken: int) -> str:
        """`text` without the words that were taken while the page did not know it yet."""
        n_unseen = self._n_taken - n_taken
        if n_unseen <= 0:
            return text
        return text.removeprefix(self._tail[-n_unseen:])

    def take_words(self, accept: Callable[[str], bool] = lambda words: True) -> str:
        """Take every whole word from the front; a word still being typed stays.

        accept: asked before they leave; what it does not accept stays in the box.
        """
        with self._lock:
            if self._n_page > self._n_taken:
                return ""  # typed after an Enter that was overtaken and comes any moment
            borders = list(_BORDER.finditer(self._text))
            n_chars = borders[-1].end() if borders else 0
            words = self._text[:n_chars]
            if not (words and accept(words)):
                return ""
            self._text = self._text[n_chars:]
            self._n_taken += n_chars
            self._tail = (self._tail + words)[-_TAIL_CHARS:]
            return words

    def clear(self) -> None:
        with self._lock:
            self._text = ""

    @property
    def is_blank(self) -> bool:
        """True when there is nothing but white space in the box."""
        with self._lock:
            return not self._text.strip()

    @property
    def n_taken(self) -> int:
        """Characters that have left the box since the beginning."""
        with self._lock:
            return self._n_taken

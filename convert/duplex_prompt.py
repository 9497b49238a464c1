"""The fixed prompt on which a written file and its checkpoint are compared: 48 ids of a duplex
conversation, in the form the model was trained on (duplex_local/protocol.py).

    <s> <用户>user slice<AI>reply slice</s> <用户><idle><AI>reply slice</s> …

The text between two hard tokens is tokenized as one string, because the markers are plain text
that merges with its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from convert.vocabulary import Vocabulary

__all__ = ["PROMPT_TEXTS", "DuplexPrompt", "duplex_prompt"]

N_IDS = 48
MARK_USER, MARK_AI = "<用户>", "<AI>"
IDLE = "<idle>"

# (user slice, reply slice); None is silence. Short, so that 48 ids hold several slices.
_PAIRS: tuple[tuple[str | None, str | None], ...] = (
    ("what time", None),
    ("is it?", "it is ten"),
    (None, "past..."),
    ("你好", None),
    (None, "今天"),
    ("wait,", None),
)


def _segments(user: str | None, reply: str | None) -> list[str]:
    """A slice pair cut at `<idle>`, which is a token of its own. `</s>` is left out."""
    opened = [MARK_USER, IDLE, MARK_AI] if user is None else [MARK_USER + user + MARK_AI]
    return [*opened, IDLE] if reply is None else [*opened[:-1], opened[-1] + reply]


# Every text that `duplex_prompt` asks for.
PROMPT_TEXTS = sorted(
    {
        text
        for user, reply in _PAIRS
        for text in [*_segments(user, reply), *_segments(user, "")]
        if text != IDLE
    }
)


@dataclass(frozen=True)
class DuplexPrompt:
    """decisions: positions right after `<AI>`, where the model chooses to speak or to idle."""

    ids: list[int]
    decisions: list[int]
    idle: int


def duplex_prompt(
    vocabulary: Vocabulary, encode: Callable[[str], list[int]], max_ids: int
) -> DuplexPrompt:
    """The prompt in the ids of `encode`, at most `max_ids` long."""
    bos, eos, idle = (vocabulary.find(text) for text in ("<s>", "</s>", IDLE))

    def ids_of(segments: list[str]) -> list[int]:
        return [t for text in segments for t in ([idle] if text == IDLE else encode(text))]

    n_ids = min(N_IDS, max_ids)
    ids, decisions = [bos], []
    for user, reply in itertools.cycle(_PAIRS):
        opened = ids_of(_segments(user, ""))
        pair = [*ids_of(_segments(user, reply)), eos]
        # `<AI>` may have merged with the reply; then there is no such position.
        if opened and pair[: len(opened)] == opened:
            decisions.append(len(ids) + len(opened) - 1)
        ids += pair
        if len(ids) >= n_ids:
            return DuplexPrompt(ids[:n_ids], [at for at in decisions if at < n_ids], idle)
    raise AssertionError  # a cycle has no end

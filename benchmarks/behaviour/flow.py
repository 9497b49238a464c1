"""Defects of the text itself: at slice borders, special tokens, slices over the budget."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.behaviour.judge import is_idle, words
from benchmarks.behaviour.transcript import Transcript

__all__ = ["FlowCounts", "count_flow", "flow", "seam_defect"]

_SPECIAL = re.compile(r"<\s*/?\s*(?:idle|s0?|s|unk|pad|用户|AI)\s*>|<0x[0-9A-Fa-f]{2}>|<\|", re.I)


@dataclass
class FlowCounts:
    """n_borders: between two slices of one answer. The rest are defects."""

    n_borders: int = 0
    n_seams: int = 0
    n_special: int = 0
    n_over_budget: int = 0


def seam_defect(before: str, after: str) -> str:
    """What is wrong where `before` ends and `after` begins; empty when nothing is.

    A word torn in two by the border counts as broken even if its halves join to a word: the user
    sees half of it for a whole slice.
    """
    if before[-1:].isalnum() and after[:1].isalnum() and before.isascii() and after.isascii():
        return "broken word"
    if before[-1:].isspace() and after[:1].isspace():
        return "duplicated token"
    last, first = words(before)[-1:], words(after)[:1]
    is_adjacent = before[-1:].isalnum() or before[-1:].isspace()
    return "duplicated token" if last and last == first and is_adjacent else ""


def _borders(transcript: Transcript) -> Iterator[tuple[int, str]]:
    """(slice, defect) for every silent slice in which an answer goes on.

    Text that was shown, remembered and sampled must agree, else a token was lost on the way.
    """
    for at in range(1, len(transcript.slices)):
        before, after = transcript.replies[at - 1], transcript.replies[at]
        if transcript.slices[at].user or is_idle(before.text) or is_idle(after.text):
            continue
        is_lost = not (before.is_faithful and after.is_faithful)
        yield at, "lost token" if is_lost else seam_defect(before.text, after.text)


def count_flow(transcript: Transcript) -> FlowCounts:
    """All defects of one transcript."""
    counts = FlowCounts()
    for _, defect in _borders(transcript):
        counts.n_borders += 1
        counts.n_seams += bool(defect)
    for reply in transcript.replies:
        counts.n_special += len(_SPECIAL.findall(reply.text))
        counts.n_over_budget += reply.n_sampled > transcript.max_tokens
    return counts


def flow(transcript: Transcript) -> Iterator[bool]:
    """One trial per slice border inside an answer: a seam defect.

    A special token on the page or a slice over the budget counts as a bad border of its own.
    """
    counts = count_flow(transcript)
    n_bad = counts.n_seams + counts.n_special + counts.n_over_budget
    n_others = counts.n_special + counts.n_over_budget
    for number in range(counts.n_borders + n_others):
        yield number < n_bad

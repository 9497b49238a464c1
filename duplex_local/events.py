"""What crosses the engine's border outward. Plain values; any thread may hold them.

A conversation is a list of numbered slices. `SliceChanged` always carries the whole slice, so a
reader keeps `slices[event.index] = event` and is never out of step: a cut sends the slices it
changed once more. What the reader has taken from the queue counts as shown to the user.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "DraftTaken",
    "Event",
    "Failed",
    "Floor",
    "FloorChanged",
    "Interrupted",
    "Refused",
    "ReplyEnd",
    "Reset",
    "SliceChanged",
    "SliceStats",
    "Ticked",
    "WindowSlid",
]


class Floor(enum.Enum):
    """Who has the floor."""

    IDLE = "idle"  # nobody: the model sleeps until the user speaks
    LISTENING = "listening"  # the user: the model hears and waits
    SPEAKING = "speaking"  # the model: its answer is not finished


class ReplyEnd(enum.Enum):
    """Why a reply slice ended."""

    IDLE = "idle"  # the model chose `<idle>`
    EOS = "eos"  # the model chose `</s>`
    BUDGET = "budget"  # token budget used up; the next silent slice carries on
    CUT = "cut"  # interrupted; the text is what was shown
    FORCED = "forced"  # `<idle>` set by us inside a long message


@dataclass(frozen=True)
class Event:
    """epoch counts interruptions: an event of an older epoch is stale. at_s: session time."""

    epoch: int
    at_s: float


@dataclass(frozen=True)
class SliceStats:
    """What one slice cost. Seconds are wall clock from the moment the slice was closed."""

    n_prefill: int  # tokens evaluated before the first sampled one
    n_decode: int  # tokens sampled
    ttft_s: float  # to the first sampled token
    total_s: float  # to the end of the reply
    n_past: int  # tokens in the KV cache afterwards

    @property
    def tokens_per_s(self) -> float | None:
        """Decode rate, None when there were too few tokens to tell."""
        decode_s = self.total_s - self.ttft_s
        return (self.n_decode - 1) / decode_s if self.n_decode > 1 and decode_s > 0 else None


@dataclass(frozen=True)
class SliceChanged(Event):
    """Slice `index` as it now stands. Empty `user` or `reply` is silence.

    `end` is None while the reply is still growing; `stats` comes with the end of a run.
    """

    index: int
    user: str
    reply: str
    end: ReplyEnd | None = None
    stats: SliceStats | None = None


@dataclass(frozen=True)
class DraftTaken(Event):
    """The words `text` left the text box for the model.

    n_taken: characters that have left the box since the beginning, by Enter or as words. A page
    counts the same way, and removes from the front of its box what it has not counted yet.
    """

    n_taken: int
    text: str


@dataclass(frozen=True)
class FloorChanged(Event):
    floor: Floor


@dataclass(frozen=True)
class Ticked(Event):
    """A slice border; the next is due in `slice_s` seconds."""

    slice_s: float


@dataclass(frozen=True)
class Interrupted(Event):
    """The reply was cut. after_index: the slice it belongs to. by_stop: the user pressed Stop."""

    after_index: int
    by_stop: bool


@dataclass(frozen=True)
class WindowSlid(Event):
    """The context was full: the oldest `n_pairs` slice pairs left the model's memory."""

    n_pairs: int


@dataclass(frozen=True)
class Reset(Event):
    """A new conversation began in the same place."""


@dataclass(frozen=True)
class Refused(Event):
    """The last input was not taken; the conversation goes on. `message` says why."""

    message: str


@dataclass(frozen=True)
class Failed(Event):
    """The conversation is over. `message` says why and what to do."""

    message: str

"""What the page must show, as a value: feed it events, ask it which rows changed.

No Gradio, no HTML, no clock and no rule of the conversation: the engine decides, this remembers.
A row is a slice; silent slices fold into the first of their run. Every change gets a version,
so a reader that knows version n is brought up to date with `changed_rows(n)`, however long the
conversation is.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from duplex_local.events import (
    DraftTaken,
    Event,
    Failed,
    Floor,
    FloorChanged,
    Interrupted,
    Refused,
    Reset,
    SliceChanged,
    SliceStats,
    Ticked,
    WindowSlid,
)

__all__ = ["Clock", "Mark", "Row", "View"]

# Shorter pauses are the rhythm of speech, not silence worth a line.
MIN_QUIET_S = 3.0
# A page that missed patches finds its words in the tail; it lags by a few slices at most.
_TAIL_CHARS = 2000


@dataclass(frozen=True)
class Mark:
    """A line across the page, after a row. is_warning: something was lost or cut."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Row:
    """One slice as it is shown.

    at_s: when the slice was opened.
    pause_s: silence before it in which there was no slice at all (the model slept).
    quiet_s: set when the row stands for a run of silent slices; there is no text then.
    """

    at_s: float
    slice: SliceChanged
    pause_s: float = 0.0
    quiet_s: float | None = None
    marks: tuple[Mark, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.slice.end is None


@dataclass(frozen=True)
class Clock:
    """The last slice border: the page runs its clock for `slice_s` from when it sees it."""

    n_ticks: int = 0
    slice_s: float = 2.0


class View:
    """One conversation as the page shows it."""

    def __init__(self) -> None:
        self.version = 0
        self.n_resets = 0
        self.floor = Floor.IDLE
        self.clock = Clock()
        self.stats: SliceStats | None = None  # of the last slice
        self.first_words_s: float | None = None  # of the last slice that answered
        self.tokens_per_s: float | None = None
        self.n_taken = 0
        self.taken_tail = ""
        self.said = ""  # taken words of the utterance that is not over
        self.n_refused = 0
        self.refusal = ""
        self.n_heard = 0  # user slices so far: tells whether something sent arrived
        self.failure = ""
        self._clear_rows()

    def _clear_rows(self) -> None:
        self._slices: dict[int, SliceChanged] = {}
        self._opened_s: dict[int, float] = {}
        self._marks: dict[int, tuple[Mark, ...]] = {}
        self._quiet_from: dict[int, int] = {}  # silent slice -> first of its run
        self._quiet_to: dict[int, int] = {}  # first of a run -> last
        self._last = -1
        self._changed: OrderedDict[int, int] = OrderedDict()  # row -> version, newest last

    # -- in: events -----------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take one event of the engine into account."""
        self.version += 1
        match event:
            case SliceChanged():
                self._put_slice(event)
            case DraftTaken(n_taken=n_taken, text=text):
                self._take_words(text, n_taken)
            case FloorChanged(floor=floor):
                self.floor = floor
                if floor is not Floor.LISTENING:
                    self.said = ""
            case Ticked(slice_s=slice_s):
                self.clock = Clock(self.clock.n_ticks + 1, slice_s)
            case Interrupted(after_index=index, by_stop=by_stop):
                text = "you stopped it" if by_stop else "you interrupted"
                self._mark(index, Mark(text, is_warning=True))
            case WindowSlid(n_pairs=n_pairs):
                slices = "the oldest slice" if n_pairs == 1 else f"the oldest {n_pairs} slices"
                self._mark(self._last, Mark(f"context full: {slices} left the model's memory"))
            case Refused(message=message):
                self.n_refused += 1
                self.refusal = message
            case Failed(message=message):
                self.failure = message
            case Reset():
                self._reset()
            case _:
                raise TypeError(f"unknown event {event!r}")

    def _reset(self) -> None:
        self.n_resets += 1
        self.floor = Floor.IDLE
        self.stats = self.first_words_s = self.tokens_per_s = None
        self.said = self.refusal = self.failure = ""
        self._clear_rows()

    def _take_words(self, words: str, n_taken: int) -> None:
        self.n_taken = n_taken
        self.taken_tail = (self.taken_tail + words)[-_TAIL_CHARS:]
        self.said = (self.said + words)[-_TAIL_CHARS:]

    def _put_slice(self, event: SliceChanged) -> None:
        index = event.index
        is_new = index not in self._slices
        if is_new:
            self._opened_s[index] = event.at_s
            if event.user:
                self.n_heard += 1
                self.refusal = ""
            else:
                self.said = ""
        self._slices[index] = event
        self._last = max(self._last, index)
        self._put_stats(event.stats, event.reply)
        self._refold(index)
        self._touch(index)
        if is_new and index - 1 in self._slices:
            # How long a silence was is known when it ends.
            self._touch(self._quiet_from.get(index - 1, index - 1))

    def _put_stats(self, stats: SliceStats | None, reply: str) -> None:
        if stats is None:
            return
        self.stats = stats
        if reply:
            self.first_words_s = stats.ttft_s
            self.tokens_per_s = stats.tokens_per_s or self.tokens_per_s

    def _mark(self, index: int, mark: Mark) -> None:
        if self._last < 0:
            return
        at = index if index in self._slices else self._last
        marks = self._marks.get(at, ())
        if mark in marks:
            return
        self._marks[at] = (*marks, mark)
        self._refold(at)
        self._touch(at)

    # -- silence --------------------------------------------------------------------------

    def _is_silent(self, index: int) -> bool:
        shown = self._slices.get(index)
        return shown is not None and not (shown.user or shown.reply or index in self._marks)

    def _refold(self, index: int) -> None:
        """Keep the runs of silent slices right around a slice that changed."""
        was_silent = index in self._quiet_from
        if self._is_silent(index) == was_silent:
            return
        first = self._quiet_from.get(index, index)
        last = self._quiet_to.get(first, index)
        if was_silent:
            self._fold(first, index - 1)
            del self._quiet_from[index]
            self._quiet_to.pop(index, None)
            self._fold(index + 1, last)
        else:
            first = self._quiet_from.get(index - 1, index)
            last = self._quiet_to.pop(index + 1, index)
            if first < index == last:  # the common case, without a walk along the run
                self._quiet_from[index] = first
                self._quiet_to[first] = index
                self._touch(first)
            else:
                self._fold(first, last)

    def _fold(self, first: int, last: int) -> None:
        if first > last:
            return
        for index in range(first, last + 1):
            self._quiet_from[index] = first
            self._touch(index)
        self._quiet_to[first] = last

    # -- out: rows ------------------------------------------------------------------------

    def _touch(self, index: int) -> None:
        self._changed[index] = self.version
        self._changed.move_to_end(index)

    def changed_rows(self, since: int = -1) -> list[int]:
        """Indices of the rows that changed after version `since`, in order."""
        rows = []
        for index in reversed(self._changed):
            if self._changed[index] <= since:
                break
            rows.append(index)
        return sorted(rows)

    def row(self, index: int) -> Row | None:
        """Row `index`, or None when it is folded into another one or too short to show."""
        first = self._quiet_from.get(index)
        at_s = self._opened_s[index]
        if first is None:
            marks = self._marks.get(index, ())
            return Row(at_s, self._slices[index], self._pause_s(index), marks=marks)
        if first != index:
            return None
        quiet_s = self._quiet_s(index)
        return Row(at_s, self._slices[index], quiet_s=quiet_s) if quiet_s >= MIN_QUIET_S else None

    def _quiet_s(self, first: int) -> float:
        last = self._quiet_to[first]
        ended_s = self._opened_s.get(last + 1, self._opened_s[last] + self.clock.slice_s)
        return ended_s - self._opened_s[first]

    def _pause_s(self, index: int) -> float:
        """Silence before a row in which the model slept, 0 when it is not worth a line."""
        before_s = self._opened_s.get(index - 1)
        if before_s is None or index - 1 in self._quiet_from:
            return 0.0
        pause_s = self._opened_s[index] - before_s - self.clock.slice_s
        return pause_s if pause_s >= MIN_QUIET_S else 0.0

"""The way from the model's thread to the user, where an interruption takes effect.

What a reader has taken counts as shown. `cut` is called on the reader's side, the moment the
user presses a key: from then on no text of the old reply comes out, whatever the model's thread
is doing. It returns how far the reply was shown, which becomes the model's memory of it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from duplex_local.events import Event, SliceChanged

__all__ = ["Cut", "Outbox"]


@dataclass(frozen=True)
class Cut:
    """Up to where a reply was shown: `n_chars` characters of the reply of slice `index`.

    epoch: the epoch that began with this cut.
    """

    epoch: int
    index: int
    n_chars: int


class Outbox:
    """Events of one conversation on their way to its reader."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards every attribute below
        self._events: deque[Event] = deque()
        self._epoch = 0
        self._shown = (-1, 0)  # slice index, characters of its reply

    def put(self, event: Event) -> None:
        """Queue `event`, unless it is text of a reply that was cut meanwhile."""
        with self._changed:
            if not self._is_stale(event):
                self._events.append(event)
                self._changed.notify()

    def _is_stale(self, event: Event) -> bool:
        # Only slices go stale. The rest (words taken, failures) is true whenever it arrives.
        return isinstance(event, SliceChanged) and event.epoch < self._epoch

    @property
    def epoch(self) -> int:
        with self._changed:
            return self._epoch

    def take(self, timeout_s: float) -> list[Event]:
        """All events queued; waits up to `timeout_s` for the first. Empty on timeout."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._events), timeout_s)
            events = list(self._events)
            self._events.clear()
            for event in events:
                if isinstance(event, SliceChanged) and event.index >= self._shown[0]:
                    self._shown = (event.index, len(event.reply))
            return events

    def cut(self) -> Cut:
        """Drop every slice that was not taken, and begin a new epoch.

        The session, told of the cut, sends the slices again as they now stand, so a user's
        words that were waiting here are not lost.
        """
        with self._changed:
            self._epoch += 1
            self._events = deque(e for e in self._events if not self._is_stale(e))
            return Cut(self._epoch, *self._shown)

    def restart(self) -> int:
        """Begin a new epoch in which nothing was shown: another conversation follows."""
        with self._changed:
            self._epoch += 1
            self._events = deque(e for e in self._events if not self._is_stale(e))
            self._shown = (-1, 0)
            return self._epoch

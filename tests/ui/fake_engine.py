"""An engine without a model, with the real interface: tests say what it says.

What the page calls is recorded. Words are taken, and events are told, when a test asks for it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from duplex_local.config import SessionConfig, with_changes
from duplex_local.draft import Draft
from duplex_local.errors import BusyError
from duplex_local.events import (
    DraftTaken,
    Event,
    Floor,
    FloorChanged,
    ReplyEnd,
    Reset,
    SliceChanged,
)


@dataclass(frozen=True)
class FakeInfo:
    name: str = "fake"
    quant: str = "Q8_0"
    backend: str = "CPU"
    description: str = "A fake <b>model</b> for ${tests} {{of}} `the page`."
    n_ctx: int = 2048
    size_bytes: int = 1


class FakeConversation:
    """One conversation, driven by a test."""

    def __init__(self, engine: FakeEngine, config: SessionConfig) -> None:
        self.engine = engine
        self.config = config
        self.calls: list[tuple] = []  # what the page called, in order of arrival
        self.draft = Draft()
        self.heard = ""  # all words that left the box, taken or sent
        self.is_closed = False
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()  # guards the two above and `calls`

    # -- the interface of the engine ------------------------------------------------------

    def type(self, text: str, revision: int, n_taken: int) -> None:
        self._record("type", text, revision, n_taken)
        self.draft.update(text, revision, n_taken)

    def send(self, text: str, revision: int = 0, n_taken: int | None = None) -> None:
        with self._changed:
            self.heard += self.draft.send(text, revision, n_taken)
        self._record("send", text, revision, n_taken)

    def stop(self) -> None:
        self._record("stop")

    def reset(self) -> None:
        self.draft.clear()
        self._record("reset")
        self.tell(Reset(0, 0.0))

    def configure(self, changes) -> None:
        self.config = with_changes(self.config, changes)
        self._record("configure", changes)

    def take(self, timeout_s: float) -> list[Event]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._events), timeout_s)
            events = list(self._events)
            self._events.clear()
            self._changed.notify_all()
            return events

    def close(self) -> None:
        self.engine.release(self)
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    # -- for tests ------------------------------------------------------------------------

    def _record(self, *call) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def tell(self, *events: Event) -> None:
        """Have the page see `events`."""
        with self._changed:
            self._events.extend(events)
            self._changed.notify_all()

    def wait(self, condition, timeout_s: float = 10.0) -> None:
        """Until `condition(self)` holds; every call of the page is a reason to look again."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout_s), self.calls

    def take_words(self) -> str:
        """A slice border: whole words leave the box."""
        words = self.draft.take_words()
        if words:
            with self._changed:
                self.heard += words
            self.tell(DraftTaken(0, 0.0, self.draft.n_taken, words))
        return words

    def say(self, index: int, user: str, reply: str, end: ReplyEnd | None = None, **more) -> None:
        at_s = more.pop("at_s", index * 2.0 + 2)
        floor = FloorChanged(0, at_s, Floor.SPEAKING if reply else Floor.LISTENING)
        self.tell(SliceChanged(0, at_s, index, user, reply, end, **more), floor)

    @property
    def box(self) -> tuple:
        """The newest `type` call; requests overtake each other, so it may not be the last."""
        return max(self.typed, key=lambda call: call[2], default=("type", "", 0, 0))

    @property
    def typed(self) -> list[tuple]:
        return [call for call in self.calls if call[0] == "type"]


@dataclass
class FakeEngine:
    n_sessions: int = 4
    info: FakeInfo = field(default_factory=FakeInfo)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()  # guards the lists below
        self.conversations: list[FakeConversation] = []  # open ones
        self.opened: list[FakeConversation] = []  # all there ever were

    def open(self, config: SessionConfig | None = None) -> FakeConversation:
        with self._changed:
            if len(self.conversations) == self.n_sessions:
                raise BusyError(f"{self.n_sessions} conversations are open already.")
            conversation = FakeConversation(self, config or SessionConfig())
            self.conversations.append(conversation)
            self.opened.append(conversation)
            self._changed.notify_all()
            return conversation

    def release(self, conversation: FakeConversation) -> None:
        with self._changed:
            if conversation in self.conversations:
                self.conversations.remove(conversation)
            self._changed.notify_all()

    def wait_for_open(self, n_open: int, timeout_s: float = 20.0) -> None:
        """Until exactly `n_open` conversations are open."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.conversations) == n_open, timeout_s), (
                f"{len(self.conversations)} conversations are open, not {n_open}"
            )

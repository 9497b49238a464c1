"""A conversation on a virtual clock: the real scheduler, session and sequence, a scripted model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from duplex_local.backend import ScriptedBackend
from duplex_local.config import SessionConfig
from duplex_local.draft import Draft
from duplex_local.events import Event, SliceChanged
from duplex_local.outbox import Outbox
from duplex_local.scheduler import Scheduler
from duplex_local.sequence import Sequence
from duplex_local.session import Session
from tests.vocab import letter_tokenizer

E = TypeVar("E", bound=Event)


class World:
    """One scheduler and its users, all on one thread; time stands still unless `wait` is called."""

    def __init__(self, n_ctx: int = 4096) -> None:
        self.now_s = 100.0
        self.tokenizer = letter_tokenizer()
        self.backend = ScriptedBackend(self.tokenizer.eos, n_ctx=n_ctx)
        self.scheduler = Scheduler(self.backend, self.tokenizer.idle, lambda: self.now_s)

    def user(self, seq_id: int = 0, **settings: object) -> User:
        return User(self, seq_id, SessionConfig(**settings))  # type: ignore[arg-type]

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps, with the model at work whenever it has something to do."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.settle()
            self.now_s = min(end_s, self.now_s + 0.125)
        self.settle()

    def settle(self) -> None:
        """Work until nothing is due."""
        while self.scheduler.step() == 0.0:
            pass


class User:
    """Somebody at a page: types, sends, stops, and sees every event at once."""

    def __init__(self, world: World, seq_id: int, config: SessionConfig) -> None:
        self.world, self.seq_id = world, seq_id
        self.draft, self.outbox = Draft(), Outbox()
        self.events: list[Event] = []
        self.sequence = Sequence(world.backend, seq_id)
        self.session = Session(
            world.tokenizer, self.sequence, self.draft, config, self.outbox.put, world.now_s
        )
        self.seat = world.scheduler.seat(self.session)
        self._revision = 0

    def model_says(self, *replies: str | None) -> None:
        """Script the next slices: None is `<idle>`, a text ends in `</s>`."""
        self.world.backend.script[self.seq_id] = iter(self._tokens(replies))

    def _tokens(self, replies: Iterable[str | None]) -> list[int]:
        tokenizer, tokens = self.world.tokenizer, []
        for reply in replies:
            tokens += (
                [tokenizer.idle] if reply is None else [*tokenizer.encode(reply), tokenizer.eos]
            )
        return tokens

    def type(self, text: str) -> None:
        self._revision += 1
        self.draft.update(text, self._revision, self.draft.n_taken)
        self.session.interrupt(self.outbox.cut(), self.world.now_s, by_stop=False)

    def send(self, text: str) -> None:
        self.session.interrupt(self.outbox.cut(), self.world.now_s, by_stop=False)
        self.session.send(text, self.world.now_s)

    def stop(self) -> None:
        self.session.interrupt(self.outbox.cut(), self.world.now_s, by_stop=True)

    def look(self) -> None:
        """Take what has come, as a page does: from now on it counts as shown."""
        self.events += self.outbox.take(0)

    def seen(self, kind: type[E]) -> list[E]:
        self.look()
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def page(self) -> dict[int, tuple[str, str]]:
        """What the page shows: user and reply text per slice, slices without text left out."""
        rows = {event.index: (event.user, event.reply) for event in self.seen(SliceChanged)}
        return {index: row for index, row in rows.items() if any(row)}

    @property
    def memory(self) -> dict[int, tuple[str, str]]:
        """What the model remembers, in the same form."""
        pairs = self.session.pairs
        rows = {pair.index: (pair.user or "", pair.reply) for pair in pairs}
        return {index: row for index, row in rows.items() if any(row)}

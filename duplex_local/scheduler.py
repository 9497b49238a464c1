"""The one thread that owns the model: ticks on the slice grid, one batch per step.

    other threads --post(call)--> inbox --> [this thread: sessions, sequences, backend] --> outboxes

A step is: run what was posted, tick the sessions that are due, evaluate one batch for all that
are running, sample, hand each its token. Between two steps the inbox is read again, so whatever
the user does waits for one decode step, or one prefill chunk, at most.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from duplex_local.backend import Backend, Sampler
from duplex_local.config import SessionConfig
from duplex_local.errors import DuplexError
from duplex_local.sequence import evaluate
from duplex_local.session import Session

__all__ = ["Scheduler", "Seat"]

_log = logging.getLogger(__name__)
_IDLE_WAIT_S = 60.0


@dataclass(eq=False)
class Seat:
    """A session at the model, with what the scheduler keeps for it.

    due_s: clock time of the next tick. n_missed_ticks: ticks that passed while it was at work.
    """

    session: Session
    sampler: Sampler
    due_s: float
    n_missed_ticks: int = 0


class Scheduler:
    """Runs every session of one backend.

    clock: seconds, monotonic. Tests pass their own and call `step` themselves.
    """

    def __init__(
        self, backend: Backend, idle: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._idle = idle
        self._clock = clock
        # From any thread to this one: calls to make here, with the time at which they are made.
        self._inbox: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        self._seats: list[Seat] = []
        self._closing = False
        self.is_closed = False
        self._thread = threading.Thread(target=self._loop, name="duplex-model", daemon=True)

    # -- from any thread ------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def post(self, call: Callable[[float], None]) -> None:
        """Have `call(now_s)` made on the model's thread, in order, within one step."""
        self._inbox.put(call)

    def close(self) -> None:
        """Stop after the current step and wait for it. May be called twice."""

        def stop(_: float) -> None:
            self._closing = True

        if self._thread.is_alive():
            self.post(stop)
            self._thread.join()
        self.is_closed = True
        for seat in list(self._seats):
            self.unseat(seat)

    # -- on the model's thread ------------------------------------------------------------

    def seat(self, session: Session) -> Seat:
        """Give `session` its place; its first tick is due one slice from now."""
        sampler = self._backend.sampler(session.config.sampling, self._idle)
        seat = Seat(session, sampler, self._clock() + session.config.slice_s)
        self._seats.append(seat)
        return seat

    def is_seated(self, seat: Seat) -> bool:
        """False once the session was taken away, or failed."""
        return seat in self._seats

    def unseat(self, seat: Seat) -> None:
        """Take a session away and forget its tokens. May be called twice."""
        if seat in self._seats:
            self._seats.remove(seat)
            seat.sampler.close()
            seat.session.sequence.clear()

    def configure(self, seat: Seat, config: SessionConfig) -> None:
        """New settings, from the next tick on."""
        old, seat.sampler = seat.sampler, self._backend.sampler(config.sampling, self._idle)
        old.close()
        seat.session.config = config
        seat.due_s = min(seat.due_s, self._clock() + config.slice_s)

    def step(self) -> float:
        """One step; returns the seconds until something is due (0: at once)."""
        self._run_inbox()
        now_s = self._clock()
        for seat in list(self._seats):
            if seat.due_s <= now_s or seat.session.has_message:
                self._guard(seat, self._tick, seat, now_s)
        running = [seat for seat in self._seats if seat.session.is_running]
        if running:
            self._advance(running)
            return 0.0
        if not self._seats:
            return _IDLE_WAIT_S
        return max(0.0, min(seat.due_s for seat in self._seats) - self._clock())

    def _run_inbox(self) -> None:
        while True:
            try:
                call = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._make(call)

    def _tick(self, seat: Seat, now_s: float) -> None:
        slice_s = seat.session.config.slice_s
        if seat.due_s > now_s:  # a message closes the slice early, and the grid begins anew
            seat.due_s = now_s
        # Deadlines stay on the grid, so a slow tick adds no drift. Ticks that passed are
        # skipped: a burst of late ones would feed the model slices that never happened.
        n_late = int((now_s - seat.due_s) / slice_s)
        seat.due_s += (n_late + 1) * slice_s
        seat.n_missed_ticks += n_late + seat.session.is_running
        seat.session.tick(now_s)

    def _advance(self, running: list[Seat]) -> None:
        by_sequence = {id(seat.session.sequence): seat for seat in running}
        try:
            ready = evaluate(self._backend, [seat.session.sequence for seat in running])
        except Exception as error:
            for seat in running:
                if not seat.session.sequence.n_pending:  # it was in the batch
                    self.fail(seat, error)
            return
        for sequence, row in ready:
            seat = by_sequence[id(sequence)]
            self._guard(seat, self._sample, seat, row)

    def _sample(self, seat: Seat, row: int) -> None:
        token = seat.sampler.sample(row)
        seat.session.push(token, self._clock())

    def _guard(self, seat: Seat, call: Callable[..., None], *args: object) -> None:
        """One session's failure must not disturb the others."""
        try:
            call(*args)
        except Exception as error:
            self.fail(seat, error)

    def fail(self, seat: Seat, error: Exception) -> None:
        """End a session; its user is told why, our own bugs go to the log as well."""
        if isinstance(error, DuplexError):
            message = str(error)
        else:
            _log.error("a session failed", exc_info=error)
            message = f"An internal error ended the conversation ({error!r}). Start a new one."
        seat.session.fail(message)
        self.unseat(seat)

    def _loop(self) -> None:
        while not self._closing:
            try:
                wait_s = self.step()
            except Exception as error:  # a bug of ours; the thread must live, the users be told
                wait_s = 0.0
                for seat in list(self._seats):
                    self.fail(seat, error)
            if wait_s > 0 and not self._closing:
                self._wait(wait_s)

    def _wait(self, wait_s: float) -> None:
        try:
            call = self._inbox.get(timeout=min(wait_s, _IDLE_WAIT_S))
        except queue.Empty:
            return
        self._make(call)

    def _make(self, call: Callable[[float], None]) -> None:
        try:
            call(self._clock())
        except Exception:  # a bug of ours in a posted call; the thread must live
            _log.exception("a posted call failed")

"""The public API: one model in memory, and conversations with it.

    with Engine(EngineConfig(model=Path("models/demo-Q8_0.gguf"))) as engine:
        conversation = engine.open(SessionConfig())
        conversation.send("tell me about mars")
        for event in conversation.take(timeout_s=1.0):
            ...

All methods return at once and may be called from any thread. Events count as shown to the user
when they are taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from duplex_local.backend import Backend, ModelInfo
from duplex_local.config import EngineConfig, SessionConfig, with_changes
from duplex_local.draft import Draft
from duplex_local.errors import BusyError, ProtocolError
from duplex_local.events import Event, Failed, Refused
from duplex_local.llama_backend import LlamaBackend
from duplex_local.outbox import Outbox
from duplex_local.protocol import SlicePair
from duplex_local.scheduler import Scheduler, Seat
from duplex_local.sequence import Sequence
from duplex_local.session import Session, without_surrogates
from duplex_local.tokenizer import Tokenizer

__all__ = ["Conversation", "Engine"]

# No message fits any context beyond this; a text box that holds more is refused unread.
MAX_BOX_CHARS = 20_000


class Engine:
    """A model and the thread that runs it. A context manager.

    Raises:
        ModelFileError: when the model file is missing, damaged, or would run wrong.
        BackendError: when there is not enough memory for the context.
    """

    def __init__(self, config: EngineConfig) -> None:
        backend = LlamaBackend(config)
        try:
            tokenizer = Tokenizer(backend.vocab)
        except Exception:
            backend.close()
            raise
        self._backend: Backend = backend
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # guards _free
        self._free = list(range(backend.n_sequences))  # sequences without a conversation
        self._scheduler = Scheduler(backend, tokenizer.idle)
        self._scheduler.start()

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self._backend.info

    def open(self, config: SessionConfig | None = None) -> Conversation:
        """Begin a conversation.

        Raises:
            BusyError: when as many are open as the engine was built for.
            ProtocolError: when the engine is closed.
        """
        if self._scheduler.is_closed:
            raise ProtocolError("open() called on an engine that is closed.")
        with self._lock:
            if not self._free:
                n_open = self._backend.n_sequences
                raise BusyError(f"{n_open} conversations are open already. Close another tab.")
            return Conversation(self, self._free.pop(0), config or SessionConfig())

    def _release(self, seq_id: int) -> None:
        with self._lock:
            self._free.append(seq_id)

    def close(self) -> None:
        """End every conversation, stop the thread, free the model. May be called twice."""
        self._scheduler.close()  # before the model is freed: the thread may be computing
        self._backend.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Conversation:
    """One user's conversation with the model. Made by `Engine.open`."""

    def __init__(self, engine: Engine, seq_id: int, config: SessionConfig) -> None:
        self._engine = engine
        self._scheduler = engine._scheduler
        self._seq_id = seq_id
        self._draft = Draft()
        self._outbox = Outbox()
        self._config = config
        # One input at a time: the order of cuts must be the order of what is posted.
        self._lock = threading.Lock()
        self._is_closed = False
        self._seat: Seat | None = None  # only the model's thread touches it
        self._post(self._sit_down)

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        """Make `call(now_s, *args)` on the model's thread; its failure ends the conversation."""

        def on_model_thread(now_s: float) -> None:
            try:
                call(now_s, *args)
            except Exception as error:
                self._outbox.put(Failed(self._outbox.epoch, 0.0, f"It failed: {error}"))
                raise

        self._scheduler.post(on_model_thread)

    def _sit_down(self, now_s: float) -> None:
        engine = self._engine
        sequence = Sequence(engine._backend, self._seq_id)
        session = Session(
            engine._tokenizer, sequence, self._draft, self._config, self._outbox.put, now_s
        )
        self._seat = self._scheduler.seat(session)

    def _refuse(self, message: str = "The conversation is over. Start a new one.") -> None:
        self._outbox.put(Refused(self._outbox.epoch, 0.0, message))

    def _to_session(
        self, act: Callable[[Session, float], None], otherwise: Callable[[], None] = lambda: None
    ) -> None:
        """Have `act(session, now_s)` done on the model's thread; `otherwise` when it is over."""

        def on_model_thread(now_s: float) -> None:
            seat = self._seat
            if seat is None or not self._scheduler.is_seated(seat):
                otherwise()
                return
            try:
                act(seat.session, now_s)
            except Exception as error:
                self._scheduler.fail(seat, error)

        self._scheduler.post(on_model_thread)

    # -- input ----------------------------------------------------------------------------

    def type(self, text: str, revision: int, n_taken: int) -> None:
        """The text box now holds `text`. A reply that is running ends here.

        revision: grows with every input; older ones that arrive late are dropped.
        n_taken: characters that have left the box, as the page counts them: those it sent, and
            those it removed on `DraftTaken` events.
        """
        text = without_surrogates(text)
        if self._is_too_long(text):
            return
        with self._lock:
            if self._draft.update(text, revision, n_taken):
                # Deleting the last letter is no interruption; any other key press is.
                if text.strip():
                    self._interrupt(by_stop=False)
                else:
                    self._to_session(lambda session, now_s: session.notice_typing(now_s))

    def _interrupt(self, *, by_stop: bool) -> None:
        cut = self._outbox.cut()
        self._to_session(lambda session, now_s: session.interrupt(cut, now_s, by_stop=by_stop))

    def send(self, text: str, revision: int = 0, n_taken: int | None = None) -> None:
        """The user pressed Enter: `text`, all that stands in the box, is said at once.

        n_taken: as for `type`, before this message; None when there is no box that lives.
        """
        text = without_surrogates(text)
        with self._lock:
            count = self._draft.n_taken if n_taken is None else n_taken
            rest = self._draft.send(text, revision, count)
            if rest.strip() and not self._is_too_long(rest):
                self._interrupt(by_stop=False)
                self._to_session(lambda session, now_s: session.send(rest, now_s), self._refuse)

    def _is_too_long(self, text: str) -> bool:
        if len(text) <= MAX_BOX_CHARS:
            return False
        self._refuse(
            f"Your text has {len(text):,} characters; at most {MAX_BOX_CHARS:,} can be taken. "
            "Nothing was sent. Shorten it."
        )
        return True

    def stop(self) -> None:
        """Stop the reply; the model stays silent until the user speaks."""
        with self._lock:
            self._interrupt(by_stop=True)

    def reset(self) -> None:
        """Forget the conversation, also one that failed, and begin anew in the same place."""
        with self._lock:
            if self._is_closed:
                return
            self._draft.clear()
            self._post(self._restart, self._outbox.restart())

    def _restart(self, now_s: float, epoch: int) -> None:
        if self._seat is None or not self._scheduler.is_seated(self._seat):
            self._sit_down(now_s)
        assert self._seat is not None
        self._seat.session.reset(epoch, now_s)

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change settings of this conversation, from the next slice on.

        Raises:
            ConfigError: for an unknown setting or a value out of range. Nothing is changed.
        """
        with self._lock:
            self._config = with_changes(self._config, changes)
            self._post(self._configure, self._config)

    def _configure(self, _: float, config: SessionConfig) -> None:
        if self._seat is not None and self._scheduler.is_seated(self._seat):
            self._scheduler.configure(self._seat, config)

    # -- output ---------------------------------------------------------------------------

    def take(self, timeout_s: float) -> list[Event]:
        """The events since the last call; waits up to `timeout_s` for the first."""
        return self._outbox.take(timeout_s)

    def history(self) -> list[SlicePair]:
        """The model's memory as it is now, oldest slice first; empty when it is over.

        Raises:
            ProtocolError: when the engine is closed.
        """
        if self._scheduler.is_closed:
            raise ProtocolError("history() called on an engine that is closed.")
        answer: Future[list[SlicePair]] = Future()

        def read(_: float) -> None:
            answer.set_result(self._seat.session.pairs if self._seat else [])

        self._scheduler.post(read)
        return answer.result(timeout=60)

    def close(self) -> None:
        """End the conversation; its place is free for another. May be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._post(self._stand_up)
        # Whoever opens next sits down after this session stood up: posts keep their order.
        self._engine._release(self._seq_id)

    def _stand_up(self, _: float) -> None:
        if self._seat is not None:
            self._scheduler.unseat(self._seat)

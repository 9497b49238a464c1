"""One conversation per browser tab: its inputs in, its stream of patches out.

A tab is one Gradio session. Its stream is a generator that Gradio runs for as long as the tab is
there; when the tab is closed, Gradio closes the generator at its next patch, and the conversation
with it. So a patch goes out every `KEEPALIVE_S` even when nothing happens.

There is no `Blocks.unload` on purpose: with it every tab would hold a second connection, and
browsers allow six to a server, so that the third tab could no longer send anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from duplex_local.config import SessionConfig
from duplex_local.errors import BusyError, DuplexError, ProtocolError
from duplex_local.events import Event, Failed
from ui import render
from ui.view import View

__all__ = ["Tabs"]

KEEPALIVE_S = 1.0
# How many patches a page may miss before it has to ask for everything.
N_REPEATED = 8

_log = logging.getLogger(__name__)


class Conversation(Protocol):
    """What the page needs of a conversation."""

    def type(self, text: str, revision: int, n_taken: int) -> None: ...
    def send(self, text: str, revision: int, n_taken: int) -> None: ...
    def stop(self) -> None: ...
    def reset(self) -> None: ...
    def configure(self, changes: Mapping[str, Any]) -> None: ...
    def take(self, timeout_s: float) -> list[Event]: ...
    def close(self) -> None: ...


class Info(Protocol):
    """What the page needs to know of the model."""

    @property
    def name(self) -> str: ...
    @property
    def quant(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def n_ctx(self) -> int: ...


class Engine(Protocol):
    """What the page needs of the engine: `duplex_local.engine.Engine`, or a fake of it."""

    @property
    def info(self) -> Info: ...
    def open(self, config: SessionConfig) -> Conversation: ...


class Tab:
    """A conversation and what its page has been told."""

    def __init__(self, conversation: Conversation, info: Info) -> None:
        self.conversation = conversation
        self.view = View()
        self.is_behind = True  # set by any thread, cleared by the stream: send everything
        self._info = info
        self._sent: deque[int] = deque(maxlen=N_REPEATED)  # versions of the last patches

    def events(self) -> list[Event]:
        """The next events; an error of the conversation is the last of them."""
        try:
            return self.conversation.take(KEEPALIVE_S)
        except DuplexError as error:
            return [Failed(0, 0.0, str(error))]

    def patch(self) -> str:
        """What the page must change, as JSON."""
        since = self._sent[0] if self._sent and not self.is_behind else -1
        patch = render.patch(self.view, since, self._info.n_ctx)
        if self.is_behind:
            self.is_behind = False
            self._sent.clear()
            patch["about"] = _about(self._info)
        self._sent.append(self.view.version)
        return render.to_json(patch)


def _about(info: Info) -> dict[str, str]:
    return render.about(info.name, info.quant, info.backend, info.description)


class Tabs:
    """Every open tab, by the name Gradio gives its session."""

    def __init__(self, engine: Engine, config: SessionConfig) -> None:
        self._engine = engine
        self._config = config
        self._lock = threading.Lock()  # guards _tabs: handlers and streams run on many threads
        self._tabs: dict[str, Tab] = {}

    def stream(self, name: str) -> Iterator[str]:
        """Patches for tab `name`, until the generator is closed."""
        tab = None
        try:
            while tab is None:
                try:
                    tab = Tab(self._engine.open(self._config), self._engine.info)
                except BusyError as error:
                    yield self._waiting(str(error))
                    time.sleep(KEEPALIVE_S)  # another tab may be closed meanwhile
            with self._lock:
                self._tabs[name] = tab
            yield tab.patch()
            while True:
                for event in tab.events():
                    tab.view.apply(event)
                yield tab.patch()
        except Exception as error:
            if tab is not None:
                _log.exception("the stream of a tab ended")
                message = f"This page has failed ({error!r}). Reload it; the terminal says more."
                tab.view.apply(Failed(0, 0.0, message))
                yield tab.patch()
            else:
                raise
        finally:
            self._close(name, tab)

    def _waiting(self, message: str) -> str:
        view = View()
        view.apply(Failed(0, 0.0, message))
        patch = render.patch(view, -1, self._engine.info.n_ctx)
        about = _about(self._engine.info)
        return render.to_json({**patch, "state": "busy", "label": "busy", "about": about})

    def _close(self, name: str, tab: Tab | None) -> None:
        with self._lock:
            if self._tabs.get(name) is tab:
                self._tabs.pop(name, None)
        if tab is not None:
            tab.conversation.close()

    # -- inputs: each is one message of a page; a tab that is gone has none ---------------

    def _find(self, name: str) -> Tab | None:
        with self._lock:
            return self._tabs.get(name)

    def typed(self, name: str, box: Mapping[str, Any]) -> None:
        """The text box changed."""
        self._input(name, lambda tab: tab.conversation.type(*_box(box)))

    def sent(self, name: str, box: Mapping[str, Any]) -> None:
        """Enter."""
        self._input(name, lambda tab: tab.conversation.send(*_box(box)))

    def stopped(self, name: str) -> None:
        """Stop, or Esc."""
        self._input(name, lambda tab: tab.conversation.stop())

    def renewed(self, name: str) -> None:
        """New conversation."""
        self._input(name, lambda tab: tab.conversation.reset())

    def behind(self, name: str) -> None:
        """The page missed patches and needs everything."""
        tab = self._find(name)
        if tab is not None:
            tab.is_behind = True

    def configure(self, name: str, changes: Mapping[str, Any]) -> None:
        """Apply settings.

        Raises:
            DuplexError: when a setting is refused, or no conversation of this name is open.
        """
        tab = self._find(name)
        if tab is None:
            raise ProtocolError("Not connected; reload the page.")
        tab.conversation.configure(changes)

    def _input(self, name: str, act: Callable[[Tab], None]) -> None:
        tab = self._find(name)
        if tab is None:
            return
        try:
            act(tab)
        except (DuplexError, TypeError, ValueError) as error:
            # A page of ours sends nothing that could fail here.
            _log.warning("input refused: %s", error)


def _box(box: Mapping[str, Any]) -> tuple[str, int, int]:
    """What a page says of its text box, checked: anyone on this machine can send it."""
    text, revision, n_taken = (box.get(key) for key in ("text", "revision", "n_taken"))
    if not (isinstance(text, str) and type(revision) is int and type(n_taken) is int):
        raise TypeError("text must be a string, revision and n_taken whole numbers")
    return text, revision, n_taken

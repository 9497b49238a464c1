"""Duplex chat in a terminal: the model talks on while you type; a line you send interrupts it.

Enter sends the line at once. Ctrl-C stops the reply, twice in a row leaves. End of input leaves
when the model has nothing more to say.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from duplex_local.config import DEFAULT_MODEL, EngineConfig, SamplingConfig, SessionConfig
from duplex_local.errors import BackendError, exit_with_one_line
from duplex_local.events import (
    Event,
    Failed,
    Floor,
    FloorChanged,
    Interrupted,
    Refused,
    SliceChanged,
    WindowSlid,
)

if TYPE_CHECKING:
    from duplex_local.engine import Conversation, Engine

__all__ = ["main"]

_TWICE_S = 2.0  # two Ctrl-C within this leave


class _Screen:
    """Prints what is new in each slice, and ends the line when somebody else takes the floor.

    Everything that was taken from the conversation counts as shown, so nothing is held back until
    a word is whole: a word that grows over the margin moves to the next line.

    width: columns of the terminal now; None where the output is no terminal and no line too long.
    """

    def __init__(self, width: Callable[[], int] | None) -> None:
        self._width = width
        self._index = -1
        self._n_printed = 0
        self._column = 0
        self._word = ""  # the last one in this line, as far as it is known
        self.floor = Floor.IDLE

    def show(self, event: Event) -> None:
        if isinstance(event, SliceChanged):
            self._show_reply(event)
        elif isinstance(event, FloorChanged):
            self.floor = event.floor
            if event.floor is Floor.IDLE:
                self.end_line()
        elif isinstance(event, Interrupted):
            self.end_line(" --")
        elif isinstance(event, WindowSlid):
            self._note(f"(the {event.n_pairs} oldest slices left the model's memory)")
        elif isinstance(event, Refused):
            self._note(f"({event.message})")
        elif isinstance(event, Failed):
            self.end_line()
            raise BackendError(event.message)

    def _show_reply(self, event: SliceChanged) -> None:
        if event.index < self._index:
            return  # an older slice, sent again after a cut: nothing new in it
        if event.index > self._index:
            self._index, self._n_printed = event.index, 0
        text = event.reply[self._n_printed :]
        self._n_printed = len(event.reply)
        for space, letters in re.findall(r"(\s*)(\S*)", text):
            self._write(" " if space and self._column else "", letters)

    def _write(self, space: str, letters: str) -> None:
        """A word behind a space, or more letters of the word in the line."""
        n_columns = len(space) + _columns(letters)
        word = letters if space else self._word + letters
        if self._width and self._column and self._column + n_columns >= self._width():
            begun = "" if space else self._word
            if len(begun) < self._column and word.isascii():  # others break anywhere
                print("\b" * len(begun) + " " * len(begun), end="")
                self.end_line()
                space, letters, n_columns = "", word, len(word)
        self._word = word
        self._column += n_columns
        if self._width:
            self._column %= self._width()  # the terminal has broken what is longer
        print(space + letters, end="", flush=True)

    def _note(self, text: str) -> None:
        self.end_line()
        print(text, flush=True)

    def end_line(self, mark: str = "") -> None:
        if self._column:
            print(mark, flush=True)
        self.at_margin()

    def at_margin(self) -> None:
        """A new line has begun; also by the user's Enter, which the terminal echoes."""
        self._column, self._word = 0, ""


def _terminal_width() -> int:
    return os.get_terminal_size().columns or 80  # 0: a terminal that does not know


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


class _Keyboard:
    """Lines from stdin, on a thread of its own: reading them blocks."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        # Written by the thread, read by the main loop.
        self.n_lines = 0
        self.is_at_end = False
        threading.Thread(target=self._read, daemon=True, name="keyboard").start()

    def _read(self) -> None:
        try:
            for revision, line in enumerate(sys.stdin):
                self.n_lines += 1
                self._conversation.send(line, revision)
        finally:
            self.is_at_end = True


def _chat(engine: Engine, config: SessionConfig) -> None:
    conversation = engine.open(config)
    last_s = 0.0

    def on_ctrl_c(_: int, __: FrameType | None) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s < _TWICE_S:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third must not disturb the leaving
            raise KeyboardInterrupt
        last_s = now_s
        conversation.stop()

    signal.signal(signal.SIGINT, on_ctrl_c)
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    screen = _Screen(_terminal_width if is_terminal else None)
    keyboard, n_lines = _Keyboard(conversation), 0
    while True:
        was_at_end = keyboard.is_at_end
        if was_at_end:
            conversation.history()  # by now the model's thread has what was sent before
        events = conversation.take(timeout_s=config.slice_s)
        if is_terminal and keyboard.n_lines > n_lines:
            n_lines = keyboard.n_lines
            screen.at_margin()  # so an interruption by words needs no mark: they stand there
        for event in events:
            screen.show(event)
        is_quiet = not any(isinstance(event, SliceChanged) for event in events)
        if was_at_end and is_quiet and screen.floor is Floor.IDLE:
            break
    screen.end_line()


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m duplex_local", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="GGUF")
    parser.add_argument("--slice-s", type=float, default=2.0, help="seconds per slice")
    parser.add_argument("--n-ctx", type=int, default=2048, help="tokens of context")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy")
    parser.add_argument("--seed", type=int, help="for the same answers again")
    return parser.parse_args(argv)


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    options = _parse(argv)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    sampling = SamplingConfig(temperature=options.temperature, seed=options.seed)
    config = SessionConfig(slice_s=options.slice_s, sampling=sampling)
    # Here, so that Ctrl-C while llama.cpp is loaded ends like any other.
    from duplex_local.engine import Engine

    with Engine(EngineConfig(model=options.model, n_ctx=options.n_ctx, n_sessions=1)) as engine:
        info = engine.info
        print(f"{info.name} {info.quant} on {info.backend}. {info.description}".rstrip())
        print("Enter sends, also while the model speaks. Ctrl-C stops it, twice leaves.")
        _chat(engine, config)
    return 0


if __name__ == "__main__":
    sys.exit(main())

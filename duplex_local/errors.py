"""The errors a user can meet. Every message says what failed, why, and what to do.

    DuplexError
    + ConfigError         a setting is wrong: names it, its value and what is allowed
    + ModelFileError      a model file is missing, damaged or not one we can run
    + UserInputError      the user's words cannot be taken as they are
    + ProtocolError       a call that is not legal in this state: a bug in the caller
    + ContextFullError    no room left in the context
    + BusyError           every conversation the engine can hold is taken
    + BackendError        llama.cpp failed: names the function and its return code

The page, the terminal and the command lines catch `DuplexError` and nothing else. Anything
else is our own bug and keeps its traceback.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

__all__ = [
    "BackendError",
    "BusyError",
    "ConfigError",
    "ContextFullError",
    "DuplexError",
    "ModelFileError",
    "ProtocolError",
    "UserInputError",
    "exit_with_one_line",
]

P = ParamSpec("P")
_MAX_CHARS = 1000
_OURS = ("duplex_local", "convert", "ui", "train", "benchmarks")
_EXTRAS = {"torch": "train", "playwright": "dev"}  # packages that `make install` leaves out


class DuplexError(Exception):
    """Base of all errors whose text is shown to a user."""


class ConfigError(DuplexError):
    """A setting is unknown or out of range."""


class ModelFileError(DuplexError):
    """A checkpoint or GGUF file is missing, damaged or unsuitable."""


class UserInputError(DuplexError):
    """What the user sent cannot be used as it is; nothing was sent to the model."""


class ProtocolError(DuplexError):
    """A call was made in a state that does not allow it."""


class ContextFullError(DuplexError):
    """The ids asked for do not fit the context."""


class BusyError(DuplexError):
    """All sequences of the engine belong to open conversations."""


class BackendError(DuplexError):
    """A llama.cpp call failed."""


def _one_line(message: str) -> str:
    """`message` for a terminal: one line, no escape codes, not endless; names in a file may be
    anything."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    return line if len(line) <= _MAX_CHARS else line[:_MAX_CHARS] + " …"


def exit_with_one_line(main: Callable[P, int]) -> Callable[P, int]:
    """Wrap a command's `main`: a `DuplexError`, or a package that is not installed, becomes one
    line on stderr and exit code 1.

    With DUPLEX_RAISE_ERRORS set in the environment the traceback is shown instead.
    """

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except DuplexError as error:
            if os.environ.get("DUPLEX_RAISE_ERRORS"):
                raise
            print(f"error: {_one_line(str(error))}", file=sys.stderr)
            return 1
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] in _OURS:
                raise
            extra = _EXTRAS.get(error.name.split(".")[0])
            more = f" and `.venv/bin/python -m pip install -e '.[{extra}]'`" if extra else ""
            print(
                f"error: {sys.executable} has no package {error.name}. Run `make install`{more}, "
                "then the same command with .venv/bin/python.",
                file=sys.stderr,
            )
            return 1
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130

    return wrapped

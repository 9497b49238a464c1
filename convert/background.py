"""Work beside the main thread's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_background"]

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> Future[T]:
    """Do `work` in a thread; the future has its result or its error.

    The thread is a daemon, as those of concurrent.futures are not: who is interrupted does not
    wait for it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # It shares only the future, whose lock is its own.
    threading.Thread(target=run, name="in background", daemon=True).start()
    return future

"""python -m convert [CHECKPOINT]"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from duplex_local.errors import exit_with_one_line


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """`kill` must clean up like Ctrl-C does."""
    raise KeyboardInterrupt


@exit_with_one_line
def _main() -> int:
    from convert.cli import main  # here: what it needs may not be installed

    return main()


def _run() -> int:
    signal.signal(signal.SIGTERM, _stop)
    # Before numpy is loaded. BLAS threads wait for each other in a busy loop, which costs more
    # than they gain where the cores have other work: the forward pass of 8 layers in the real
    # shape took 12.7 s with two threads and 3.8 s with one.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")
    try:
        code = _main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell says of a process that SIGPIPE ended
    return code


if __name__ == "__main__":
    sys.exit(_run())

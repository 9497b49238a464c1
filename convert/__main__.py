"""python -m convert [CHECKPOINT]"""

from __future__ import annotations

import signal
import sys
from types import FrameType


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """`kill` must clean up like Ctrl-C does."""
    raise KeyboardInterrupt


def _run() -> int:
    signal.signal(signal.SIGTERM, _stop)
    try:
        from convert.cli import main
    except KeyboardInterrupt:  # `main` answers Ctrl-C once it is loaded
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(_run())

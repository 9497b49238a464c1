"""Reading what others wrote: whole files up to a size, JSON up to a size, values in messages.

A checkpoint comes from the internet. Whatever is in it may end in one line to the user, never
in a traceback or in memory that grows far beyond the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["MAX_DIMENSIONS", "MAX_JSON_BYTES", "brief", "natural", "parse_json", "read_whole"]

# A table of all tensors of a big model has 1 or 2 MB. Python needs up to 25 times as much.
MAX_JSON_BYTES = 8 * 1024 * 1024
MAX_DIMENSIONS = 8
_MAX_SHOWN = 80  # characters


def read_whole(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        ValueError: when it is longer than `max_bytes`, or something like a pipe or a device,
            which may never end.
        OSError: when it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    return data


def parse_json(data: bytes) -> Any:
    """JSON whose texts can all be written as UTF-8.

    Raises:
        ValueError: when it is damaged, nested too deeply, or has half a surrogate pair.
    """
    try:
        content = json.loads(data.decode("utf-8"))
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None
    return content


def natural(value: object) -> int:
    """`value`, which must be a count or an offset.

    Raises:
        ValueError: when it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{brief(value)} where a count was expected")
    return value


def brief(value: object) -> str:
    """`value` for a message: short, and never spelt out where that could take forever."""
    if isinstance(value, str):
        shown = repr(value[: _MAX_SHOWN + 1])
    elif value is None or isinstance(value, (bool, float)):
        shown = repr(value)
    elif isinstance(value, int):
        shown = (
            repr(value) if value.bit_length() < 256 else f"a number of {value.bit_length()} bits"
        )
    elif isinstance(value, dict):
        shown = "a table"
    elif isinstance(value, (list, tuple)):
        shown = "a list"
    else:
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= _MAX_SHOWN + 2 else shown[:_MAX_SHOWN] + "…"

"""How every benchmark hands over its result."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duplex_local.errors import ConfigError

__all__ = ["check_writable", "write_json", "write_text"]


def check_writable(option: str, target: str | Path | None) -> None:
    """Find out before a long run that the file `target` can be written; `-` is stdout.

    A file that is there keeps its content, and none is left. Pipes and devices are not tried.

    Raises:
        ConfigError: when it cannot be written; names `option`.
    """
    if target is None or target == "-":
        return
    path = Path(target)
    try:
        if path.is_file() or path.is_dir():
            path.open("ab").close()
        elif not path.exists():
            new = Path(os.path.realpath(path))  # of a link: where the file would be made
            new.open("xb").close()
            new.unlink()
    except OSError as error:
        raise _not_writable(option, target, error) from error


def write_json(result: Mapping[str, Any], target: str | None) -> None:
    """Write `result` to the file `target`; `-` prints it as the last line of stdout.

    Raises:
        ConfigError: when the file cannot be written.
    """
    if target is None:
        return
    if target == "-":
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        return
    write_text("--json", target, json.dumps(result, ensure_ascii=False, indent=1) + "\n")


def write_text(option: str, target: str | Path, text: str) -> None:
    """Write `text` to the file `target`.

    Raises:
        ConfigError: when it cannot be written; names `option`.
    """
    try:
        Path(target).write_text(text, "utf-8")
    except OSError as error:
        raise _not_writable(option, target, error) from error


def _not_writable(option: str, target: str | Path, error: OSError) -> ConfigError:
    return ConfigError(f"{option} {target} cannot be written ({error.strerror}).")

"""How every benchmark hands over its result."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duplex_local.errors import ConfigError

__all__ = ["write_json"]


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
    try:
        Path(target).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"--json {target} cannot be written ({error.strerror}).") from error

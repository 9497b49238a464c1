"""What is kept and shown of a verification: the JSON beside the file, the table on the terminal."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from convert import CONVERTER_VERSION

__all__ = ["ConvertedFile", "report_path", "table", "versions", "write_report"]

_PACKAGES = ("duplex-local", "llama-cpp-python", "gguf", "numpy")
_REVISION = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class ConvertedFile:
    """A file that was written and checked."""

    path: Path
    quant: str
    size_bytes: int
    sha256: str
    seconds: float
    verify: dict[str, Any]


def report_path(gguf: Path) -> Path:
    """Where the report of the file at `gguf` lies: `NAME-QUANT.json`."""
    return gguf.with_name(gguf.name.removesuffix(".gguf") + ".json")


def write_report(path: Path, source: str, commit: str | None, file: ConvertedFile) -> None:
    """Write the report of `file` to `path`.

    source: the checkpoint, a folder or a hub id. commit: of a hub id.
    """
    report = {
        "file": file.path.name,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
        "quant": file.quant,
        "source": source,
        "revision": commit or _revision(Path(source)),
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "verify": file.verify,
    }
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str | None]:
    """Of everything that the content of a file depends on; None when it is not installed."""
    found: dict[str, str | None] = {"converter": CONVERTER_VERSION}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _revision(directory: Path) -> str | None:
    """The hub's commit, where huggingface-hub left it: as the name of a cached snapshot's folder
    or beside the files of `hf download --local-dir`."""
    try:
        if directory.resolve().parent.name == "snapshots":
            name = directory.resolve().name
            return name if _REVISION.fullmatch(name) else None
        note = directory / ".cache/huggingface/download/config.json.metadata"
        with note.open(encoding="utf-8") as file:
            line = file.readline(80).strip()
    except (OSError, ValueError):
        return None
    return line if _REVISION.fullmatch(line) else None


def table(files: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Checks as plain text: a row for each check, a column for each file.

    files: the "checks" of a verification by column title.
    """
    names = list(dict.fromkeys(check["name"] for checks in files.values() for check in checks))
    rows = [["check", *files]]
    for name in names:
        found = [next((c for c in checks if c["name"] == name), None) for checks in files.values()]
        rows.append([name, *map(_cell, found)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return "not done"
    return str(check["figure"]) if check["ok"] else f"FAILED: {check['figure']}"

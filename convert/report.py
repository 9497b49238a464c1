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
from convert.checks import Check
from convert.digest import sha256_of

__all__ = [
    "ConvertedFile",
    "Seconds",
    "check_sha256",
    "report_path",
    "table",
    "versions",
    "write_report",
]

_PACKAGES = ("duplex-local", "llama-cpp-python", "gguf", "numpy")
_REVISION = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Seconds:
    """What a file took: to write, to prove, and all of it."""

    written: float
    proved: float
    total: float


@dataclass(frozen=True)
class ConvertedFile:
    """A file that was written and checked."""

    path: Path
    quant: str
    size_bytes: int
    sha256: str
    seconds: Seconds
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


def check_sha256(gguf: Path) -> Check:
    """Whether the file at `gguf` is still the one that its report was written for.

    Raises:
        OSError: when the file cannot be read.
    """
    path = report_path(gguf)
    if not path.is_file():
        return Check("sha256", f"not compared: there is no {path.name}")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Check("sha256", "-", f"{path.name} cannot be read: {str(error)[:80]}")
    expected = report.get("sha256") if isinstance(report, dict) else None
    if not isinstance(expected, str):
        return Check("sha256", f"none in {path.name}")
    size_bytes, expected_bytes = gguf.stat().st_size, report.get("size_bytes")
    if isinstance(expected_bytes, int) and size_bytes != expected_bytes:
        return Check(
            "sha256", "-", f"it has {size_bytes} bytes, not the {expected_bytes} of {path.name}"
        )
    found = sha256_of(gguf)
    why = f"it is {found[:12]}…, not {expected[:12]}… as in {path.name}: the file was changed"
    return Check("sha256", f"{found[:12]}…", "" if found == expected else why)


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

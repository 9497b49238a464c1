"""Checkpoints with random damage: read or refused in one line, never a crash.

A few seconds in the suite; longer by hand:

    FUZZ_MINUTES=10 python -m pytest tests/convert/test_fuzz.py
"""

from __future__ import annotations

import io
import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.gguf_file import write_gguf
from convert.pipeline import load_model
from duplex_local.errors import DuplexError
from tests.convert.tiny import write_tiny_checkpoint

MINUTES = float(os.environ.get("FUZZ_MINUTES", 0))
FORMS = ("bin", "safetensors")
FILES = {
    "bin": ("pytorch_model.bin", "config.json", "tokenizer.model", "added_tokens.json"),
    "safetensors": ("model.safetensors", "config.json", "tokenizer.model", "added_tokens.json"),
}
# Bytes that mean something to one of the formats: pickle opcodes, JSON, varints, zip headers.
TELLING = [
    b"\x80\x02", b".", b"c__builtin__\neval\n", b"R", b"\x85", b"(", b"t", b"}", b"u", b"0", b"2",
    b"]", b"[", b"{", b'"', b"-1", b"1e999", b"null", b"NaN", b"\xff" * 8, b"\x00" * 8,
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
]  # fmt: skip


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes, int]]:
    """(what, where as a share of the file, bytes, how many), to be applied in turn."""
    kinds = st.sampled_from(("replace", "insert", "delete", "cut", "repeat"))
    new = st.sampled_from(TELLING) | st.binary(min_size=1, max_size=12)
    one = st.tuples(kinds, st.floats(0, 1), new, st.integers(1, 200))
    return draw(st.lists(one, min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[str, float, bytes, int]]) -> bytes:
    for kind, where, new, n_bytes in changes:
        at = int(where * len(content))
        head, tail = content[:at], content[at:]
        content = {
            "replace": head + new + tail[len(new) :],
            "insert": head + new + tail,
            "delete": head + tail[n_bytes:],
            "cut": head,
            "repeat": head + tail[:n_bytes] + tail,
        }[kind]
    return content


def rezipped(archive: bytes, member: str, changes: list[tuple[str, float, bytes, int]]) -> bytes:
    """The archive with one member damaged and its checksum right again."""
    found = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(found, "w", zipfile.ZIP_STORED) as new,
    ):
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith(member):
                content = damaged(content, changes)
            new.writestr(info.filename, content)
    return found.getvalue()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    root = tmp_path_factory.mktemp("fuzz")
    whole = {form: root / form for form in FORMS}
    for form, folder in whole.items():
        write_tiny_checkpoint(folder, form=form)
    yield whole
    shutil.rmtree(root)


def read(folder: Path) -> str:
    """Everything up to the written file; how it ended."""
    out = folder / "out.gguf"
    try:
        write_gguf(out, load_model(folder, "fuzz", print), lambda _: None)
    except DuplexError as error:
        assert "\n" not in str(error), str(error)
        return "refused"
    finally:
        out.unlink(missing_ok=True)
    return "read"


def test_the_undamaged_checkpoints_are_read(checkpoints: dict[str, Path]) -> None:
    assert {read(folder) for folder in checkpoints.values()} == {"read"}


@settings(
    max_examples=1000 if MINUTES else 200,
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=not MINUTES,
)
@given(data=st.data())
def one_round(checkpoints: dict[str, Path], outcomes: Counter[str], data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMS), "form")
    name = data.draw(st.sampled_from(FILES[form]), "file")
    is_pickle = form == "bin" and name == FILES["bin"][0] and data.draw(st.booleans(), "pickle")
    changes = data.draw(damages(), "changes")
    path = checkpoints[form] / name
    whole = path.read_bytes()
    try:
        spoilt = rezipped(whole, "data.pkl", changes) if is_pickle else damaged(whole, changes)
        path.write_bytes(spoilt)
        outcomes[read(path.parent)] += 1
    finally:
        path.write_bytes(whole)


@pytest.mark.timeout(120 + 80 * MINUTES)
def test_random_damage_is_read_or_refused_in_one_line(checkpoints: dict[str, Path]) -> None:
    outcomes: Counter[str] = Counter()
    until_s = time.monotonic() + 60 * MINUTES
    while not outcomes or time.monotonic() < until_s:
        one_round(checkpoints, outcomes)
    print(dict(outcomes))
    assert outcomes["refused"] > outcomes["read"] > 0

"""Whatever a checkpoint from the internet holds: one line, exit code 1, little memory."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convert.cli import main
from tests.convert.test_refusals import hostile, refused, replace
from tests.convert.tiny import n_tiny_pieces, tiny_tokenizer_model, write_tiny_checkpoint

MB = 1_000_000
BOMB_BYTES = 64 * MB
Damage = Callable[[Path], None]


def config(**changes: Any) -> Damage:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))

    return change


def safetensors(header: bytes) -> Damage:
    def write(folder: Path) -> None:
        (folder / "pytorch_model.bin").unlink()
        content = struct.pack("<Q", len(header)) + header + bytes(4)
        (folder / "model.safetensors").write_bytes(content)

    return write


def shape(text: str, end: int = 4) -> Damage:
    entry = f'{{"a": {{"dtype": "F32", "shape": {text}, "data_offsets": [0, {end}]}}}}'
    return safetensors(entry.encode())


def compressed(name: str, content: bytes | None = None, spoil: bool = False) -> Damage:
    """Compress one member of the archive; its content may be replaced, its bytes spoilt."""

    def rewrite(folder: Path) -> None:
        path = folder / "pytorch_model.bin"
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for member, data in members.items():
                hit = member.endswith(name)
                kind = zipfile.ZIP_DEFLATED if hit else zipfile.ZIP_STORED
                archive.writestr(member, content if hit and content else data, kind)
        if spoil:
            raw = bytearray(path.read_bytes())
            start = raw.find(name.encode()) + len(name)
            raw[start : start + 40] = b"\xff" * 40
            path.write_bytes(raw)

    return rewrite


def pieces(*extra: bytes, old: bytes = b"", new: bytes = b"") -> Damage:
    """tokenizer.model with more pieces at its end, or some of its bytes exchanged."""
    tail = b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in extra)

    def write(folder: Path) -> None:
        model = tiny_tokenizer_model()
        assert old in model
        (folder / "tokenizer.model").write_bytes(model.replace(old, new, 1) + tail)

    return write


def devilish_link(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")


def pair_of_pairs(end: bytes) -> bytes:
    """A tuple that holds the one before twice, 60 times over: 2**60 leaves in 600 bytes."""
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
    return b"\x80\x02})" + steps + end


MEMO_BOMB = b"\x80\x02]r" + struct.pack("<I", 30 * MB) + b"."
BYTEARRAY_BOMB = b"\x80\x05\x96" + struct.pack("<Q", 10**9) + b"."
DEEP_KEY = b"\x80\x02})" + b"\x85" * (2 * MB) + b"K\x01s."
VIEW_WITH_A_STATE = (
    b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n("
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    b"K\x00K\x01\x85K\x01\x85tR}X\x05\x00\x00\x00shapeK\x01sbs."
)

CASES: dict[str, tuple[Damage, str]] = {
    "factor of 400 digits": (config(scale_emb=10**400), "scale_emb"),
    "factor too small for float32": (config(scale_depth=1e-300), "scale_depth"),
    "factor true": (config(scale_emb=True), "has True for scale_emb"),
    "context of 2**33": (config(max_position_embeddings=2**33), "max_position_embeddings"),
    "rope_theta of 1e300": (config(rope_theta=1e300), "rope_theta"),
    "a million layers": (config(num_hidden_layers=MB), "from 1 to 512"),
    "lone surrogate": (config(description="\ud800"), "half a character"),
    "architecture of lists": (config(architectures=[[["x"]]]), "only MiniCPM"),
    "deep config": (replace("config.json", b"[" * 200_000), "nested too deeply"),
    "huge config": (replace("config.json", b" " * 9 * MB), "larger than"),
    "config without end": (devilish_link, "not a file"),
    "deep safetensors": (safetensors(b"[" * 200_000), "nested too deeply"),
    "huge safetensors header": (safetensors(b" " * 9 * MB), "far too large"),
    "infinite shape": (shape("[Infinity]"), "describes a wrongly"),
    "fractional shape": (shape("[1.5]"), "describes a wrongly"),
    "many dimensions": (shape(f"[{'1,' * 99_999}1]"), "describes a wrongly"),
    "infinite id": (replace("added_tokens.json", b'{"<idle>": Infinity}'), "added tokens"),
    "negative id": (replace("added_tokens.json", b'{"<idle>": -9999}'), "added tokens"),
    "empty added token": (
        lambda d: replace("added_tokens.json", b'{"": %d}' % n_tiny_pieces())(d),
        "added tokens",
    ),
    "corrupt deflated pickle": (compressed("data.pkl", spoil=True), "compressed"),
    "bomb in byteorder": (compressed("byteorder", bytes(BOMB_BYTES)), "compressed"),
    "bomb in the pickle": (compressed("data.pkl", bytes(BOMB_BYTES)), "compressed"),
    "huge pickle": (hostile(b"]" * 5 * MB), "far too large"),
    "memo bomb": (hostile(MEMO_BOMB), "damaged"),
    "bytearray bomb": (hostile(BYTEARRAY_BOMB), "instruction 150"),
    "2**60 leaves as key": (hostile(pair_of_pairs(b"K\x01s.")), "no text"),
    "2**60 leaves as reference": (hostile(pair_of_pairs(b"Q.")), "damaged"),
    "key nested two million times": (hostile(DEEP_KEY), "no text"),
    "state on a tensor": (hostile(VIEW_WITH_A_STATE), "has none"),
    "empty pickle": (hostile(b""), "ends too soon"),
    "piece without text": (pieces(b"\x18\x01"), "no sentencepiece model"),
    "number as text": (pieces(b"\x08\x05"), "no sentencepiece model"),
    "text that is no UTF-8": (pieces(b"\x0a\x01\xff"), "no sentencepiece model"),
    "score that is no number": (pieces(b"\x0a\x01z\x15\0\0\xc0\x7f"), "no sentencepiece model"),
    "endless number": (replace("tokenizer.model", b"\x80" * MB), "no sentencepiece model"),
    "bad byte piece": (pieces(old=b"<0x41>", new=b"<0xZZ>"), "byte fallback"),
    "second unknown piece": (
        lambda d: (
            pieces(b"\x0a\x01\x7f\x18\x02")(d),
            config(vocab_size=n_tiny_pieces() + 2)(d),
            replace("added_tokens.json", b'{"<idle>": %d}' % (n_tiny_pieces() + 1))(d),
        )[0],
        "sentencepiece cannot use",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_hostile_checkpoints(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if case == "config without end" and os.name != "posix":
        pytest.skip("needs /dev/zero")
    damage, expected = CASES[case]
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    damage(checkpoint)
    tracemalloc.start()
    try:
        line = refused(capsys, checkpoint, tmp_path / "out")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert expected in line
    assert len(line) < 1000
    # "key nested …" builds two million real tuples, as many as the size limit lets it.
    assert peak_bytes < (250 * MB if case.startswith("key nested") else 50 * MB)


def test_folder_whose_name_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    assert main([str(checkpoint), "--name", "\udcff", "--out", str(tmp_path / "out")]) == 1
    assert "--name" in capsys.readouterr().err

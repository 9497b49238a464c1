"""`--verify` passes what is good and names what is wrong: files, metadata, vocabulary.

The broken files are made from good ones by the gguf package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from convert.cli import main
from tests.convert.rewrite import rewrite
from tests.convert.tiny import write_tiny_checkpoint
from tests.convert.verifying import QUANTS, WIDE, Files, complaint

pytestmark = pytest.mark.usefixtures("one_child")


@pytest.mark.parametrize("quant", QUANTS)
def test_good_files_pass(quant: str, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, paths = files
    assert main(["--verify", str(paths[quant])]) == 0
    alone = capsys.readouterr().out
    assert "FAILED" not in alone and "--against" in alone
    options = ["--verify", str(paths[quant]), "--against", str(checkpoint), "--json", "-"]
    assert main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["check", f"wide-{quant}.gguf"]
    result = json.loads(lines[-1])
    assert result["verify"]["ok"] and result["path"] == str(paths[quant])
    assert [line.split("  ")[0] for line in lines[1:-1]] == [
        check["name"] for check in result["verify"]["checks"]
    ]


def test_report_beside_the_file(files: Files) -> None:
    checkpoint, paths = files
    for quant, path in paths.items():
        report = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert report["size_bytes"] == path.stat().st_size
        assert (report["source"], report["quant"]) == (str(checkpoint), quant)
        assert {"duplex-local", "llama-cpp-python", "gguf", "numpy"} <= set(report["versions"])
        assert report["verify"]["ok"]
        assert all(check["figure"] for check in report["verify"]["checks"])


def test_the_revision_of_a_download_is_kept(tmp_path: Path) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    snapshot = write_tiny_checkpoint(tmp_path / "snapshots" / commit)
    local = write_tiny_checkpoint(tmp_path / "local")
    note = local / ".cache/huggingface/download/config.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"{commit}\nabc\n1.0\n")
    for folder in (snapshot, local):
        options = ["--out", str(tmp_path), "--name", "x", "--quant", "Q8_0"]
        assert main([str(folder), *options]) == 0
        assert json.loads((tmp_path / "x-Q8_0.json").read_text())["revision"] == commit


# -- metadata and vocabulary --------------------------------------------------------------------

SCALES = ("minicpm.embedding_scale", "minicpm.residual_scale", "minicpm.logit_scale")
METADATA_CASES: dict[str, tuple[dict[str, Any], str]] = {
    **{f"no {key}": ({key: None}, rf"metadata: {key} is missing") for key in SCALES},
    **{f"wrong {key}": ({key: 1.5}, rf"metadata: {key} is 1.5, not ") for key in SCALES},
    "prefix space": (
        {"tokenizer.ggml.add_space_prefix": True},
        "tokenizer.ggml.add_space_prefix is true, not false",
    ),
    "no word on prefix spaces": (
        {"tokenizer.ggml.add_space_prefix": None},
        "tokenizer.ggml.add_space_prefix is missing (false expected)",
    ),
    "rope": ({"minicpm.rope.freq_base": 500.0}, "minicpm.rope.freq_base is 500, not 10000"),
    "end of text": ({"tokenizer.ggml.eos_token_id": 1}, "tokenizer.ggml.eos_token_id is 1, not 2"),
}


@pytest.mark.parametrize("case", METADATA_CASES)
def test_metadata(
    case: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    changes, expected = METADATA_CASES[case]
    broken = rewrite(paths["Q8_0"], tmp_path / "broken.gguf", changes)
    table, line = complaint(capsys, broken, checkpoint)
    assert "metadata       FAILED" in table
    assert expected in line


def test_json_of_a_bad_file(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = rewrite(files[1]["Q8_0"], tmp_path / "broken.gguf", {SCALES[2]: 1.5})
    capsys.readouterr()
    assert main(["--verify", str(broken), "--against", str(files[0]), "--json", "-"]) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["verify"]
    bad = {check["name"]: check["why"] for check in result["checks"] if not check["ok"]}
    assert not result["ok"] and "minicpm.logit_scale is 1.5" in bad["metadata"]
    assert "logits" in bad, "the logits see it by themselves"


@pytest.mark.parametrize("case", [key for key in METADATA_CASES if key.startswith("no ")])
def test_missing_metadata_without_the_checkpoint(
    case: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, _ = METADATA_CASES[case]
    broken = rewrite(files[1]["Q8_0"], tmp_path / "broken.gguf", changes)
    assert f"{next(iter(changes))} is missing" in complaint(capsys, broken)[1]


def test_the_inverse_logit_scale_without_the_checkpoint(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What llama.cpp takes for a file of 2304 that says nothing."""
    changes = {"minicpm.logit_scale": 256 / 2304}
    broken = rewrite(files[1]["Q8_0"], tmp_path / "broken.gguf", changes)
    assert "minicpm.logit_scale is 0.111111, which no MiniCPM has" in complaint(capsys, broken)[1]


def test_user_defined_pieces_as_normal(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    key = "tokenizer.ggml.token_type"
    types = gguf.GGUFReader(paths["Q8_0"]).get_field(key).contents()
    kinds = {4: 1}
    n_changed = types[:-2].count(4)
    changed = [kinds.get(kind, kind) for kind in types[:-2]] + types[-2:]
    broken = rewrite(paths["Q8_0"], tmp_path / "broken.gguf", {key: changed})
    table, line = complaint(capsys, broken, checkpoint)
    assert (
        f"the type of {n_changed} tokens, the first '\\n' (id 3): NORMAL, not USER_DEFINED" in line
    )
    assert "tokenization   FAILED" in table
    alone = complaint(capsys, broken)[1]
    assert "are NORMAL without a score: USER_DEFINED pieces" in alone


def test_another_vocabulary(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    key = "tokenizer.ggml.tokens"
    texts = gguf.GGUFReader(paths["Q8_0"]).get_field(key).contents()
    texts[300], texts[301] = texts[301], texts[300]
    broken = rewrite(paths["Q8_0"], tmp_path / "broken.gguf", {key: texts})
    assert "the text of 2 tokens" in complaint(capsys, broken, checkpoint)[1]


# -- files and checkpoints ----------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 3, 20, 5000, -100_000, -1])
def test_truncated(
    keep: int, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(files[1]["Q4_K_M"].read_bytes()[:keep])
    for against in (files[0], None):
        out, line = complaint(capsys, broken, against)
        assert out == ""
        assert ("truncated" if keep not in (0, 3) else "does not begin with GGUF") in line


def test_unreadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.gguf").write_text("GGUF, but no more than a text that goes on and on")
    (tmp_path / "zeros.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(1000))
    assert "its version is" in complaint(capsys, tmp_path / "text.gguf")[1]
    assert "general.architecture is None" in complaint(capsys, tmp_path / "zeros.gguf")[1]
    assert "There is no file" in complaint(capsys, tmp_path / "none.gguf")[1]
    assert "There is no file" in complaint(capsys, tmp_path)[1]


def test_every_damaged_header_is_one_line(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes of the header changed at random: read wrongly or refused, but never a traceback."""
    from convert.written_file import read_gguf
    from duplex_local.errors import ModelFileError

    good = files[1]["Q8_0"].read_bytes()
    rng = np.random.default_rng(0)
    broken = tmp_path / "broken.gguf"
    n_refused = 0
    for _ in range(200):
        data = bytearray(good)
        for at in rng.integers(0, 2000, 3):
            data[at] = rng.integers(256)
        broken.write_bytes(data)
        try:
            read_gguf(broken)
        except ModelFileError:
            n_refused += 1
    assert n_refused > 50


def test_another_checkpoint(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_tiny_checkpoint(tmp_path / "other", seed=1, **WIDE)  # type: ignore[arg-type]
    line = complaint(capsys, files[1]["Q4_K_M"], other)[1]
    assert "it is not the checkpoint this file was made from" in line
    small = write_tiny_checkpoint(tmp_path / "small")
    assert (
        "minicpm.embedding_length is 256, not 64" in complaint(capsys, files[1]["Q4_K_M"], small)[1]
    )


def test_no_checkpoint(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verify", str(files[1]["Q8_0"]), "--against", str(tmp_path / "none")]) == 1
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["folder", "--verify", "x.gguf"], ["folder", "--against", "folder"]]
)
def test_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1

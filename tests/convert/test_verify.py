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
from convert.report import report_path
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


# -- the file as it was written -----------------------------------------------------------------


def copy_of(source: Path, folder: Path) -> Path:
    """Of a file and its report."""
    for path in (source, report_path(source)):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / source.name


def test_sha256(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy_of(files[1]["Q4_K_M"], tmp_path)
    assert main(["--verify", str(path)]) == 0
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert capsys.readouterr().out.splitlines()[1].split() == ["sha256", f"{digest[:12]}…"]
    report_path(path).unlink()
    assert main(["--verify", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["sha256", "no", "report"]
    report_path(path).write_text("[]")
    assert main(["--verify", str(path)]) == 0
    assert "none in wide-Q4_K_M.json\n" in capsys.readouterr().out


def test_a_changed_file(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, paths = files
    path = copy_of(paths["Q4_K_M"], tmp_path)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    for against in (None, checkpoint):
        table, line = complaint(capsys, path, against)
        assert table.splitlines()[1].split()[:2] == ["sha256", "FAILED:"]
        assert "failed verification. sha256: it is " in line and "the file was changed" in line
    path.write_bytes(bytes(data) + b"more")
    assert (
        f"sha256: it has {len(data) + 4} bytes, not the {len(data)}" in complaint(capsys, path)[1]
    )


def test_an_unreadable_report(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy_of(files[1]["Q8_0"], tmp_path)
    report_path(path).write_bytes(b'{"sha256": "\xff')
    assert "sha256: wide-Q8_0.json cannot be read" in complaint(capsys, path)[1]


@pytest.mark.parametrize("quant", QUANTS)
def test_a_zeroed_tail(
    quant: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no report and no checkpoint."""
    data = files[1][quant].read_bytes()
    n_kept = int(0.7 * len(data))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(data[:n_kept] + bytes(len(data) - n_kept))
    table, line = complaint(capsys, broken)
    assert "FAILED: not usable\n" in table
    assert "is 0 everywhere" in line
    line = complaint(capsys, broken, files[0])[1]
    assert " zero" in line and "is 1 times" not in line and "0 of " not in line


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


def test_scores_that_are_no_numbers(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "tokenizer.ggml.scores"
    scores = gguf.GGUFReader(files[1]["Q8_0"]).get_field(key).contents()
    scores[300], scores[301] = float("nan"), float("-inf")
    broken = rewrite(files[1]["Q8_0"], tmp_path / "broken.gguf", {key: scores})
    line = complaint(capsys, broken)[1]
    assert "vocabulary: the scores of 2 tokens" in line and "(id 300), are not finite" in line


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

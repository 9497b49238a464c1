"""`--verify` passes what is good and names what is wrong: files, metadata, vocabulary.

The broken files are made from good ones by the gguf package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from convert.cli import main
from convert.report import report_path
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
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == [
        "sha256",
        *f"not compared: there is no {report_path(path).name}".split(),
    ]
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

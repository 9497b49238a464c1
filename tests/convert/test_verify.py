"""`--verify` passes what is good and names what is wrong.

The broken files are made from good ones by the gguf package, and the good ones are of a checkpoint
whose widths are multiples of 256, so that Q4_K_M really is Q4_K.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from convert.cli import main
from convert.llama_process import LlamaProcess
from tests.convert.rewrite import Tensors, rewrite
from tests.convert.tiny import tiny_config, write_tiny_checkpoint

WIDE = {"hidden": 256, "feed_forward": 512, "n_heads": 4, "n_kv_heads": 2}
QUANTS = ("BF16", "Q8_0", "Q4_K_M")
Files = tuple[Path, dict[str, Path]]


@pytest.fixture(scope="module", autouse=True)
def one_child() -> Iterator[None]:
    """One llama.cpp for all files: a child takes longer to start than to do its work here."""
    with LlamaProcess() as llama, pytest.MonkeyPatch.context() as patch:
        patch.setattr("convert.verify_command.LlamaProcess", lambda: nullcontext(llama))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The checkpoint and its good files by quantization."""
    folder = tmp_path_factory.mktemp("verify")
    checkpoint = write_tiny_checkpoint(folder / "wide", **WIDE)  # type: ignore[arg-type]
    assert main([str(checkpoint), "--out", str(folder), "--quant", *QUANTS]) == 0
    return checkpoint, {quant: folder / f"wide-{quant}.gguf" for quant in QUANTS}


def complaint(
    capsys: pytest.CaptureFixture[str], path: Path, against: Path | None = None
) -> tuple[str, str]:
    """The table and the one line with which `--verify` fails; no file is touched."""
    capsys.readouterr()
    before = path.read_bytes() if path.is_file() else b""
    options = [] if against is None else ["--against", str(against)]
    assert main(["--verify", str(path), *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ")
    assert str(path) in captured.err
    assert (path.read_bytes() if path.is_file() else b"") == before
    return captured.out, captured.err


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


# -- tensors ------------------------------------------------------------------------------------


def unpermuted(tensors: Tensors) -> None:
    """Rows in the checkpoint's order: rows are quantized one by one, so they can be moved."""
    for name, n_heads in (("blk.1.attn_q.weight", 4), ("blk.1.attn_k.weight", 2)):
        rows = tensors[name]
        pairs = rows.reshape(n_heads, rows.shape[0] // n_heads // 2, 2, -1)
        tensors[name] = pairs.swapaxes(1, 2).reshape(rows.shape)


def swapped(tensors: Tensors) -> None:
    gate, up = "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"
    tensors[gate], tensors[up] = tensors[up], tensors[gate]


def upside_down(tensors: Tensors) -> None:
    tensors["blk.1.attn_output.weight"] = tensors["blk.1.attn_output.weight"][::-1]


def one_row(tensors: Tensors) -> None:
    embedding = tensors["token_embd.weight"]
    embedding[-2] = embedding[5]  # `<idle>` is the last but one


def swapped_norms(tensors: Tensors) -> None:
    one, other = "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"
    tensors[one], tensors[other] = tensors[other], tensors[one]


TENSOR_CASES: dict[str, tuple[Callable[[Tensors], None], tuple[str, ...]]] = {
    "q and k": (
        unpermuted,
        ("blk.1.attn_q.weight has its rows in", "q/k not permuted", "blk.1.attn_k.weight"),
    ),
    "gate and up": (
        swapped,
        (
            "blk.0.ffn_gate.weight holds what belongs into blk.0.ffn_up.weight",
            "blk.0.ffn_up.weight holds what belongs into blk.0.ffn_gate.weight",
        ),
    ),
    "flipped": (upside_down, ("blk.1.attn_output.weight has its rows in reverse order",)),
    "one row": (
        one_row,
        ("token_embd.weight has other rows than model.embed_tokens.weight: 1 of 462, row 460",),
    ),
    "norms": (swapped_norms, ("blk.0.attn_norm.weight holds what belongs into blk.0.ffn_norm",)),
}


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("case", TENSOR_CASES)
def test_tensors(
    case: str, quant: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    change, expected = TENSOR_CASES[case]
    broken = rewrite(paths[quant], tmp_path / "broken.gguf", tensors=change)
    table, line = complaint(capsys, broken, checkpoint)
    assert "values         FAILED" in table
    assert all(part in line for part in expected)


def as_bf16(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], None]:
    """A change of the values of one BF16 matrix."""

    def tensors(data: Tensors) -> None:
        bf16 = gguf.GGMLQuantizationType.BF16
        values = gguf.quants.dequantize(data["blk.0.attn_output.weight"], bf16)
        data["blk.0.attn_output.weight"] = gguf.quants.quantize(change(values), bf16)

    return tensors


VALUE_CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "sign": (lambda x: -x, "has the opposite sign"),
    "transposed": (lambda x: x.T, "is transposed"),
    "columns": (lambda x: x[:, ::-1], "has its columns in reverse order"),
    "factor": (lambda x: x / 2, "is 0.5 times model.layers.0.self_attn.o_proj.weight"),
    "noise": (lambda x: np.roll(x, 7), "differs from model.layers.0.self_attn.o_proj.weight by"),
    "last bit": (lambda x: np.where(x == x.max(), x * 1.01, x), "has other rows than"),
}


@pytest.mark.parametrize("case", VALUE_CASES)
def test_values(
    case: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    change, expected = VALUE_CASES[case]
    broken = rewrite(paths["BF16"], tmp_path / "broken.gguf", tensors=as_bf16(change))
    assert f"blk.0.attn_output.weight {expected}" in complaint(capsys, broken, checkpoint)[1]


@pytest.mark.parametrize("quant", QUANTS)
def test_nan(quant: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, paths = files

    def change(tensors: Tensors) -> None:
        # BF16: a value; the others: the scale factor of a block, in float16.
        nan = b"\xc0\x7f" if quant == "BF16" else b"\x00\x7e"
        tensors["blk.1.ffn_up.weight"][7, :2] = np.frombuffer(nan, np.uint8)

    broken = rewrite(paths[quant], tmp_path / "broken.gguf", tensors=change)
    for against in (checkpoint, None):
        line = complaint(capsys, broken, against)[1]
        assert "blk.1.ffn_up.weight holds NaN or infinity" in line


TABLE_CASES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda t: t.pop("blk.0.ffn_up.weight"), "blk.0.ffn_up.weight is missing"),
    "too many": (
        lambda t: t.update({"blk.9.ffn_up.weight": t["blk.0.ffn_up.weight"]}),
        "blk.9.ffn_up.weight does not belong there",
    ),
    "shape": (
        lambda t: t.update({"blk.0.ffn_up.weight": t["blk.0.ffn_up.weight"][:-1]}),
        "blk.0.ffn_up.weight has shape [511, 256], not [512, 256]",
    ),
}


@pytest.mark.parametrize("case", TABLE_CASES)
def test_tensor_table(
    case: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    change, expected = TABLE_CASES[case]
    broken = rewrite(paths["Q8_0"], tmp_path / "b.gguf", tensors=change)
    for against in (checkpoint, None):
        assert expected in complaint(capsys, broken, against)[1]


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
    assert "are not there" in complaint(capsys, tmp_path / "zeros.gguf")[1]
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
    "options", [[], ["folder", "--verify", "x.gguf"], ["folder", "--against", "folder"]]
)
def test_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


# -- a converter that writes something wrong ----------------------------------------------------


def test_a_bad_file_never_gets_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    monkeypatch.setattr("convert.gguf_file.interleave_rotary_rows", lambda rows, heads: rows)
    assert main([str(checkpoint), "--out", str(tmp_path / "out"), "--quant", "Q8_0"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "q/k not permuted" in line and "was removed" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("quant", QUANTS)
def test_the_logits_see_what_the_tensors_hide(
    quant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same mistake in the writer and in the check of tensors: only the forward pass knows."""
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", **WIDE)  # type: ignore[arg-type]
    for module in ("gguf_file", "tensor_checks"):
        monkeypatch.setattr(f"convert.{module}.interleave_rotary_rows", lambda rows, heads: rows)
    assert main([str(checkpoint), "--out", str(tmp_path / "out"), "--quant", quant]) == 1
    assert "failed verification. logits: they are" in capsys.readouterr().err


def test_config_of_the_wide_checkpoint_is_wide() -> None:
    """Widths that are no multiples of 256 would silently test other storage types."""
    assert tiny_config()["hidden_size"] % 256 and not WIDE["hidden"] % 256

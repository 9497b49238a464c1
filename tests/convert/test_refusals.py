"""What cannot be converted is refused in one line, and nothing is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.cli import main
from tests.convert.tiny import n_tiny_pieces, write_json, write_tiny_checkpoint, write_torch_archive


def refused(
    capsys: pytest.CaptureFixture[str], checkpoint: Path | str, out: Path, *options: str
) -> str:
    """The one line with which the command fails."""
    assert main([str(checkpoint), "--out", str(out), *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("error: ")
    assert not out.exists()
    return captured.err


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def hostile(opcodes: bytes) -> Callable[[Path], None]:
    return lambda folder: write_torch_archive(folder / "pytorch_model.bin", opcodes, [])


def replace(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def duplicate_token(folder: Path) -> None:
    write_json(folder / "added_tokens.json", {"<idle>": n_tiny_pieces(), "AI": n_tiny_pieces() + 1})


OS_SYSTEM = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00exit\x85R."
EVAL = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93X\x01\x00\x00\x001\x85R."
SET_ON_ALLOWED = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__call__K\x01s\x86b."
)

FILE_CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated bin": (lambda d: truncate(d / "pytorch_model.bin"), "truncated"),
    "empty bin": (replace("pytorch_model.bin", b""), "not a PyTorch archive"),
    "lfs pointer": (
        replace("pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer",
    ),
    "os.system": (hostile(OS_SYSTEM), "posix.system"),
    "eval": (hostile(EVAL), "builtins.eval"),
    "state on an allowed name": (hostile(SET_ON_ALLOWED), "damaged"),
    "no weights": (lambda d: (d / "pytorch_model.bin").unlink(), "no weights"),
    "no config": (lambda d: (d / "config.json").unlink(), "There is no"),
    "broken config": (replace("config.json", b"{"), "Cannot read"),
    "no tokenizer": (lambda d: (d / "tokenizer.model").unlink(), "tokenizer.model"),
    "truncated tokenizer": (lambda d: truncate(d / "tokenizer.model"), "truncated"),
    "no added tokens": (lambda d: (d / "added_tokens.json").unlink(), "vocab_size"),
    "duplicate token": (duplicate_token, "twice"),
    "odd added tokens": (replace("added_tokens.json", b'{"<idle>": "x"}'), "added tokens"),
}


@pytest.mark.parametrize("case", FILE_CASES)
def test_damaged_files(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, expected = FILE_CASES[case]
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    damage(checkpoint)
    assert expected in refused(capsys, checkpoint, tmp_path / "out")


CHECKPOINT_CASES: dict[str, tuple[dict[str, object], str]] = {
    "llama": ({"config": {"architectures": ["LlamaForCausalLM"]}}, "LlamaForCausalLM"),
    "long rope": ({"config": {"rope_scaling": {"type": "longrope"}}}, "rope_scaling"),
    "no scale": ({"config": {"scale_emb": None}}, "lacks scale_emb"),
    "bad head count": ({"config": {"num_attention_heads": 3}}, "num_attention_heads"),
    "vocab_size": ({"config": {"vocab_size": 99}}, "vocab_size 99"),
    "no idle token": ({"added": ["<s0>"]}, "no token <idle>"),
    "missing tensor": (
        {"weights": {"model.layers.1.mlp.up_proj.weight": None}},
        "lacks the tensor model.layers.1.mlp.up_proj.weight",
    ),
    "wrong shape": (
        {"weights": {"model.norm.weight": np.ones(63, np.float32)}},
        "has shape [63], but config.json asks for [64]",
    ),
    "adapter": ({"weights": {"lora_A.weight": np.ones(2, np.float32)}}, "lora_A.weight"),
    "untied without output": (
        {"config": {"tie_word_embeddings": False}, "weights": {"lm_head.weight": None}},
        "lacks the tensor lm_head.weight",
    ),
}


@pytest.mark.parametrize("case", CHECKPOINT_CASES)
def test_wrong_checkpoints(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, expected = CHECKPOINT_CASES[case]
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", **changes)  # type: ignore[arg-type]
    assert expected in refused(capsys, checkpoint, tmp_path / "out")


# Copied as it is, turned for the rotation, written as F32; each read in its own way.
@pytest.mark.parametrize("tensor", ["mlp.up_proj", "self_attn.q_proj", "input_layernorm"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_weight_that_is_no_number(
    value: float, dtype: str, tensor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"model.layers.1.{tensor}.weight"
    shape = {"mlp.up_proj": (96, 64), "self_attn.q_proj": (64, 64), "input_layernorm": (64,)}
    values = np.ones(shape[tensor], np.float32)
    values.flat[-1] = value
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", dtype=dtype, weights={name: values})
    line = refused(capsys, checkpoint, tmp_path / "out", "--quant", "Q8_0")
    assert f"{name} in " in line and "holds NaN or infinity" in line


def test_a_weight_that_bf16_rounds_to_infinity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.full((96, 64), np.finfo(np.float32).max)
    weights = {"model.layers.0.mlp.up_proj.weight": values}
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", dtype="F32", weights=weights)
    assert "infinity" in refused(capsys, checkpoint, tmp_path / "out", "--quant", "Q8_0")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_safetensors(
    keep: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", form="safetensors")
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert "truncated" in refused(capsys, checkpoint, tmp_path / "out")


def test_missing_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", n_shards=2)
    (checkpoint / "pytorch_model-00002-of-00002.bin").unlink()
    assert "lacks pytorch_model-00002" in refused(capsys, checkpoint, tmp_path / "out")


def test_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no folder" in refused(capsys, tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("options", [["--quant", "Q4_X"], ["--quant"], ["--nonsense"]])
def test_wrong_usage(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *options])
    captured = capsys.readouterr()
    assert stopped.value.code == 2
    assert captured.err.count("\n") == 1
    assert "Q4_X" not in options or "Q4_K_M" in captured.err


CONVERTING = (["--revision", "x"], ["-q", "Q8_0"], ["--out", "models"], ["--name", ""])
CONVERTING += (["--keep-bf16"],)
IGNORED = [["--verify", "x.gguf", *options] for options in CONVERTING]
IGNORED += [["--list", *options] for options in CONVERTING]
IGNORED += [["--list", "--json", "-"], ["--list", "--verify", "x.gguf"]]
IGNORED += [["--list", "folder", "--against", "x"], ["folder", "--against", "x"]]
IGNORED += [["folder", "--verify", "x.gguf"], ["owner/name", "--revision", ""]]


@pytest.mark.parametrize("arguments", IGNORED, ids=" ".join)
def test_what_would_be_ignored_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    assert stopped.value.code == 2
    assert captured.out == "" and captured.err.count("\n") == 1


@pytest.mark.parametrize("target", ["", "folder", "nowhere/result.json"])
def test_json_that_cannot_be_written_is_found_first(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    line = refused(capsys, tmp_path / "no checkpoint", tmp_path / "out", "--json", target)
    assert "Cannot write" in line and "--json" in line
    assert main(["--verify", "none.gguf", "--json", target]) == 1
    assert "--json" in capsys.readouterr().err


def test_json_of_a_failed_conversion_stays_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json"):
        refused(capsys, tmp_path / "none", tmp_path / "out", "--json", str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


def test_json_may_lie_in_the_folder_that_is_made(tmp_path: Path) -> None:
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "a" / "out"
    for target in (out / "result.json", tmp_path / "a" / "result.json"):
        options = ["--quant", "BF16", "--json", str(target)]
        assert main([str(checkpoint), "--out", str(out), *options]) == 0
        assert target.exists()
        shutil.rmtree(tmp_path / "a")


def test_out_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    (tmp_path / "file").touch()
    assert "Cannot write to" in refused(capsys, checkpoint, tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["tiny-Q8_0.gguf", "tiny-Q8_0.json", "tiny-bf16.gguf"])
def test_a_folder_in_the_place_of_a_result(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "out"
    (out / name).mkdir(parents=True)
    options = ["--quant", "BF16", "Q8_0", "--keep-bf16", "--out", str(out)]
    assert main([str(checkpoint), *options]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"{name} is a folder" in line
    assert [path.name for path in out.iterdir()] == [name]


def test_name_with_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    for name in ("../up", ""):
        assert "--name" in refused(capsys, checkpoint, tmp_path / "out", "--name", name)

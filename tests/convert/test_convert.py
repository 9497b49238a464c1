"""What a conversion writes, on tiny checkpoints of our own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece

from convert.cli import main
from convert.llama_process import LlamaProcess
from convert.pipeline import Request, convert, load_model
from convert.quants import known_quants
from convert.space import remove_abandoned, staging_folder
from convert.tensor import as_f32
from convert.verify import Verifier
from duplex_local.errors import BackendError, ModelFileError
from tests.convert.llama import open_model
from tests.convert.reference import reference_logits
from tests.convert.tiny import (
    ADDED,
    encoded,
    n_tiny_pieces,
    tiny_tokenizer_model,
    tiny_weights,
    write_json,
    write_tiny_checkpoint,
)


def run(checkpoint: Path, out: Path, *options: str) -> dict[str, Any]:
    """Convert and return the JSON result."""
    target = out.parent / f"{out.name}.json"
    assert main([str(checkpoint), "--out", str(out), "--json", str(target), *options]) == 0
    result: dict[str, Any] = json.loads(target.read_text())
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_heads": 2, "n_kv_heads": 1},
        {"n_heads": 1},
        {"tied": False},
        {"config": {"rope_theta": 500.0, "scale_depth": 0.9, "dim_model_base": 32}},
        {"dtype": "F16"},
        {"dtype": "F32", "form": "safetensors", "n_shards": 2},
    ],
    ids=["plain", "grouped-kv", "head-64", "untied", "scales", "f16", "f32-sharded"],
)
def test_llama_cpp_computes_what_the_checkpoint_means(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", **changes)
    run(checkpoint, tmp_path / "out", "--quant", "F32")
    config = json.loads((checkpoint / "config.json").read_text())
    weights = {
        name: stored(value, changes.get("dtype", "BF16"))
        for name, value in tiny_weights(config, changes.get("tied", True)).items()
    }
    ids = [1, 300, 262, 17, 263, n_tiny_pieces(), 299, 2, 400, 301, 77]
    with open_model(tmp_path / "out" / "tiny-F32.gguf") as model:
        found = model.logits(ids)
    expected = reference_logits(config, weights, ids)
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 values as they are after the file (matrices in BF16) has been written."""
    kind = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}[dtype]
    values = as_f32(np.frombuffer(encoded(values, dtype), kind), dtype).reshape(values.shape)
    if values.ndim == 1:
        return values
    return as_f32(np.frombuffer(encoded(values, "BF16"), "<u2"), "BF16").reshape(values.shape)


def test_bf16_weights_are_copied_bit_for_bit(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    run(checkpoint, tmp_path / "out", "--quant", "bf16")
    config = json.loads((checkpoint / "config.json").read_text())
    weights = tiny_weights(config, tied=True)
    path = tmp_path / "out" / "tiny-BF16.gguf"
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    embedding = tensors["token_embd.weight"].data.tobytes()
    assert embedding == encoded(weights["model.embed_tokens.weight"], "BF16")
    assert "output.weight" not in tensors
    norm = tensors["output_norm.weight"]
    assert norm.tensor_type == gguf.GGMLQuantizationType.F32


def test_every_form_of_one_checkpoint_gives_one_file(tmp_path: Path) -> None:
    forms = [("bin", 1), ("bin", 3), ("safetensors", 1), ("safetensors", 3)]
    contents = set()
    for i, (form, n_shards) in enumerate(forms):
        folder = write_tiny_checkpoint(tmp_path / str(i), form=form, n_shards=n_shards)
        run(folder, tmp_path / f"out{i}", "--quant", "BF16", "--name", "same")
        contents.add((tmp_path / f"out{i}" / "same-BF16.gguf").read_bytes())
    assert len(contents) == 1


def test_tokenizer_agrees_with_sentencepiece(tmp_path: Path) -> None:
    run(write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "out", "--quant", "Q8_0")
    pieces = sentencepiece.SentencePieceProcessor(model_proto=tiny_tokenizer_model())
    texts = ["<用户>stop,<AI>|yes|", "a  b\n\n今天... 。。。", " 12:30 😀", "[<AI>]"]
    with open_model(tmp_path / "out" / "tiny-Q8_0.gguf", vocab_only=True) as model:
        assert [model.tokenize(text) for text in texts] == [pieces.encode(text) for text in texts]
        assert model.tokenize(ADDED[0]) == [n_tiny_pieces()]


def test_metadata(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", config={"description": "a test"})
    run(checkpoint, tmp_path / "out", "--quant", "Q8_0", "--name", "shown")
    with open_model(tmp_path / "out" / "shown-Q8_0.gguf", vocab_only=True) as model:
        expected = {
            "general.name": "shown",
            "general.description": "a test",
            "general.file_type": "7",
            "general.quantization_version": "2",
            "duplex_local.converter": "convert 0.1.0",
            "minicpm.embedding_scale": "12.000000",
            "minicpm.logit_scale": "4.000000",
            "tokenizer.ggml.add_space_prefix": "false",
        }
        assert {key: model.metadata(key) for key in expected} == expected


def test_added_tokens_may_come_from_tokenizer_config(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    (checkpoint / "added_tokens.json").unlink()
    known = {"0": "<unk>", "1": "<s>", "2": "</s>"}
    known |= {str(n_tiny_pieces() + i): text for i, text in enumerate(ADDED)}
    decoder = {token: {"content": text} for token, text in known.items()}
    write_json(checkpoint / "tokenizer_config.json", {"added_tokens_decoder": decoder})
    result = run(checkpoint, tmp_path / "out", "--quant", "Q8_0")
    assert result["verify"]["files"]["tiny-Q8_0.gguf"]["special_ids"]["idle"] == n_tiny_pieces()


def test_result_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "deep" / "out"
    options = ["--quant", "q8_0", "Q4_0", "--keep-bf16", "--json", "-"]
    assert main([str(checkpoint), "--out", str(out), *options]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    result = json.loads(lines[-1])
    assert captured.err == ""
    assert sorted(path.name for path in out.iterdir()) == [
        "tiny-Q4_0.gguf",
        "tiny-Q4_0.json",
        "tiny-Q8_0.gguf",
        "tiny-Q8_0.json",
        "tiny-bf16.gguf",
        "tiny-bf16.json",
    ]
    assert lines[-2] == f'Run it: make run ARGS="--model {out / "tiny-Q8_0.gguf"}"'
    assert {"source", "files", "seconds", "peak_rss_bytes", "verify"} <= set(result)
    assert [file["quant"] for file in result["files"]] == ["Q8_0", "Q4_0", "BF16"]
    contents = [Path(file["path"]).read_bytes() for file in result["files"]]
    assert [len(content) for content in contents] == [f["size_bytes"] for f in result["files"]]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    assert digests == [file["sha256"] for file in result["files"]]


class Interrupting:
    """A reporter that presses Ctrl-C at the first progress of the bar named `label`."""

    def __init__(self, label: str) -> None:
        self.label = label

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        def press(n: int) -> None:
            if label == self.label:
                raise KeyboardInterrupt

        yield press

    def note(self, line: str) -> None:
        raise AssertionError(line)

    def wrote(self, file: object) -> None:
        raise AssertionError("nothing can be finished")


class Silent:
    """A reporter that says nothing."""

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        yield lambda n: None

    def note(self, line: str) -> None:
        pass

    def wrote(self, file: object) -> None:
        pass


@pytest.mark.parametrize("label", ["converting", "to Q8_0"])
def test_ctrl_c_leaves_nothing(label: str, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    with pytest.raises(KeyboardInterrupt):
        convert(Request(str(checkpoint), ["Q8_0"], tmp_path / "a" / "b"), Interrupting(label))
    assert not (tmp_path / "a").exists()


def test_a_crash_while_publishing_leaves_no_report_of_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "out"
    run(checkpoint, out, "--quant", "Q8_0")
    replace, moved = os.replace, []

    def crash_at_the_report(source: Path, target: Path) -> None:
        if target.suffix == ".json":
            raise KeyboardInterrupt
        moved.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash_at_the_report)
    with pytest.raises(KeyboardInterrupt):
        convert(Request(str(checkpoint), ["Q8_0"], out), Silent())
    assert moved == [path.name for path in out.iterdir()] == ["tiny-Q8_0.gguf"]


KILLED_IN_THE_MIDDLE = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from convert.pipeline import Request, convert

class Waiting:
    note = print

    @contextmanager
    def bar(self, label, total, unit):
        def wait(n):
            print("writing", flush=True)
            time.sleep(600)
        yield wait

convert(Request(sys.argv[1], ["Q8_0"], Path(sys.argv[2])), Waiting())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL, no flock")
def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path: Path) -> None:
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "out"
    command = [sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(checkpoint), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"writing\n"
        remove_abandoned(out)
        [staging] = out.iterdir()  # it lives: its lock is held
        child.kill()
    assert (staging / "bf16.gguf").exists()
    (out / ".convert-link").symlink_to(checkpoint)  # not ours
    run(checkpoint, out, "--quant", "Q8_0")
    left = sorted(path.name for path in out.iterdir())
    assert left == [".convert-link", "tiny-Q8_0.gguf", "tiny-Q8_0.json"]
    assert not (checkpoint / "lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_two_conversions_into_one_folder_leave_each_other_alone(tmp_path: Path) -> None:
    checkpoint, out = write_tiny_checkpoint(tmp_path / "tiny"), tmp_path / "out"
    with staging_folder(out) as other:
        run(checkpoint, out, "--quant", "Q8_0")
        assert other.is_dir()
    assert sorted(path.name for path in out.iterdir()) == ["tiny-Q8_0.gguf", "tiny-Q8_0.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_folder_that_is_removed_before_its_lock_is_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, []

    def taken_at_once(**arguments: Any) -> str:
        made.append(make(**arguments))
        if len(made) == 1:
            remove_abandoned(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken_at_once)
    with staging_folder(tmp_path) as staging:
        assert [str(staging)] == made[1:] and staging.is_dir()


def test_ctrl_c_ends_the_child_in_the_middle_of_its_job(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    run(checkpoint, tmp_path / "out", "--quant", "BF16")
    arguments = (str(tmp_path / "out" / "tiny-BF16.gguf"), str(tmp_path / "x.gguf"), 7, {})

    def press(_name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LlamaProcess() as llama:
        llama.ask("quantize", *arguments, progress=press)
    assert llama._child.returncode is not None


def test_the_bar_of_a_quantization_counts_every_byte_once(tmp_path: Path) -> None:
    counted: dict[str, list[int]] = {}
    totals = {}

    class Counting(Silent):
        @contextmanager
        def bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
            totals[label] = total
            yield counted.setdefault(label, []).append

    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    convert(Request(str(checkpoint), ["Q8_0"], tmp_path / "out"), Counting())
    assert {label: sum(steps) for label, steps in counted.items()} == totals
    assert len([n for n in counted["to Q8_0"] if n]) == 20  # one step for each tensor


def test_failures_of_llama_cpp_are_named(tmp_path: Path) -> None:
    (tmp_path / "not.gguf").write_bytes(b"GGUF but no more")
    with LlamaProcess() as llama:
        with pytest.raises(BackendError, match=r"failed to inspect: .*not\.gguf"):
            llama.ask("inspect", str(tmp_path / "not.gguf"), ["a"], [])
        llama._errors.seek(0)
        assert llama._errors.read() == b"", "an exception in a callback is only printed"
        llama._child.kill()
        with pytest.raises(BackendError, match="ended with code"):
            llama.ask("inspect", str(tmp_path / "not.gguf"), ["a"], [])


def test_quant_numbers_are_the_librarys() -> None:
    from llama_cpp import llama_cpp as lib

    for name, ftype in known_quants().items():
        prefix = "LLAMA_FTYPE_ALL_" if name == "F32" else "LLAMA_FTYPE_MOSTLY_"
        assert getattr(lib, prefix + name) == ftype


def test_verification_sees_a_file_of_another_checkpoint(tmp_path: Path) -> None:
    """The scales are nowhere but in the metadata; the tensors of both files have one shape."""
    made = write_tiny_checkpoint(tmp_path / "made")
    run(made, tmp_path / "out", "--quant", "Q8_0")
    other = write_tiny_checkpoint(tmp_path / "other", config={"dim_model_base": 64})
    with LlamaProcess() as llama:
        verifier = Verifier(other, load_model(other, "other", print))
        with pytest.raises(ModelFileError, match=r"minicpm\.logit_scale is 4, not 1"):
            verifier.check(tmp_path / "out" / "made-Q8_0.gguf", llama)

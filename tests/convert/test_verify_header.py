"""`--verify` names what is wrong in a file's metadata and vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from convert.cli import main
from tests.convert.rewrite import rewrite
from tests.convert.verifying import Files, complaint

pytestmark = pytest.mark.usefixtures("one_child")

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
    "scaled positions": (
        {"minicpm.rope.scaling.type": "linear", "minicpm.rope.scaling.factor": 4.0},
        "minicpm.rope.scaling.type is linear, and should not be there; minicpm.rope.scaling.factor",
    ),
    "a list": (
        {"tokenizer.ggml.suppress_tokens": [5, 6, 7]},
        "tokenizer.ggml.suppress_tokens is a ndarray, and should not be there",
    ),
    "one more end of text": (
        {"tokenizer.ggml.eot_token_id": 300},
        "tokenizer.ggml.eot_token_id is 300, and should not be there",
    ),
    "another pre-tokenizer": (
        {"tokenizer.ggml.pre": "llama-bpe"},
        "tokenizer.ggml.pre is llama-bpe, and should not be there",
    ),
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


def test_keys_that_change_nothing(files: Files, tmp_path: Path) -> None:
    changes = {
        "tokenizer.chat_template": "{{ x }}",
        "general.author": "me",
        "tokenizer.ggml.pre": None,
    }
    good = rewrite(files[1]["Q8_0"], tmp_path / "good.gguf", changes)
    for options in ([], ["--against", str(files[0])]):
        assert main(["--verify", str(good), *options]) == 0


def test_a_key_too_many_without_the_checkpoint(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"minicpm.rope.scaling.factor": 4.0}
    broken = rewrite(files[1]["Q8_0"], tmp_path / "broken.gguf", changes)
    assert "minicpm.rope.scaling.factor is 4, and should not" in complaint(capsys, broken)[1]


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

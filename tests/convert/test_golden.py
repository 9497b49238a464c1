"""The converter against the reference implementation's own ids and logits.

The data is not part of the repository; without it these tests are skipped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors

from convert.cli import main
from convert.torch_file import read_torch_file
from tests.convert.llama import LlamaModel, open_model
from tests.convert.tiny import write_bf16_safetensors

GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"
CHECKPOINT = GOLDEN / "tiny-checkpoint"

pytestmark = pytest.mark.skipif(
    not CHECKPOINT.is_dir(), reason="the reference data (../shared/golden) is not here"
)


@pytest.fixture(scope="module")
def gguf_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("golden")
    assert main([str(CHECKPOINT), "--quant", "F32", "--out", str(out), "--name", "golden"]) == 0
    return out / "golden-F32.gguf"


def test_logits_equal_the_reference(gguf_path: Path) -> None:
    """Values, not only the order: a wrong logit_scale keeps every argmax."""
    golden = np.load(GOLDEN / "tiny-logits.npz")
    with open_model(gguf_path) as model:
        logits = model.logits(golden["ids"].tolist())
    difference = np.abs(logits[:, golden["vocab_sample"]] - golden["logits"]).max()
    assert difference <= 1e-5
    assert (logits.argmax(-1) == golden["argmax"]).all()


def test_texts_and_histories_have_the_reference_ids(gguf_path: Path) -> None:
    golden = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
    with open_model(gguf_path, vocab_only=True) as model:
        texts = [
            entry["text"] for entry in golden["texts"] if _ids(model, entry["text"]) != entry["ids"]
        ]
        histories = [
            entry["pairs"]
            for entry in golden["histories"]
            if _ids(model, _prompt(entry["pairs"])) != entry["ids"]
        ]
    assert texts == []
    assert histories == []


def _prompt(pairs: list[list[str]]) -> str:
    return "<s>" + "".join(f"<用户>{user}<AI>{reply}</s>" for user, reply in pairs)


def _ids(model: LlamaModel, text: str) -> list[int]:
    """No piece crosses a hard token; between two of them the text is one string."""
    hard = {"<s>": 1, "</s>": 2, "<idle>": 122753}
    ids: list[int] = []
    for part in re.split("(<s>|</s>|<idle>)", text):
        ids += [hard[part]] if part in hard else model.tokenize(part)
    return ids


def test_a_safetensors_copy_gives_the_same_file(gguf_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in CHECKPOINT.iterdir():
        if file.suffix != ".bin":
            (copy / file.name).write_bytes(file.read_bytes())
    tensors = read_torch_file(CHECKPOINT / "pytorch_model.bin")
    data = {name: (t.shape, t.read().tobytes()) for name, t in tensors.items()}
    write_bf16_safetensors(copy / "model.safetensors", data)
    with safetensors.safe_open(copy / "model.safetensors", "np") as opened:
        assert set(opened.keys()) == set(tensors)  # the package takes it for one of its own
    assert main([str(copy), "--quant", "F32", "--out", str(tmp_path), "--name", "golden"]) == 0
    assert (tmp_path / "golden-F32.gguf").read_bytes() == gguf_path.read_bytes()

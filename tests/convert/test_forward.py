"""The forward pass that files are verified with, against the tests' own and the reference's."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.duplex_prompt import duplex_prompt
from convert.forward import checkpoint_logits
from convert.gguf_file import write_gguf
from convert.pipeline import load_model
from convert.tensor import Array
from convert.tensor_checks import check_values
from convert.written_file import read_gguf
from tests.convert.reference import reference_logits
from tests.convert.test_convert import stored
from tests.convert.tiny import ADDED, n_tiny_pieces, tiny_tokenizer_model, tiny_weights
from tests.convert.tiny import write_tiny_checkpoint as write

IDS = [1, 300, 262, 17, 263, n_tiny_pieces(), 299, 2, 400, 301, 77]
GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"


def logits(checkpoint: Path, ids: list[int]) -> Array:
    model = load_model(checkpoint, "x", print)
    sources = {tensor.source.name: tensor.source for tensor in model.tensors}
    return checkpoint_logits(model.hparams, sources, ids)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_heads": 2, "n_kv_heads": 1},
        {"tied": False},
        {"config": {"rope_theta": 500.0, "scale_depth": 0.9, "dim_model_base": 32}},
        {"config": {"rope_theta": 10000.0, "scale_emb": 3}},
        {"dtype": "F16", "form": "safetensors"},
        {"dtype": "F32", "n_shards": 2},
    ],
    ids=["plain", "grouped-kv", "untied", "scales", "rope-theta", "f16", "f32-sharded"],
)
def test_it_is_the_tests_reference(tmp_path: Path, changes: dict[str, Any]) -> None:
    checkpoint = write(tmp_path / "tiny", **changes)
    config = json.loads((checkpoint / "config.json").read_text())
    dtype = changes.get("dtype", "BF16")
    weights = tiny_weights(config, changes.get("tied", True))
    if dtype == "BF16":
        weights = {name: stored(value, dtype) for name, value in weights.items()}
    elif dtype == "F16":
        weights = {name: value.astype(np.float16) for name, value in weights.items()}
    expected = reference_logits(config, weights, IDS)
    assert np.abs(logits(checkpoint, IDS) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference data (../shared/golden) is not here")
def test_it_is_the_reference_model() -> None:
    golden = np.load(GOLDEN / "tiny-logits.npz")
    found = logits(GOLDEN / "tiny-checkpoint", golden["ids"].tolist())
    assert np.abs(found[:, golden["vocab_sample"]] - golden["logits"]).max() <= 1e-5


def test_memory_is_that_of_a_block_not_of_a_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a block of 4,096 values the pass needs far less than its largest matrix."""
    checkpoint = write(tmp_path / "tiny", hidden=512, feed_forward=1024, n_heads=8, dtype="F32")
    monkeypatch.setattr("convert.forward.BLOCK_VALUES", 4096)
    model = load_model(checkpoint, "x", print)
    sources = {tensor.source.name: tensor.source for tensor in model.tensors}
    tracemalloc.start()
    try:
        checkpoint_logits(model.hparams, sources, IDS)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    largest_bytes = 512 * 1024 * 4
    assert peak_bytes < largest_bytes / 5


def test_the_tensors_are_compared_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vocabulary far larger than a block; the other matrices are small beside it."""
    checkpoint = write(
        tmp_path / "tiny", tied=False, added=[ADDED[0], *map(str, range(10**6, 10**6 + 20_000))]
    )
    model = load_model(checkpoint, "x", print)
    write_gguf(tmp_path / "x.gguf", model, lambda n: None)
    file = read_gguf(tmp_path / "x.gguf")
    for name in ("BLOCK_VALUES", "COPY_VALUES"):
        monkeypatch.setattr(f"convert.tensor_checks.{name}", 4096)
    tracemalloc.start()
    try:
        check = check_values(file, model.tensors, lambda n: None)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert check.ok
    assert peak_bytes < model.hparams.vocab_size * 64 * 4 / 5


def test_the_prompt_is_a_duplex_conversation(tmp_path: Path) -> None:
    """48 ids, as the protocol's own code makes them, with a choice after every `<AI>`."""
    import sentencepiece

    from duplex_local.events import ReplyEnd
    from duplex_local.protocol import SlicePair, pair_ids

    pieces = sentencepiece.SentencePieceProcessor(model_proto=tiny_tokenizer_model())
    vocabulary = load_model(write(tmp_path / "tiny"), "x", print).vocabulary
    prompt = duplex_prompt(vocabulary, pieces.encode, 1000)

    class Codec:
        bos, eos, idle, added = 1, 2, n_tiny_pieces(), ()

        def encode(self, text: str) -> list[int]:
            ids: list[int] = pieces.encode(text)
            return ids

    pairs = [
        SlicePair(0, "what time", "", ReplyEnd.IDLE),
        SlicePair(1, "is it?", "it is ten", ReplyEnd.BUDGET),
        SlicePair(2, None, "past...", ReplyEnd.BUDGET),
        SlicePair(3, "你好", "", ReplyEnd.IDLE),
        SlicePair(4, None, "今天", ReplyEnd.BUDGET),
    ]
    expected = [1, *(token for pair in pairs for token in pair_ids(Codec(), pair))]
    assert prompt.ids == expected[:48] and len(prompt.ids) == 48
    assert prompt.ids[prompt.decisions[0] + 1] == prompt.idle
    end = [pieces.encode("<AI>")[-1]]
    assert [prompt.ids[at] for at in prompt.decisions] == end * len(prompt.decisions)
    assert len(duplex_prompt(vocabulary, pieces.encode, 20).ids) == 20

"""What llama.cpp would run wrong, or abort the process on, is refused before it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from duplex_local.backend import Chunk
from duplex_local.config import EngineConfig, SamplingConfig
from duplex_local.errors import ContextFullError, ModelFileError, ProtocolError
from duplex_local.llama_backend import LlamaBackend, load_vocab
from duplex_local.tokenizer import Tokenizer

Change = Callable[[str, object], object]  # key, value -> another value, or None to leave it out


def rewrite(source: Path, target: Path, change: Change, arch: str = "minicpm") -> Path:
    """A copy of a GGUF with other metadata."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, arch)
    for key, field in reader.fields.items():
        value = change(key, field.contents())
        if key.startswith("GGUF.") or key == "general.architecture" or value is None:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key.replace("minicpm.", f"{arch}."), value, kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def without(name: str) -> Change:
    return lambda key, value: None if key == name else value


def instead(name: str, other: object) -> Change:
    return lambda key, value: other if key == name else value


def lose_types(key: str, value: object) -> object:
    """What llama.cpp's own converter does to user-defined pieces."""
    if key == "tokenizer.ggml.token_type":
        assert isinstance(value, list)
        added = len(value) - 2
        return [1 if kind == 4 and token < added else kind for token, kind in enumerate(value)]
    return value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("minicpm.logit_scale"), "lacks minicpm.logit_scale"),
        (without("minicpm.embedding_scale"), "lacks minicpm.embedding_scale"),
        (without("tokenizer.ggml.add_space_prefix"), "another converter"),
        (instead("tokenizer.ggml.add_space_prefix", True), "another converter"),
        (lose_types, "lost the types of 3 vocabulary pieces"),
    ],
)
def test_a_gguf_of_another_converter_is_refused(
    tiny_gguf: Path, tmp_path: Path, change: Change, says: str
) -> None:
    wrong = rewrite(tiny_gguf, tmp_path / "wrong.gguf", change)
    with pytest.raises(ModelFileError, match=says) as caught:
        LlamaBackend(EngineConfig(model=wrong, n_ctx=256, n_sessions=1))
    assert "python -m convert" in str(caught.value)


def test_an_unchanged_copy_is_not_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    copy = rewrite(tiny_gguf, tmp_path / "copy.gguf", lambda key, value: value)
    Tokenizer(load_vocab(copy))


def test_another_architecture_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    llama = rewrite(tiny_gguf, tmp_path / "l.gguf", lambda key, value: value, arch="llama")
    with pytest.raises(ModelFileError, match="architecture 'llama', not MiniCPM"):
        LlamaBackend(EngineConfig(model=llama, n_ctx=256, n_sessions=1))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all", None])
def test_a_damaged_file_is_one_sentence(
    tiny_gguf: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:100_000] if content is None else content)
    with pytest.raises(ModelFileError, match=r"damaged\.gguf could not be loaded"):
        LlamaBackend(EngineConfig(model=path))


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"not found: .*make run.*make convert"):
        LlamaBackend(EngineConfig(model=tmp_path / "none.gguf"))


@pytest.fixture(scope="module")
def backend(tiny_gguf: Path) -> Iterator[LlamaBackend]:
    backend = LlamaBackend(EngineConfig(model=tiny_gguf, n_ctx=256, n_sessions=2, n_threads=1))
    yield backend
    backend.close()


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [Chunk(0, 0, [])],
        [Chunk(0, 0, [5] * 65)],
        [Chunk(2, 0, [5])],
        [Chunk(-1, 0, [5])],
        [Chunk(0, 1, [5])],
        [Chunk(0, 0, [-1])],
        [Chunk(0, 0, [10**6])],
    ],
)
def test_a_batch_that_would_abort_the_process_is_refused(
    backend: LlamaBackend, chunks: list[Chunk]
) -> None:
    with pytest.raises(ProtocolError):
        backend.eval(chunks)
    assert backend.n_past(0) == 0


def test_a_full_context_is_an_error_of_ours(backend: LlamaBackend) -> None:
    for start in range(0, 256, 64):
        backend.eval([Chunk(1, start, [5] * 64)])
    with pytest.raises(ContextFullError, match="256"):
        backend.eval([Chunk(1, 256, [5])])
    backend.truncate(1, 0)
    with pytest.raises(ProtocolError):
        backend.truncate(2, 0)


def test_the_sampler_follows_its_settings(backend: LlamaBackend) -> None:
    [row] = backend.eval([Chunk(0, 0, [5, 6, 7])])
    logits = backend.logits(row)
    idle = Tokenizer(backend.vocab).idle
    greedy = backend.sampler(SamplingConfig(temperature=0.0), idle)
    assert greedy.sample(row) == logits.argmax()
    eager = backend.sampler(SamplingConfig(temperature=0.0, talkativeness=-20.0), idle)
    assert eager.sample(row) == idle
    narrow = backend.sampler(SamplingConfig(temperature=0.01, top_p=0.01, seed=1), idle)
    assert {narrow.sample(row) for _ in range(20)} == {logits.argmax()}
    wide = backend.sampler(SamplingConfig(temperature=5.0, top_p=1.0, seed=1), idle)
    assert len({wide.sample(row) for _ in range(20)}) > 10
    for sampler in (greedy, eager, narrow, wide):
        sampler.close()
        sampler.close()
    backend.truncate(0, 0)

"""Writes a checkpoint of the real shape with random weights: what a download of 5.5 GB would be.

config.json, tokenizer.model, added_tokens.json and model.safetensors, in the form and size of
MiniCPM-duplex. The weights are normally distributed with the spread of a trained layer, from one
pool of random values, each tensor starting at its own place in it: writing runs at the speed of
the disk, in little memory.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece

from duplex_local.errors import ConfigError

__all__ = ["REAL", "Shape", "write_random_checkpoint"]

POOL_VALUES = 1 << 23  # 16 MiB in bfloat16
ADDED = ("<idle>", "<s0>", "<s1>", "<s2>", "<s3>", "<s4>", "<s5>")
TOKENIZER_FILES = ("tokenizer.model", "added_tokens.json")
_RESERVED_SHARE = 124  # one piece in so many is USER_DEFINED, as in MiniCPM's vocabulary
_NORMAL, _USER_DEFINED = 1, 4
_CHUNK_VALUES = 1 << 22


@dataclass(frozen=True)
class Shape:
    """What decides sizes. `n_pieces` are those of tokenizer.model; the added tokens follow."""

    n_layers: int
    hidden_size: int
    feed_forward_size: int
    n_heads: int
    n_pieces: int

    @property
    def vocab_size(self) -> int:
        return self.n_pieces + len(ADDED)

    def config(self) -> dict[str, Any]:
        """config.json with MiniCPM-duplex's scale factors."""
        return {
            "architectures": ["MiniCPMForCausalLM"],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.feed_forward_size,
            "max_position_embeddings": 4096,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_heads,
            "rms_norm_eps": 1e-5,
            "torch_dtype": "bfloat16",
            "vocab_size": self.vocab_size,
            "scale_emb": 12,
            "dim_model_base": 256,
            "scale_depth": 1.4,
            "tie_word_embeddings": True,
            "description": "Random weights in the shape of MiniCPM-duplex: for measuring only.",
        }

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name, shape) in the order of a checkpoint."""
        hidden, wide = self.hidden_size, self.feed_forward_size
        yield "model.embed_tokens.weight", (self.vocab_size, hidden)
        for i in range(self.n_layers):
            for name, shape in (
                ("self_attn.q_proj", (hidden, hidden)),
                ("self_attn.k_proj", (hidden, hidden)),
                ("self_attn.v_proj", (hidden, hidden)),
                ("self_attn.o_proj", (hidden, hidden)),
                ("mlp.gate_proj", (wide, hidden)),
                ("mlp.up_proj", (wide, hidden)),
                ("mlp.down_proj", (hidden, wide)),
                ("input_layernorm", (hidden,)),
                ("post_attention_layernorm", (hidden,)),
            ):
                yield f"model.layers.{i}.{name}.weight", shape
        yield "model.norm.weight", (hidden,)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors in bfloat16."""
        return sum(2 * math.prod(shape) for _, shape in self.tensors())


REAL = Shape(
    n_layers=40, hidden_size=2304, feed_forward_size=5760, n_heads=36, n_pieces=122_753
)  # fmt: skip


def write_random_checkpoint(
    directory: Path, shape: Shape, tokenizer: Path | None, advance: Callable[[int], object]
) -> None:
    """Write the checkpoint into `directory`, which must exist.

    tokenizer: folder with the real tokenizer.model; None makes a synthetic one of the same size.
    advance: called with each number of bytes of weights written.

    Raises:
        ConfigError: when `tokenizer` is not there.
        OSError: when `directory` cannot be written.
    """
    if tokenizer is None:
        (directory / "tokenizer.model").write_bytes(synthetic_tokenizer(shape.n_pieces))
        added = {text: shape.n_pieces + i for i, text in enumerate(ADDED)}
        _write_json(directory / "added_tokens.json", added)
    else:
        _copy_tokenizer(tokenizer, directory)
    _write_json(directory / "config.json", shape.config())
    _write_weights(directory / "model.safetensors", shape, advance)


def _copy_tokenizer(source: Path, directory: Path) -> None:
    for name in TOKENIZER_FILES:
        try:
            shutil.copyfile(source / name, directory / name)
        except FileNotFoundError:
            raise ConfigError(
                f"There is no {source / name}. Give the folder of MiniCPM-duplex's tokenizer, or "
                "leave --tokenizer out for a synthetic one."
            ) from None


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def synthetic_tokenizer(n_pieces: int) -> bytes:
    """A sentencepiece BPE model with MiniCPM's settings: some trained pieces, the rest made up."""
    base = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["<用户>hello there, how are you?<AI>I am fine."] * 8),
        model_writer=base,
        model_type="bpe",
        vocab_size=300,
        hard_vocab_limit=False,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    model = base.getvalue()
    n_base = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    # Pieces are a repeated field, so those appended to the file follow those in it.
    return model + b"".join(_piece(i) for i in range(n_base, n_pieces))


def _piece(token: int) -> bytes:
    """One SentencePiece message as field 1 of the model."""
    if token % _RESERVED_SHARE == 0:
        text, kind = f"<reserved_{token}>".encode(), _USER_DEFINED
    else:  # two Chinese characters, another pair for each id
        text, kind = (chr(0x4E00 + token // 400) + chr(0x6E00 + token % 400)).encode(), _NORMAL
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -float(token))
    body += b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


def _write_weights(path: Path, shape: Shape, advance: Callable[[int], object]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, dimensions in shape.tensors():
        start, end = end, end + 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pools = _Pools()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, (_, dimensions) in enumerate(shape.tensors()):
            for values in pools.values(dimensions, number):
                advance(file.write(values.tobytes()))


class _Pools:
    """Random bfloat16 values, one pool for each spread."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._normal = self._rng.standard_normal(POOL_VALUES, dtype=np.float32)
        self._pools: dict[int, npt.NDArray[np.uint16]] = {}

    def values(self, shape: tuple[int, ...], number: int) -> Iterator[npt.NDArray[np.uint16]]:
        """The bit patterns of tensor `number`, in pieces."""
        if len(shape) == 1:  # a norm's weights lie near one
            yield _bf16(1 + 0.1 * self._normal[: shape[0]])
            return
        columns = shape[1]
        if columns not in self._pools:
            self._pools[columns] = _bf16(self._normal * np.float32(columns**-0.5))
        pool, start = self._pools[columns], number * 1_000_003 % POOL_VALUES
        left = math.prod(shape)
        while left:
            piece = pool[start : start + min(left, _CHUNK_VALUES)]
            yield piece
            left -= len(piece)
            start = (start + len(piece)) % POOL_VALUES


def _bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Rounded to nearest; no value here is so large that rounding could overflow."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded: npt.NDArray[np.uint16] = ((bits + 0x8000) >> 16).astype(np.uint16)
    return rounded

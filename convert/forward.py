"""MiniCPM's forward pass in numpy, from the checkpoint's own tensors: what the logits must be.

It knows nothing of GGUF or llama.cpp: tensor names, row order and scale factors are those of the
original model code. Weights are read in blocks of rows and are float32 only for one product, so
memory does not grow with the model (a 2.4 B checkpoint needs tens of megabytes).

Shapes: n = number of ids, h = hidden size, d = head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from convert.hyperparameters import Hyperparameters
from convert.tensor import Array, StoredTensor, as_f32
from convert.tensor_map import EMBEDDING, OUTPUT

__all__ = ["checkpoint_logits"]

# Values of a matrix held at once, stored and in float32: few enough for a processor's cache
# (docs/log.md, "A cheaper proof").
BLOCK_VALUES = 512 * 1024


def checkpoint_logits(
    hparams: Hyperparameters, tensors: Mapping[str, StoredTensor], ids: Sequence[int]
) -> Array:
    """Logits after each of `ids`: (n, vocab_size), float32.

    tensors: by checkpoint name; without an output matrix the embedding is used.

    Raises:
        ModelFileError: when a weight file cannot be read.
    """
    hidden = np.stack([_row(tensors[EMBEDDING], token) for token in ids])  # (n, h)
    hidden *= np.float32(hparams.scale_emb)
    cos, sin = _rotation(hparams, len(ids))
    residual = np.float32(hparams.scale_depth / hparams.n_layers**0.5)
    # A broken checkpoint may overflow: its logits are then not finite, which is looked at later.
    with np.errstate(all="ignore"):
        for i in range(hparams.n_layers):
            layer = _Layer(hparams, tensors, f"model.layers.{i}.")
            hidden = hidden + residual * layer.attention(hidden, cos, sin)
            hidden = hidden + residual * layer.feed_forward(hidden)
        hidden = _rms_norm(hidden, tensors["model.norm.weight"], hparams.rms_norm_eps)
        hidden /= np.float32(hparams.hidden_size / hparams.dim_model_base)
        return _product(hidden, tensors.get(OUTPUT, tensors[EMBEDDING]))


class _Layer:
    """One decoder layer; its matrices are read when they are needed."""

    def __init__(
        self, hparams: Hyperparameters, tensors: Mapping[str, StoredTensor], prefix: str
    ) -> None:
        self._hparams = hparams
        self._tensors = tensors
        self._prefix = prefix

    def _weight(self, name: str) -> StoredTensor:
        return self._tensors[f"{self._prefix}{name}.weight"]

    def _norm(self, name: str, x: Array) -> Array:
        return _rms_norm(x, self._weight(name), self._hparams.rms_norm_eps)

    def attention(self, hidden: Array, cos: Array, sin: Array) -> Array:
        normed = self._norm("input_layernorm", hidden)
        n, d = len(hidden), self._hparams.head_dim

        def heads(name: str, count: int) -> Array:  # (count, n, d)
            projected = _product(normed, self._weight(f"self_attn.{name}"))
            split: Array = projected.reshape(n, count, d).swapaxes(0, 1)
            return split

        n_heads, n_kv_heads = self._hparams.n_heads, self._hparams.n_kv_heads
        share = n_heads // n_kv_heads  # query heads that use one key head
        q = _rotate(heads("q_proj", n_heads), cos, sin)
        k = _rotate(heads("k_proj", n_kv_heads), cos, sin).repeat(share, axis=0)
        v = heads("v_proj", n_kv_heads).repeat(share, axis=0)
        scores = q @ k.swapaxes(1, 2) / np.float32(d**0.5)  # (n_heads, n, n)
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ v).swapaxes(0, 1).reshape(n, -1)
        return _product(mixed, self._weight("self_attn.o_proj"))

    def feed_forward(self, hidden: Array) -> Array:
        normed = self._norm("post_attention_layernorm", hidden)
        gate = _product(normed, self._weight("mlp.gate_proj"))
        gate /= 1 + np.exp(-gate)
        return _product(
            gate * _product(normed, self._weight("mlp.up_proj")), self._weight("mlp.down_proj")
        )


def _row(tensor: StoredTensor, row: int) -> Array:
    values: Array = as_f32(tensor.rows(row, row + 1), tensor.dtype)[0]
    return values


def _product(x: Array, matrix: StoredTensor) -> Array:
    """x @ matrix.T: (n, columns) -> (n, rows)."""
    rows, columns = matrix.shape
    product = np.empty((len(x), rows), np.float32)
    step = max(1, BLOCK_VALUES // columns)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        block = as_f32(matrix.rows(start, stop), matrix.dtype)
        np.matmul(x, block.T, out=product[:, start:stop])
    return product


def _rms_norm(x: Array, weight: StoredTensor, eps: float) -> Array:
    mean_square = np.square(x, dtype=np.float64).mean(-1, keepdims=True)
    normed: Array = (x / np.sqrt(mean_square + eps)).astype(np.float32)
    return normed * as_f32(weight.read(), weight.dtype)


def _rotation(hparams: Hyperparameters, n: int) -> tuple[Array, Array]:
    """Cosines and sines of the rotary angles: (n, d/2) each."""
    half = hparams.head_dim // 2
    frequencies = hparams.rope_theta ** (-np.arange(half) / half)
    angles = np.outer(np.arange(n), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    """The checkpoint's layout: dimension i turns with i + d/2."""
    low, high = np.split(x, 2, axis=-1)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)

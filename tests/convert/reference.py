"""MiniCPM's forward pass in float64 numpy, from the checkpoint's own weights and config.

Written from the model's definition, not from the converter, so that the two can disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def reference_logits(
    config: Mapping[str, Any], weights: Mapping[str, np.ndarray], ids: Sequence[int]
) -> np.ndarray:
    """Logits after each of `ids`: (n, vocab_size)."""
    eps, residual = (
        config["rms_norm_eps"],
        config["scale_depth"] / config["num_hidden_layers"] ** 0.5,
    )
    hidden = weights["model.embed_tokens.weight"][list(ids)].astype(np.float64)
    hidden *= config["scale_emb"]
    for i in range(config["num_hidden_layers"]):
        layer = {
            name.removeprefix(f"model.layers.{i}."): value.astype(np.float64)
            for name, value in weights.items()
            if name.startswith(f"model.layers.{i}.")
        }
        normed = _rms_norm(hidden, layer["input_layernorm.weight"], eps)
        hidden = hidden + residual * _attention(config, layer, normed)
        normed = _rms_norm(hidden, layer["post_attention_layernorm.weight"], eps)
        hidden = hidden + residual * _mlp(layer, normed)
    hidden = _rms_norm(hidden, weights["model.norm.weight"], eps)
    hidden = hidden / (config["hidden_size"] / config["dim_model_base"])
    return hidden @ weights["lm_head.weight"].astype(np.float64).T


def _rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def _mlp(layer: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    gate = x @ layer["mlp.gate_proj.weight"].T
    return (gate / (1 + np.exp(-gate)) * (x @ layer["mlp.up_proj.weight"].T)) @ layer[
        "mlp.down_proj.weight"
    ].T


def _attention(
    config: Mapping[str, Any], layer: Mapping[str, np.ndarray], x: np.ndarray
) -> np.ndarray:
    n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    n, head_dim = len(x), config["hidden_size"] // n_heads

    def heads(name: str, count: int) -> np.ndarray:  # (count, n, head_dim)
        projected = x @ layer[f"self_attn.{name}.weight"].T
        return projected.reshape(n, count, head_dim).swapaxes(0, 1)

    theta = config.get("rope_theta", 10000.0)
    group = n_heads // n_kv_heads
    q = _rotate(heads("q_proj", n_heads), theta)
    k = _rotate(heads("k_proj", n_kv_heads), theta).repeat(group, axis=0)
    v = heads("v_proj", n_kv_heads).repeat(group, axis=0)
    scores = q @ k.swapaxes(1, 2) / head_dim**0.5 + np.triu(np.full((n, n), -np.inf), 1)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed: np.ndarray = (shares @ v).swapaxes(0, 1).reshape(n, -1)
    return mixed @ layer["self_attn.o_proj.weight"].T


def _rotate(x: np.ndarray, theta: float) -> np.ndarray:
    """Rotary embedding in the checkpoint's layout: dimension i pairs with i + head_dim/2."""
    half = x.shape[-1] // 2
    angles = np.outer(np.arange(x.shape[1]), theta ** (-np.arange(half) / half))
    cos, sin = np.cos(angles), np.sin(angles)
    low, high = x[..., :half], x[..., half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)

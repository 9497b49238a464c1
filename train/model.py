"""The MiniCPM architecture in plain torch: names and maths of the published checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Cache", "MiniCPM", "ModelConfig"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants, named as in config.json. Widths are multiples of 256, so that every
    matrix can be stored in llama.cpp's K-quants."""

    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 7
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 1024
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    scale_emb: float = 12.0
    scale_depth: float = 1.4
    dim_model_base: int = 128
    initializer_range: float = 0.02

    def as_dict(self) -> dict:
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, first half against second half. x: (B, H, T, D); cos: (B, 1, T, D)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class Cache:
    """Keys and values of up to `length` positions, for generation."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def place(self, positions: Tensor) -> Tensor:
        """Where the next tokens go; returns who sees whom, (B, 1, T, length)."""
        self.at = positions[:, None, :, None]
        everywhere = torch.arange(self.length, device=positions.device)
        return everywhere <= self.at

    def add(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if layer not in self.kept:
            shape = (k.shape[0], k.shape[1], self.length, k.shape[3])
            self.kept[layer] = k.new_zeros(shape), v.new_zeros(shape)
        at = self.at.expand(k.shape)
        for kept, new in zip(self.kept[layer], (k, v), strict=True):
            kept.scatter_(2, at, new)
        return self.kept[layer]


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, self.n_heads = config.hidden_size, config.num_attention_heads
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None = None
    ) -> Tensor:
        n_rows, n_tokens, size = x.shape
        q, k, v = (
            project(x).view(n_rows, n_tokens, self.n_heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if cache is not None:
            k, v = cache.add(self, k, v)
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(n_rows, n_tokens, size))


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)
        self.scale = config.scale_depth / math.sqrt(config.num_hidden_layers)
        self.dropout = nn.Dropout(0.0)  # the trainer's choice

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None = None
    ) -> Tensor:
        attended = self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        x = x + self.dropout(attended) * self.scale
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x))) * self.scale


class MiniCPM(nn.Module):
    """`forward` gives hidden states, `logits` turns some of them into scores of the next token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        head = config.hidden_size // config.num_attention_heads
        steps = torch.arange(0, head, 2).float() / head
        angles = torch.outer(
            torch.arange(config.max_position_embeddings).float(), config.rope_theta**-steps
        )
        angles = torch.cat((angles, angles), dim=-1)  # (positions, head)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=config.initializer_range)

    def forward(
        self, ids: Tensor, positions: Tensor, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """ids, positions: (B, T). mask: None (causal) or (B, 1, T, T) bool.

        With a cache the keys go to their positions in it, and the mask is the cache's.
        """
        if cache is not None:
            mask = cache.place(positions)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        x = self.embed_tokens(ids) * self.config.scale_emb
        for layer in self.layers:
            x = layer(x, cos, sin, mask, cache)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        divisor = self.config.hidden_size / self.config.dim_model_base
        return F.linear(hidden / divisor, self.embed_tokens.weight)

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

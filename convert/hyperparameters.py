"""config.json -> the numbers a MiniCPM GGUF needs, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.untrusted import brief
from duplex_local.errors import ModelFileError

__all__ = ["Hyperparameters", "parse_config"]

ARCHITECTURE = "MiniCPMForCausalLM"

# llama.cpp's limits: LLAMA_MAX_LAYERS, and the int32 of most of its counts.
MAX_LAYERS = 512
MAX_COUNT = 2**31 - 1
# Far beyond any model, and no quotient of two of them leaves the range of float32.
MIN_FACTOR, MAX_FACTOR = 1e-15, 1e15

# Settings that change the computation, with the values llama.cpp's minicpm graph stands for.
# Absent means the first value.
_ONLY: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "rope_scaling": (None,),
    "attention_bias": (False, None),
    "num_experts": (0, None),
    "pretraining_tp": (1, None),
}


@dataclass(frozen=True)
class Hyperparameters:
    """The shape of the model and its scale factors."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    hidden_size: int
    feed_forward_size: int
    context_length: int  # tokens
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    scale_emb: float
    scale_depth: float
    dim_model_base: float
    tied: bool | None  # what config.json says of the output matrix; None: nothing
    description: str | None

    def __post_init__(self) -> None:
        if self.hidden_size % self.n_heads or self.head_dim % 2:
            raise ModelFileError(
                f"config.json: hidden_size {self.hidden_size} must be num_attention_heads "
                f"({self.n_heads}) times an even head size. Check config.json."
            )
        if self.n_heads % self.n_kv_heads:
            raise ModelFileError(
                f"config.json: num_attention_heads {self.n_heads} must be a multiple of "
                f"num_key_value_heads {self.n_kv_heads}. Check config.json."
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.n_heads

    @property
    def residual_scale(self) -> float:
        """Factor of every attention and MLP output."""
        return self.scale_depth / math.sqrt(self.n_layers)

    @property
    def logit_scale(self) -> float:
        """Divisor of the final hidden state. llama.cpp's default for it is the inverse."""
        return self.hidden_size / self.dim_model_base


def parse_config(config: Mapping[str, Any]) -> Hyperparameters:
    """Check config.json and pick what the model needs.

    Raises:
        ModelFileError: when it is not MiniCPM, or a number is missing or impossible.
    """
    _check_architecture(config)
    n_heads = _count(config, "num_attention_heads")
    description = config.get("description")
    return Hyperparameters(
        n_layers=_count(config, "num_hidden_layers", maximum=MAX_LAYERS),
        n_heads=n_heads,
        n_kv_heads=_count(config, "num_key_value_heads", n_heads),
        hidden_size=_count(config, "hidden_size"),
        feed_forward_size=_count(config, "intermediate_size"),
        context_length=_count(config, "max_position_embeddings"),
        vocab_size=_count(config, "vocab_size"),
        rms_norm_eps=_positive(config, "rms_norm_eps"),
        rope_theta=_positive(config, "rope_theta", 10000.0),
        scale_emb=_positive(config, "scale_emb"),
        scale_depth=_positive(config, "scale_depth"),
        dim_model_base=_positive(config, "dim_model_base"),
        tied=config.get("tie_word_embeddings"),
        description=description if isinstance(description, str) else None,
    )


def _check_architecture(config: Mapping[str, Any]) -> None:
    found = config.get("architectures") or [config.get("model_type")]
    if found != [ARCHITECTURE]:
        first = found[0] if isinstance(found, list) else found
        name = first[:80] if isinstance(first, str) else brief(first)
        raise ModelFileError(
            f"config.json is of a {name} model; only {ARCHITECTURE} can be converted. "
            "Give a MiniCPM-duplex checkpoint."
        )
    for name, allowed in _ONLY.items():
        value = config.get(name, allowed[0])
        if value not in allowed:
            raise ModelFileError(
                f"config.json sets {name} to {brief(value)}, which llama.cpp's MiniCPM graph does "
                f"not compute (only {allowed[0]!r}). Such a checkpoint cannot be converted."
            )


def _count(
    config: Mapping[str, Any], name: str, default: int | None = None, maximum: int = MAX_COUNT
) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
        raise _bad(name, value, f"a whole number from 1 to {maximum}")
    return value


def _positive(config: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = config.get(name, default)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not MIN_FACTOR <= value <= MAX_FACTOR:
        raise _bad(name, value, f"a number from {MIN_FACTOR:g} to {MAX_FACTOR:g}")
    return float(value)


def _bad(name: str, value: object, expected: str) -> ModelFileError:
    state = "lacks" if value is None else f"has {brief(value)} for"
    return ModelFileError(
        f"config.json {state} {name}, which must be {expected}. Download config.json again."
    )

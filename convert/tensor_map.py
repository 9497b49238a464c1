"""Which GGUF tensor comes from which checkpoint tensor, and the shape it must have.

Shapes are numpy's: (rows, columns), rows = outputs of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from convert.hyperparameters import Hyperparameters
from convert.tensor import Array, StoredTensor, same_content
from duplex_local.errors import ModelFileError

__all__ = [
    "EMBEDDING",
    "OUTPUT",
    "PlannedTensor",
    "interleave_rotary_rows",
    "n_params",
    "plan_tensors",
    "required_tensors",
]

EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the GGUF. `n_rotary_heads` is 0 where rows keep their order."""

    name: str
    source: StoredTensor
    n_rotary_heads: int = 0


def n_params(shapes: Iterable[tuple[int, ...]]) -> int:
    """Numbers in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes)


def plan_tensors(
    hparams: Hyperparameters,
    tensors: Mapping[str, StoredTensor],
    note: Callable[[str], object],
) -> list[PlannedTensor]:
    """All tensors of the GGUF in file order. `note` is called with what its user should know.

    Raises:
        ModelFileError: for a missing, misshapen or unknown tensor.
    """
    plan = [
        _plan_one(tensors, source, name, shape, n_rotary_heads)
        for source, name, shape, n_rotary_heads in required_tensors(hparams)
    ]
    output = tensors.get(OUTPUT)
    if output is not None:
        planned = _plan_one(tensors, OUTPUT, "output.weight", tensors[EMBEDDING].shape)
        if not same_content(output, tensors[EMBEDDING]):
            if hparams.tied is True:
                note(
                    f"{OUTPUT} differs from {EMBEDDING} and is left out: config.json ties them "
                    "(tie_word_embeddings), and then the original uses the embedding, too."
                )
            else:
                plan.append(planned)
    elif hparams.tied is False:
        raise _missing(OUTPUT)
    _refuse_unknown(tensors, {tensor.source.name for tensor in plan} | {OUTPUT})
    return plan


def required_tensors(
    hparams: Hyperparameters,
) -> list[tuple[str, str, tuple[int, ...], int]]:
    """(checkpoint name, GGUF name, shape, rotary heads) of every tensor but the output."""
    hidden, feed_forward = hparams.hidden_size, hparams.feed_forward_size
    kv_rows = hparams.n_kv_heads * hparams.head_dim
    table: list[tuple[str, str, tuple[int, ...], int]] = [
        (EMBEDDING, "token_embd.weight", (hparams.vocab_size, hidden), 0),
        ("model.norm.weight", "output_norm.weight", (hidden,), 0),
    ]
    layer: list[tuple[str, str, tuple[int, ...], int]] = [
        ("input_layernorm", "attn_norm", (hidden,), 0),
        ("self_attn.q_proj", "attn_q", (hidden, hidden), hparams.n_heads),
        ("self_attn.k_proj", "attn_k", (kv_rows, hidden), hparams.n_kv_heads),
        ("self_attn.v_proj", "attn_v", (kv_rows, hidden), 0),
        ("self_attn.o_proj", "attn_output", (hidden, hidden), 0),
        ("post_attention_layernorm", "ffn_norm", (hidden,), 0),
        ("mlp.gate_proj", "ffn_gate", (feed_forward, hidden), 0),
        ("mlp.up_proj", "ffn_up", (feed_forward, hidden), 0),
        ("mlp.down_proj", "ffn_down", (hidden, feed_forward), 0),
    ]
    for i in range(hparams.n_layers):
        table += [
            (f"model.layers.{i}.{source}.weight", f"blk.{i}.{name}.weight", shape, heads)
            for source, name, shape, heads in layer
        ]
    return table


def _plan_one(
    tensors: Mapping[str, StoredTensor],
    source: str,
    name: str,
    shape: tuple[int, ...],
    n_rotary_heads: int = 0,
) -> PlannedTensor:
    tensor = tensors.get(source)
    if tensor is None:
        raise _missing(source)
    if tensor.shape != shape:
        raise ModelFileError(
            f"{source} in {tensor.path} has shape {list(tensor.shape)}, but config.json asks for "
            f"{list(shape)}. The files are not of one checkpoint; download it again."
        )
    return PlannedTensor(name, tensor, n_rotary_heads)


def _refuse_unknown(tensors: Mapping[str, StoredTensor], known: set[str]) -> None:
    """A tensor we would leave out is a part of the model we would run without."""
    for name, tensor in tensors.items():
        # Old checkpoints store the rotary frequencies, which follow from rope_theta.
        if name not in known and not name.endswith("rotary_emb.inv_freq"):
            raise ModelFileError(
                f"{tensor.path} holds {name}, which is no part of a MiniCPM model. "
                "Merge adapters into the weights first, or check config.json."
            )


def _missing(name: str) -> ModelFileError:
    return ModelFileError(
        f"The checkpoint lacks the tensor {name}. Its download is incomplete, or config.json "
        "belongs to another model; download it again."
    )


def interleave_rotary_rows(weight: Array, n_heads: int) -> Array:
    """Rows of a Q or K matrix in llama.cpp's order: the two halves of each head interleaved.

    The checkpoint rotates dimension i with i + head_dim/2; llama.cpp rotates neighbours.
    """
    rows, columns = weight.shape
    halves = weight.reshape(n_heads, 2, rows // n_heads // 2, columns)
    interleaved: Array = halves.swapaxes(1, 2).reshape(rows, columns)
    return interleaved

"""The quantizations: every name llama.cpp knows, and the recipes we measured and can recommend.

MiniCPM's ffn_down matrices have 5,760 columns, no multiple of the 256 that K-quants need. Left
alone, llama.cpp falls back to Q5_0 and Q5_1 there: larger than what was asked for, and slower on
CPUs, which have no fast kernels for them. A recipe names the type instead (docs/convert.md).
"""

from __future__ import annotations

import argparse
import functools
import re
from dataclasses import dataclass

import gguf

from convert.hyperparameters import Hyperparameters

__all__ = [
    "BF16",
    "DEFAULT_QUANT",
    "RECIPES",
    "Recipe",
    "estimated_bytes",
    "known_quants",
    "overrides",
    "quant_name",
]

DEFAULT_QUANT = "Q4_K_M"
BF16 = "BF16"  # what the unquantized file holds already
K_BLOCK, BLOCK = 256, 32  # columns a K-quant and any other quant need a multiple of

# llama.cpp makes these only with an importance matrix, or only for other kinds of model.
_NOT_FOR_US = {
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS"),
    *("Q2_K_S", "MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "GUESSED"),
}


@dataclass(frozen=True)
class Recipe:
    """A quantization with what was measured of it (docs/convert.md has the commands).

    ffn_down: GGML type of the ffn_down matrices where K-quants do not fit them.
    ffn_down_more: their type in the layers that llama.cpp's mix gives more bits; None: the same.
    bits_per_weight: of the whole file, in MiniCPM-duplex's shape.
    tokens_per_s: decode rate in that shape, 2 cores of a shared x86-64 server.
    kl: mean Kullback-Leibler divergence from BF16 (nats a token) of the demo model's choices.
    suits: who it is for.
    """

    name: str
    ffn_down: str
    ffn_down_more: str | None
    bits_per_weight: float
    tokens_per_s: float
    kl: float
    suits: str


# Best first.
RECIPES = (
    Recipe("Q8_0", "Q8_0", None, 8.51, 8.9, 0.00002, "comparing: as good as unquantized"),
    Recipe("Q6_K", "Q8_0", None, 6.95, 9.8, 0.00015, "memory to spare, and a GPU"),
    Recipe("Q5_K_M", "Q8_0", None, 6.25, 10.2, 0.00039, "between the two"),
    Recipe("Q4_K_M", "IQ4_NL", "Q8_0", 5.19, 14.8, 0.00126, "everyone: the default"),
    Recipe("Q4_K_S", "IQ4_NL", None, 4.73, 16.1, 0.00123, "less memory, CPU without GPU"),
    Recipe("Q4_0", "Q4_0", None, 4.72, 15.2, 0.00189, "quick to make"),
    Recipe("Q3_K_M", "IQ4_NL", None, 4.15, 12.1, 0.00357, "when nothing else fits"),
)  # fmt: skip


@functools.cache
def known_quants() -> dict[str, int]:
    """Every name that can be asked for, with its LLAMA_FTYPE.

    Taken from the gguf package, whose numbers are llama.cpp's: it is loaded anyway, whereas
    loading llama.cpp here would double the time a small conversion takes.
    """
    prefixes = re.compile("ALL_|MOSTLY_")
    names = {prefixes.sub("", ftype.name): int(ftype) for ftype in gguf.LlamaFileType}
    return {name: ftype for name, ftype in names.items() if name not in _NOT_FOR_US}


def estimated_bytes(quant: str, bf16_bytes: int) -> int:
    """A size that the file will hardly pass, from that of the BF16 one.

    A recipe's bits were measured; a tenth is for other shapes. Elsewhere the number in the name is
    bits a weight, and block scales, the tensors that a mix keeps in a larger type, and those whose
    rows do not divide into blocks of 256 (MiniCPM's `ffn_down`) add less than two.
    """
    if recipe := _recipe(quant):
        return int(bf16_bytes * recipe.bits_per_weight * 1.1 / 16)
    bits = re.search(r"\d+", quant)
    assert bits, quant
    exact = quant in ("F16", "BF16", "F32")
    return int(bf16_bytes * (int(bits[0]) + (0 if exact else 2)) / 16)


def quant_name(text: str) -> str:
    """`text` as a known name, for argparse.

    Raises:
        argparse.ArgumentTypeError: when there is no such quantization; lists those there are.
    """
    if text.upper() in known_quants():
        return text.upper()
    raise argparse.ArgumentTypeError(
        f"unknown quantization {text!r}; known are {', '.join(known_quants())}"
    )


def overrides(quant: str, hparams: Hyperparameters) -> dict[str, int]:
    """{regular expression of tensor names: GGML type} where the recipe, not llama.cpp, chooses.

    Empty where K-quants fit the model, or no block does, and for names without a recipe.
    """
    recipe = _recipe(quant)
    if recipe is None or hparams.feed_forward_size % K_BLOCK == 0:
        return {}
    if hparams.feed_forward_size % BLOCK:
        return {}  # llama.cpp keeps such a matrix in F16
    more = [i for i in range(hparams.n_layers) if _gets_more_bits(i, hparams.n_layers)]
    less = [i for i in range(hparams.n_layers) if i not in more]
    chosen = ((more, recipe.ffn_down_more or recipe.ffn_down), (less, recipe.ffn_down))
    return {
        rf"^blk\.({'|'.join(map(str, layers))})\.ffn_down\.weight$": _ggml_type(kind)
        for layers, kind in chosen
        if layers
    }


def _recipe(quant: str) -> Recipe | None:
    return next((recipe for recipe in RECIPES if recipe.name == quant), None)


def _ggml_type(name: str) -> int:
    return int(gguf.GGMLQuantizationType[name])


def _gets_more_bits(layer: int, n_layers: int) -> bool:
    """llama.cpp's `use_more_bits`: the first and last eighth, and every third between."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2

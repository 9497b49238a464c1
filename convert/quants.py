"""The names of the quantizations and llama.cpp's number for each."""

from __future__ import annotations

import argparse
import re

import gguf

__all__ = ["BF16", "DEFAULT_QUANT", "estimated_bytes", "known_quants", "quant_name"]

DEFAULT_QUANT = "Q4_K_M"
BF16 = "BF16"  # what the unquantized file holds already

# llama.cpp makes these only with an importance matrix, or only for other kinds of model.
_NOT_FOR_US = {
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"),
    *("MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "GUESSED"),
}


def known_quants() -> dict[str, int]:
    """Every name that can be asked for, with its LLAMA_FTYPE.

    Taken from the gguf package, whose numbers are llama.cpp's: it is loaded anyway, whereas
    loading llama.cpp here would double the time a small conversion takes.
    """
    prefixes = re.compile("ALL_|MOSTLY_")
    names = {prefixes.sub("", ftype.name): int(ftype) for ftype in gguf.LlamaFileType}
    return {name: ftype for name, ftype in names.items() if name not in _NOT_FOR_US}


def estimated_bytes(quant: str, bf16_bytes: int) -> int:
    """A size that the file will not pass, from that of the BF16 one.

    The number in the name is bits a weight. Block scales, the tensors that a mix keeps in a larger
    type, and those whose rows do not divide into blocks of 256 (MiniCPM's `ffn_down`) add less
    than two.
    """
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

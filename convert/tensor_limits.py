"""How far a quantized matrix and the logits may be from the checkpoint, by storage type.

Errors are root mean squares relative to what was meant: of a matrix, |file - checkpoint| /
|checkpoint|; of the logits, relative to their spread over the vocabulary. A matrix that has
nothing to do with the right one has 1.4, the opposite sign 2, swapped rows 1.4.

Measured on random checkpoints (2, 4, 12 and 40 layers of 256 or 512, tied and untied, grouped
heads; 122,760 tokens of 64) and on the trained demo, all at 48 ids (docs/log.md):

* The error of a matrix depends on the type alone: random and trained weights differ by less
  than 5 % of it (table below). Twice that for a matrix and four times for its worst row leave
  room for heavier tails and importance matrices, and none for a wrong tensor.
* The factor of a matrix, <file, checkpoint> / <checkpoint, checkpoint>, is 1 but for what a type
  does to all values, and shows a wrong scale that the error hides. Measured on the demo and on
  matrices that are normal, uniform, Student-t(3) and (2), with scaled rows, outlier columns, one
  row times 1000, or constant: Q8_0 0.9986-1.0014, Q6_K 0.987-1.009, five bits 0.994-1.005, four
  bits 0.984-1.012, Q3_K 0.983-1.007, Q2_K 0.970-1.000, IQ3_S 1.004-1.048. The limits leave as
  much again.
* The error of the logits was at most 2.8 times that of the file's worst matrix plus 0.012 (what
  rounding activations to 8 bits adds), 3.1 times with Student-t(3) weights; it grows little with
  depth, and trained weights have half of it. The limit is 4 times plus 0.04, of the nominal error
  of the file's coarsest type (what was measured of this file would excuse its own damage), and
  always below unrelated logits. (Q8_0 with Student-t(3) everywhere has 0.057 and may have 0.062.)
* Unquantized types differ only by the rounding of activations: at most 0.020 of the spread in the
  worst logit for BF16, 0.003 for F16, 0.00001 for F32. A token whose row is 100 times the others'
  has 100 times their error, so single logits are measured by what their token has.
"""

from __future__ import annotations

from collections.abc import Iterable

import gguf

__all__ = [
    "NOMINAL_ERRORS",
    "UNQUANTIZED",
    "WORST_EXACT_LOGIT",
    "WORST_UNQUANTIZED_LOGIT",
    "factor_limit",
    "is_exact",
    "kl_limit",
    "logit_limit",
    "matrix_limit",
    "row_limit",
]

_T = gguf.GGMLQuantizationType

# Measured error of a matrix. For BF16 it is that of rounding F32; BF16 weights are exact.
NOMINAL_ERRORS = {
    _T.F32: 0.0,
    _T.F16: 0.0002,
    _T.BF16: 0.0017,
    _T.Q8_0: 0.0056,
    _T.Q6_K: 0.0184,
    _T.Q5_K: 0.0373,
    _T.Q5_1: 0.0386,
    _T.Q5_0: 0.0441,
    _T.Q4_K: 0.0736,
    _T.IQ4_NL: 0.0780,
    _T.IQ4_XS: 0.0769,
    _T.Q4_1: 0.0782,
    _T.Q4_0: 0.0894,
    _T.Q3_K: 0.1553,
    _T.IQ3_S: 0.1708,
    _T.Q2_K: 0.2984,
}
# Of a matrix: (what a type makes of all values, how far from that it may be).
_FACTORS = {
    _T.F32: (1.0, 0.001),
    _T.F16: (1.0, 0.001),
    _T.BF16: (1.0, 0.001),
    _T.Q8_0: (1.0, 0.005),
    _T.Q6_K: (1.0, 0.02),
    _T.Q5_K: (1.0, 0.02),
    _T.Q5_1: (1.0, 0.02),
    _T.Q5_0: (1.0, 0.02),
    _T.Q3_K: (0.99, 0.03),
    _T.Q2_K: (0.985, 0.05),
    _T.IQ3_S: (1.03, 0.04),
}
_FOUR_BITS = (1.0, 0.03)
UNQUANTIZED = {_T.F32, _T.F16, _T.BF16}

WORST_UNQUANTIZED_LOGIT = 0.08  # of the spread; four times the worst measured
WORST_EXACT_LOGIT = 0.002  # F32 weights that were copied
MAX_LOGIT_ERROR = 0.9
MIN_KL_LIMIT = 0.01  # nats


def is_exact(type_: gguf.GGMLQuantizationType, source_dtype: str) -> bool:
    """Whether values of a checkpoint's dtype survive in `type_`. (BF16 is on the way to all.)"""
    return source_dtype == "BF16" and type_ in (_T.F32, _T.BF16)


def matrix_limit(type_: gguf.GGMLQuantizationType) -> float:
    """Error that a whole matrix may have. No type is finer than the BF16 it was made from."""
    return 2 * max(NOMINAL_ERRORS[type_], NOMINAL_ERRORS[_T.BF16])


def row_limit(type_: gguf.GGMLQuantizationType) -> float:
    """Error that one row may have."""
    return min(0.95, 2 * matrix_limit(type_))


def factor_limit(type_: gguf.GGMLQuantizationType) -> tuple[float, float]:
    """The factor that a matrix of this type has, and how far from that it may be (a share)."""
    return _FACTORS.get(type_, _FOUR_BITS)


def logit_limit(types: Iterable[gguf.GGMLQuantizationType]) -> float:
    """Error that the logits of a file of these types may have."""
    return min(MAX_LOGIT_ERROR, 0.04 + 4 * max(NOMINAL_ERRORS[type_] for type_ in types))


def kl_limit(error_limit: float, spread: float) -> float:
    """Mean KL divergence, in nats, that goes with an error of the logits.

    Gaussian errors of e in logits of spread s give 0.5 (e s)^2, less when that is large. The
    trained demo stays a factor of 10 or more below that: its mass is on a few tokens.
    """
    return max(MIN_KL_LIMIT, 0.5 * (error_limit * spread) ** 2)

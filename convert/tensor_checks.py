"""Reads every tensor of a written file once: is it finite, and is it the checkpoint's?

Blocks of rows, so memory does not grow with the model. The only whole matrices are those whose
rows change places (Q and K: hidden size squared).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import gguf
import numpy as np

from convert.checks import Check, listed
from convert.tensor import Array, as_bf16, as_f32
from convert.tensor_limits import factor_limit, is_exact, matrix_limit, row_limit
from convert.tensor_map import PlannedTensor, interleave_rotary_rows
from convert.written_file import WrittenFile, WrittenTensor

__all__ = ["check_finite", "check_values"]

BLOCK_VALUES = 2 * 1024 * 1024
COPY_VALUES = 512 * 1024  # of what is only compared: stays in the processor's cache
BF16_INFINITY = 0x7F80  # without the sign; above it are the NaNs
N_SAMPLED_ROWS = 64
MAX_ZERO_ROWS = 0.01  # share of a matrix; without a checkpoint


@dataclass(frozen=True)
class _Difference:
    """Of one tensor: relative errors, of all of it and of its worst row.

    factor: <found, wanted> / <wanted, wanted>, what the tensor is multiplied by. aligned: the
    error that remains when that factor is taken away. n_zero_rows: zero, but should not be.
    """

    finite: bool
    source_finite: bool
    error: float
    factor: float
    aligned: float
    n_zero_rows: int
    n_bad_rows: int
    worst_row: int
    worst_row_error: float


_EQUAL = _Difference(True, True, 0.0, 1.0, 0.0, 0, 0, 0, 0.0)
Advance = Callable[[int], object]  # called with 1 after each tensor


def check_finite(file: WrittenFile, advance: Advance) -> Check:
    """Without a checkpoint: no NaN or infinity anywhere, nothing zeroed or never filled in."""
    wrong = []
    for tensor in file.tensors.values():
        why = _why_unusable(tensor)
        if why:
            wrong.append(f"{tensor.name} {why}")
        advance(1)
    return Check("values", "finite" if not wrong else "not usable", listed(wrong))


def _why_unusable(tensor: WrittenTensor) -> str:
    low, high, n_zero_rows = math.inf, -math.inf, 0
    for start, stop in _blocks(tensor.n_rows, tensor.shape[-1], BLOCK_VALUES):
        rows = tensor.rows(start, stop)
        if not np.isfinite(rows).all():
            return "holds NaN or infinity"
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
        n_zero_rows += int((~rows.any(-1)).sum())
    # A norm that was not trained is 1 everywhere.
    if low == high and not (low == 1 and len(tensor.shape) == 1):
        return f"is {low:g} everywhere"
    # Tokens that nobody uses may have no embedding.
    of_tokens = tensor.name in ("token_embd.weight", "output.weight")
    if not of_tokens and n_zero_rows > MAX_ZERO_ROWS * tensor.n_rows:
        return f"has zeros in {n_zero_rows} of {tensor.n_rows} rows"
    return ""


def check_values(file: WrittenFile, plan: Sequence[PlannedTensor], advance: Advance) -> Check:
    """Every tensor against the one it was made from."""
    wrong: list[str] = []
    n_unrelated, worst, worst_name, is_finite = 0, 0.0, "", True
    for planned in plan:
        written = file.tensors[planned.name]
        difference = _compare(planned, written)
        is_finite = is_finite and difference.finite
        if difference.finite and difference.error > worst:
            worst, worst_name = difference.error, planned.name
        why = _why_wrong(difference, planned, written, plan)
        if why:
            wrong.append(f"{planned.name} {why}")
            n_unrelated += why.startswith("differs")
        advance(1)
    if n_unrelated > len(plan) // 2:
        wrong = [
            f"{n_unrelated} of {len(plan)} tensors differ from the checkpoint's, such as "
            f"{wrong[0]}: it is not the checkpoint this file was made from"
        ]
    figure = f"{worst:.2%} off" if worst else "equal"
    if is_finite:
        figure = f"finite, {figure}"
    values: dict[str, float | str] = {"worst_tensor": worst_name, "worst_tensor_error": worst}
    return Check("values", figure, listed(wrong), values)


def _compare(planned: PlannedTensor, written: WrittenTensor) -> _Difference:
    if written.type == gguf.GGMLQuantizationType.BF16 and _is_copy(planned, written):
        return _EQUAL
    allowed = 0.0 if _is_exact(planned, written) else row_limit(written.type)
    difference = wanted_energy = found_energy = product = 0.0
    finite = source_finite = True
    n_bad_rows, worst_row, worst_row_error, n_zero_rows = 0, 0, 0.0, 0
    for start, stop in _wanted_blocks(planned, BLOCK_VALUES):
        wanted, found = _wanted(planned, start, stop), written.rows(start, stop)
        finite = finite and bool(np.isfinite(found).all())
        source_finite = source_finite and bool(np.isfinite(wanted).all())
        with np.errstate(all="ignore"):
            row_differences = np.square(found - wanted).sum(-1, dtype=np.float64)
            energies = np.square(wanted).sum(-1, dtype=np.float64)
            # A row of almost nothing may be rounded to nothing.
            errors = np.sqrt(row_differences / np.maximum(energies, energies.mean() or 1e-30))
            product += float((found * wanted).sum(dtype=np.float64))
            found_energy += float(np.square(found).sum(dtype=np.float64))
            n_zero_rows += int((~found.any(-1) & (errors > allowed)).sum())
        difference += float(row_differences.sum())
        wanted_energy += float(energies.sum())
        n_bad_rows += int((errors > allowed).sum())
        if errors.max() > worst_row_error:
            worst_row, worst_row_error = start + int(errors.argmax()), float(errors.max())
    rows = (n_zero_rows, n_bad_rows, worst_row, worst_row_error)
    if not (finite and source_finite):
        return _Difference(finite, source_finite, 0.0, 1.0, 0.0, *rows)
    error = math.sqrt(difference / (wanted_energy or 1e-30))
    factor = product / wanted_energy if wanted_energy else 1.0
    cosine = product / (math.sqrt(found_energy * wanted_energy) or 1e-30)
    aligned = math.sqrt(max(0.0, 1 - cosine**2))
    return _Difference(finite, source_finite, error, factor, aligned, *rows)


def _is_copy(planned: PlannedTensor, written: WrittenTensor) -> bool:
    """Whether a BF16 matrix is finite and every bit what it must be.

    It nearly always is, and bits are compared at the speed of memory; only what differs is worth
    being looked at as numbers.
    """
    for start, stop in _wanted_blocks(planned, COPY_VALUES):
        bits = _wanted_bits(planned, start, stop)
        if (bits & 0x7FFF).max() >= BF16_INFINITY:
            return False
        if not np.array_equal(bits, written.stored(start, stop).view("<u2")):
            return False
    return True


def _is_exact(planned: PlannedTensor, written: WrittenTensor) -> bool:
    """Whether the values must be those of `_wanted`: vectors, and matrices that are only copied
    or rounded to BF16."""
    vector = len(planned.source.shape) == 1 and written.type == gguf.GGMLQuantizationType.F32
    rounded = written.type == gguf.GGMLQuantizationType.BF16
    return vector or rounded or is_exact(written.type, planned.source.dtype)


def _why_wrong(
    found: _Difference,
    planned: PlannedTensor,
    written: WrittenTensor,
    plan: Sequence[PlannedTensor],
) -> str:
    source = planned.source
    if not found.source_finite:
        return f"holds NaN or infinity, and so does {source.name}: the checkpoint is damaged"
    if not found.finite:
        return "holds NaN or infinity"
    exact = _is_exact(planned, written)
    limit, in_row = (0.0, 0.0) if exact else (matrix_limit(written.type), row_limit(written.type))
    nominal, tolerance = factor_limit(written.type)
    scaled = abs(found.factor / nominal - 1) > tolerance
    if found.error <= limit and not found.n_bad_rows and not scaled:
        return ""
    if found.n_zero_rows == written.n_rows:
        return f"is all zero, unlike {source.name}"
    if found.n_zero_rows > written.n_rows // 10:
        return f"has only zeros in {found.n_zero_rows} of {written.n_rows} rows"
    if 0 < found.n_bad_rows <= written.n_rows // 10:
        return (
            f"has other rows than {source.name}: {found.n_bad_rows} of {written.n_rows}, row "
            f"{found.worst_row} is {found.worst_row_error:.2%} off (limit {in_row:.2%})"
        )
    with np.errstate(all="ignore"):
        known = _known_mistake(planned, written, plan, 1e-6 if exact else limit)
    # Rounding the product again leaves a little of a type that keeps values.
    if not known and scaled and found.aligned <= max(limit, row_limit(written.type)):
        known = f"is {found.factor / nominal:.3g} times {source.name}"
    return known or f"differs from {source.name} by {found.error:.2%} (limit {limit:.2%})"


def _known_mistake(
    planned: PlannedTensor, written: WrittenTensor, plan: Sequence[PlannedTensor], limit: float
) -> str:
    """What the first rows of the tensor are instead, empty when that cannot be told."""
    n = min(N_SAMPLED_ROWS, written.n_rows)
    found = written.rows(0, n)
    for what, candidate in _candidates(planned, plan, n):
        energy = float(np.square(candidate).sum(dtype=np.float64)) or 1e-30
        distance = float(np.square(found - candidate).sum(dtype=np.float64))
        # Twice: a sample, and of values in another order than they were quantized in.
        if math.sqrt(distance / energy) <= 2 * limit:
            return what
    return ""


def _candidates(
    planned: PlannedTensor, plan: Sequence[PlannedTensor], n: int
) -> Iterator[tuple[str, Array]]:
    source, rows = planned.source, math.prod(planned.source.shape[:-1])
    wanted = _wanted(planned, 0, n)
    yield "has the opposite sign", -wanted
    if planned.n_rotary_heads:
        yield (
            "has its rows in the checkpoint's order, not interleaved for llama.cpp's rotary "
            "embedding (q/k not permuted)",
            as_f32(_bf16_bits(source.rows(0, n), source.dtype), "BF16"),
        )
    for other in plan:
        if other.source.shape == source.shape and other is not planned:
            yield f"holds what belongs into {other.name}", _wanted(other, 0, n)
    if len(source.shape) == 2:
        yield "has its rows in reverse order", _wanted(planned, rows - n, rows)[::-1]
        if source.shape[0] == source.shape[1]:
            yield "is transposed", _wanted(planned, 0, rows).T[:n]
    yield "has its columns in reverse order", wanted[:, ::-1]


def _blocks(rows: int, columns: int, n_values: int) -> Iterator[tuple[int, int]]:
    step = max(1, n_values // columns)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _wanted_blocks(planned: PlannedTensor, n_values: int) -> Iterator[tuple[int, int]]:
    """Rows in blocks. Those that change places come from all over their matrix: it is one block."""
    shape = planned.source.shape
    if planned.n_rotary_heads:
        return iter([(0, shape[0])])
    return _blocks(math.prod(shape[:-1]), shape[-1], n_values)


def _wanted(planned: PlannedTensor, start: int, stop: int) -> Array:
    """Rows as the file must hold them; a vector is one row."""
    source = planned.source
    if len(source.shape) == 1:
        return as_f32(source.read(), source.dtype)[None]
    return as_f32(_wanted_bits(planned, start, stop), "BF16")


def _wanted_bits(planned: PlannedTensor, start: int, stop: int) -> Array:
    """Rows of a matrix as the BF16 that every one is before it is quantized."""
    source = planned.source
    if planned.n_rotary_heads:
        rows = interleave_rotary_rows(source.read(), planned.n_rotary_heads)[start:stop]
    else:
        rows = source.rows(start, stop)
    return _bf16_bits(rows, source.dtype)


def _bf16_bits(values: Array, dtype: str) -> Array:
    return as_bf16(np.ascontiguousarray(values), dtype).view("<u2").reshape(values.shape)

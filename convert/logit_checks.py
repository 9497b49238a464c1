"""Compares the logits of llama.cpp on the written file with those of the checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import gguf
import numpy as np

from convert.checks import Check, result_of
from convert.tensor import Array
from convert.tensor_limits import (
    UNQUANTIZED,
    WORST_EXACT_LOGIT,
    WORST_UNQUANTIZED_LOGIT,
    is_exact,
    kl_limit,
    logit_limit,
)

__all__ = ["LogitLimits", "check_logits", "limits_for", "softened"]

# Logits that are all the same still differ by the rounding of float32, of what they are. That must
# not be taken for their spread.
ROUNDING = 1e-5
TINY = 1e-9  # spread of logits that are all zero

GROSS = 0.36  # of the spread; q/k without their permutation were 0.398 off in the mildest case


@dataclass(frozen=True)
class LogitLimits:
    """error: root mean square, relative to the spread. worst: of a single logit, too, or None,
    relative to what its token has.

    clear: distance of two logits, relative to theirs, that their order must survive.
    stray: share of clear positions where it may not (and one of them always): the errors of a
    heavy-tailed output matrix are large for a few tokens.
    """

    error: float
    worst: float | None
    clear: float
    stray: float = 0.0


def limits_for(
    types: Collection[gguf.GGMLQuantizationType],
    source_dtypes: Collection[str],
    equal: bool,
) -> LogitLimits:
    """What a file of these storage types, made from these, may be off.

    equal: every value is the checkpoint's. Then a single logit proves nothing: massive
    activations make the rounding of some large.
    """
    if not set(types) <= UNQUANTIZED:
        error = logit_limit(types)
        # The limit is twice the error that is measured, and two logits differ by 1.4 errors.
        return LogitLimits(error, None, 3 * error, stray=0.1)
    exact = set(types) == {gguf.GGMLQuantizationType.F32} and all(
        is_exact(gguf.GGMLQuantizationType.F32, dtype) for dtype in source_dtypes
    )
    worst = WORST_EXACT_LOGIT if exact else WORST_UNQUANTIZED_LOGIT
    return LogitLimits(worst / 2, None if equal else worst, 2 * worst)


def check_logits(
    found: Array, expected: Array, decisions: Sequence[int], idle: int, limits: LogitLimits
) -> list[Check]:
    """found, expected: (n, n_vocab). decisions: positions where the model idles or speaks."""
    if not np.isfinite(expected).all():
        return [Check("logits", "-", "the checkpoint's own logits are not finite: it is damaged")]
    if not np.isfinite(found).all():
        return [Check("logits", "-", "the logits are not finite")]
    # Finite, but perhaps so large that a square is not: errors of infinity are too large, too.
    with np.errstate(all="ignore"):
        return _compared(found, expected, decisions, idle, limits)


def softened(checks: Sequence[Check]) -> list[Check]:
    """For a quantized file each of whose matrices is as near as its type allows: logits beyond
    their limits are noted, not refused.

    Massive activations and heavy tails make good files so (up to 0.29 of the spread were seen, and
    the real model has not been). From GROSS on they are wrong all the same.
    """
    logits = next((check for check in checks if check.name == "logits"), None)
    error = logits.values.get("error", GROSS) if logits else GROSS
    if not isinstance(error, float) or error >= GROSS:
        return list(checks)
    return [
        Check(check.name, f"{check.figure}, unusual", "", {**check.values, "unusual": check.why})
        if check.why and check.name in ("logits", "top-1", "idle or speak")
        else check
        for check in checks
    ]


def _compared(
    found: Array, expected: Array, decisions: Sequence[int], idle: int, limits: LogitLimits
) -> list[Check]:
    size = float(np.abs(expected).max())
    found, expected = _centred(found), _centred(expected)
    spread = max(float(expected.std()), ROUNDING * size, TINY)
    sizes = np.maximum(spread, np.sqrt(np.square(expected).mean(0, dtype=np.float64)))
    chosen = list(decisions)
    return [
        _values(found, expected, spread, sizes, limits),
        _best(found, expected, limits.clear * sizes, limits.stray),
        _decisions(found[chosen], expected[chosen], idle, limits.clear * sizes),
    ]


def _centred(logits: Array) -> Array:
    """A constant added to all logits of a position changes nothing."""
    centred: Array = logits - logits.mean(-1, keepdims=True, dtype=np.float64).astype(np.float32)
    return centred


def _values(
    found: Array, expected: Array, spread: float, sizes: Array, limits: LogitLimits
) -> Check:
    """sizes: (n_vocab,), the spread or what a token's logits are if that is more."""
    difference = found - expected
    error = float(np.sqrt(np.square(difference).mean(dtype=np.float64))) / spread
    worst = float((np.abs(difference).max(0) / sizes).max())
    divergence = float(np.mean([_kl(e, f) for e, f in zip(expected, found, strict=True)]))
    allowed = kl_limit(limits.error, spread)
    wrong = []
    if not error <= limits.error:
        wrong.append(
            f"they are {error:.2%} of their spread away from the checkpoint's (limit "
            f"{limits.error:.2%})"
        )
    if limits.worst is not None and not worst <= limits.worst:
        wrong.append(f"one is {worst:.2%} of their spread off (limit {limits.worst:.2%})")
    if not divergence <= allowed:
        wrong.append(f"the mean KL divergence is {divergence:.3g} (limit {allowed:.3g})")
    values = {
        "error": error,
        "error_limit": limits.error,
        "worst": worst,
        "kl": divergence,
        "kl_limit": allowed,
        "spread": spread,
    }
    figure = f"{error:.2%} off, KL {divergence:.1e}"
    return Check("logits", figure, result_of("", "", wrong).why, values)


def _best(found: Array, expected: Array, clear: Array, stray: float) -> Check:
    """Whether the most probable token is the same."""
    same = found.argmax(-1) == expected.argmax(-1)
    best_two = np.argsort(expected, axis=-1)[:, -2:]
    values = np.take_along_axis(expected, best_two, axis=-1)
    must = values[:, -1] - values[:, 0] > clear[best_two].max(-1)
    allowed = max(1, int(stray * must.sum())) if stray else 0
    return _agreement("top-1", same, must, "the most probable token differs", allowed)


def _decisions(found: Array, expected: Array, idle: int, clear: Array) -> Check:
    """Whether silence or a word is more probable where the model chooses."""
    mine, _ = _idle_margin(found, idle)
    theirs, best = _idle_margin(expected, idle)
    must = np.abs(theirs) > np.maximum(clear[best], clear[idle])
    return _agreement("idle or speak", (mine > 0) == (theirs > 0), must, "the choice differs")


def _idle_margin(logits: Array, idle: int) -> tuple[Array, Array]:
    """How far idling is ahead of the best other token, and which that is."""
    others = logits.copy()
    others[:, idle] = -np.inf
    best = others.argmax(-1)
    margin: Array = logits[:, idle] - others.max(-1, initial=-np.inf)
    return margin, best


def _agreement(name: str, same: Array, must: Array, what: str, allowed: int = 0) -> Check:
    n_wrong, n_same, n_clear = int((must & ~same).sum()), int(same.sum()), int(must.sum())
    why = f"{what} at {n_wrong} of {n_clear} positions where it is clear"
    values = {"n": len(same), "same": n_same, "clear": n_clear, "clear_wrong": n_wrong}
    clear = f"clear {n_clear - n_wrong}/{n_clear}" if n_clear else "none clear: not decided"
    figure = f"{n_same}/{len(same)}, {clear}"
    return Check(name, figure, why if n_wrong > allowed else "", values)


def _kl(expected: Array, found: Array) -> float:
    """KL divergence in nats of two rows of logits."""
    p, q = _log_softmax(expected), _log_softmax(found)
    return float((np.exp(p) * (p - q)).sum())


def _log_softmax(logits: Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max()
    result: Array = shifted - np.log(np.exp(shifted).sum())
    return result

"""From trials to rates with intervals, and from rates to the one number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.behaviour.metrics import METRICS, Trials, go_at_1, hold
from benchmarks.behaviour.transcript import Transcript

__all__ = [
    "TIMING",
    "Rate",
    "Robust",
    "harmonic",
    "parts",
    "rate_of",
    "rates",
    "robust",
    "score",
    "timing_score",
    "wilson",
]

Z_95 = 1.959964
ROBUST_TARGET = 0.03
# The parts that need no right words: what a policy without a model can be measured by.
TIMING = ("HOLD-TOR", "PAUSE-TOR", "GO@0", "GO@1", "YIELD", "QUIET", "BC-CONT", "BC-YIELD")
LESS_IS_BETTER = frozenset(m.name for m in METRICS if m.less_is_better) | {"ROBUST"}


@dataclass(frozen=True)
class Rate:
    """value: share of the `n` trials. low, high: its 95 % interval. All None when n is 0."""

    value: float | None
    n: int
    low: float | None
    high: float | None

    @property
    def percent(self) -> tuple[float, float, float]:
        """Value and interval in percent; only for a rate that had trials."""
        assert self.value is not None and self.low is not None and self.high is not None
        return 100 * self.value, 100 * self.low, 100 * self.high


@dataclass(frozen=True)
class Robust:
    """How a variant changes HOLD-TOR and GO@1, against the same scenarios as written.

    hold, go: rise of the rate of takeovers, and of requests without an answer; 0.01 is a point.
    """

    variant: str
    hold: Rate
    go: Rate

    @property
    def worst(self) -> Rate:
        """The greater rise of the two; 0 when there is none: to do better is no fault."""
        rises = [rate for rate in (self.hold, self.go) if rate.value is not None]
        worst = max(rises, key=lambda rate: rate.value or 0.0, default=wilson(0, 0))
        return worst if worst.value is None else replace(worst, value=max(0.0, worst.value))


def wilson(n_true: int, n: int) -> Rate:
    """The share `n_true / n` with its 95 % Wilson interval."""
    if n == 0:
        return Rate(None, 0, None, None)
    p, z2 = n_true / n, Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Rate(p, n, max(0.0, middle - half), min(1.0, middle + half))


def rate_of(trials: Iterable[bool]) -> Rate:
    """The share of the trials that are True."""
    happened = list(trials)
    return wilson(sum(happened), len(happened))


def rates(transcripts: Sequence[Transcript]) -> dict[str, Rate]:
    """Every metric of the table over scenarios as written; ROBUST beside its variants."""
    written = [t for t in transcripts if not t.scenario.variant]
    found = {m.name: rate_of(trial for t in written for trial in m.trials(t)) for m in METRICS}
    changes = [change.worst for change in robust(transcripts)]
    found["ROBUST"] = max(changes, key=lambda worst: worst.value or 0.0, default=wilson(0, 0))
    return found


def robust(transcripts: Sequence[Transcript]) -> list[Robust]:
    """The change each variant makes. Only scenarios played in both forms are compared."""
    written = {t.scenario.id: t for t in transcripts if not t.scenario.variant}
    names = dict.fromkeys(t.scenario.variant for t in transcripts if t.scenario.variant)
    changes = []
    for name in names:
        pairs = [
            (written[t.scenario.id], t)
            for t in transcripts
            if t.scenario.variant == name and t.scenario.id in written
        ]
        # A variant with more slices may have `hold` slices where the original has none.
        holding = [(a, b) for a, b in pairs if list(hold(a)) and list(hold(b))]
        hold_rise = _rise(*_both(hold, holding))
        go_fall = _rise(*_both(go_at_1, pairs, negate=True))
        changes.append(Robust(name, hold_rise, go_fall))
    return changes


def _both(
    trials: Trials, pairs: Sequence[tuple[Transcript, Transcript]], *, negate: bool = False
) -> tuple[Rate, Rate]:
    before = [trial != negate for a, _ in pairs for trial in trials(a)]
    after = [trial != negate for _, b in pairs for trial in trials(b)]
    return rate_of(before), rate_of(after)


def _rise(before: Rate, after: Rate) -> Rate:
    """`after - before`, with Newcombe's interval from the two Wilson ones (as if unpaired)."""
    if before.value is None or after.value is None:
        return wilson(0, 0)
    p, p_low, p_high = before.percent
    q, q_low, q_high = after.percent
    low = q - p - math.hypot(q - q_low, p_high - p)
    high = q - p + math.hypot(q_high - q, p - p_low)
    return Rate((q - p) / 100, min(before.n, after.n), low / 100, high / 100)


def parts(found: Mapping[str, Rate]) -> dict[str, float]:
    """What enters the score: every metric that had a trial, turned so that 1 is perfect."""
    return {
        name: 1.0 - rate.value if name in LESS_IS_BETTER else rate.value
        for name, rate in found.items()
        if rate.value is not None
    }


def harmonic(values: Iterable[float]) -> float:
    """The harmonic mean; 0 when any value is, or there is none."""
    found = list(values)
    if not found or min(found) <= 0.0:
        return 0.0
    return len(found) / sum(1.0 / value for value in found)


def score(found: Mapping[str, Rate]) -> float:
    """The harmonic mean of all parts: one bad part cannot be made up for by the others."""
    return harmonic(parts(found).values())


def timing_score(found: Mapping[str, Rate]) -> float:
    """As `score`, but over the parts that are about when to speak, not what to say."""
    return harmonic(value for name, value in parts(found).items() if name in TIMING)

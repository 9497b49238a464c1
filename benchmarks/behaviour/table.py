"""The result as a table in the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.behaviour.controls import CONTROLS, play_control
from benchmarks.behaviour.flow import count_flow
from benchmarks.behaviour.judge import is_backchannel, is_idle
from benchmarks.behaviour.metrics import METRICS
from benchmarks.behaviour.outcome import slice_passes
from benchmarks.behaviour.score import (
    LESS_IS_BETTER,
    ROBUST_TARGET,
    TIMING,
    Rate,
    Robust,
    parts,
    rates,
    robust,
    score,
    timing_score,
)
from benchmarks.behaviour.transcript import Transcript

__all__ = ["Result", "as_json", "lines", "result_of"]

MEANING = {m.name: m.meaning for m in METRICS} | {
    "ROBUST": "worst change of HOLD-TOR or GO@1 in a surface variant"
}
TARGET = {m.name: m.target for m in METRICS} | {"ROBUST": ROBUST_TARGET}
ENOUGH = 100  # trials of a metric, for an interval that says something


@dataclass(frozen=True)
class Result:
    """Everything that was measured.

    flow: counts by kind. others: rates of further runs, by name. controls: rates by control.
    """

    transcripts: Sequence[Transcript]
    rates: Mapping[str, Rate]
    variants: Sequence[Robust]
    flow: Mapping[str, int]
    others: Mapping[str, Mapping[str, Rate]]
    controls: Mapping[str, Mapping[str, Rate]]


def result_of(
    transcripts: Sequence[Transcript],
    others: Mapping[str, Mapping[str, Rate]],
    *,
    with_controls: bool,
) -> Result:
    """Score `transcripts`; the controls play the same scenarios."""
    counts = [asdict(count_flow(t)) for t in transcripts if not t.scenario.variant]
    total = {name: sum(c[name] for c in counts) for name in (counts[0] if counts else {})}
    scenarios = [t.scenario for t in transcripts]
    names = CONTROLS if with_controls else {}
    controls = {name: rates(play_control(CONTROLS[name], scenarios)) for name in names}
    return Result(transcripts, rates(transcripts), robust(transcripts), total, others, controls)


def _meets(name: str, value: float) -> bool:
    return value <= TARGET[name] if name in LESS_IS_BETTER else value >= TARGET[name]


def _line(name: str, rate: Rate) -> str:
    sign = "<=" if name in LESS_IS_BETTER else ">="
    target = f"{sign} {100 * TARGET[name]:g}"
    if rate.value is None:
        return f"{name:10} {'-':>7} {0:>6} {'':>15} {target:>8}    {MEANING[name]}"
    value, low, high = rate.percent
    interval = f"{low:6.1f} -{high:6.1f}"
    mark = "ok" if _meets(name, rate.value) else "--"
    few = "" if rate.n >= ENOUGH else "  (few)"
    return (
        f"{name:10} {value:7.2f} {rate.n:>6} {interval:>15} {target:>8} {mark} {MEANING[name]}{few}"
    )


def lines(result: Result) -> Iterator[str]:
    """The table, in percent."""
    yield f"{'metric':10} {'value %':>7} {'n':>6} {'95 % interval':>15} {'target':>8}    meaning"
    for name, rate in result.rates.items():
        yield _line(name, rate)
    flow = result.flow
    yield (
        f"flow: {flow.get('n_seams', 0)} seam defects at {flow.get('n_borders', 0)} borders, "
        f"{flow.get('n_special', 0)} special tokens visible, "
        f"{flow.get('n_over_budget', 0)} slices over the budget"
    )
    for change in result.variants:
        yield (
            f"{change.variant}: takeovers {_points(change.hold)}, unanswered {_points(change.go)}"
        )
    found = parts(result.rates)
    yield "parts: " + "  ".join(f"{name} {value:.3f}" for name, value in found.items())
    yield ""
    columns = " ".join(f"{name[:8]:>9}" for name in TIMING)
    yield f"{'':30} {'SCORE':>6} {'timing':>7}  {columns}"
    yield _row("model", result.rates)
    for name, found_by_it in (*result.others.items(), *result.controls.items()):
        yield _row(name, found_by_it)
    yield "SCORE: harmonic mean of the parts. timing: of those that need no right words."
    if result.others:
        yield ""
        yield from _beside(result)


def _beside(result: Result) -> Iterator[str]:
    """Every metric of every run, in percent. SCORE without ROBUST, which one run has alone."""
    runs = {"as above": result.rates, **result.others}
    names = [name for name in result.rates if name != "ROBUST"]
    for number, run in enumerate(runs):
        yield f"({number}) {run}"
    yield f"{'':10}" + "".join(f"{f'({number})':>8}" for number in range(len(runs)))
    for name in names:
        values = [found[name].value for found in runs.values()]
        shown = "".join("       -" if v is None else f"{100 * v:8.1f}" for v in values)
        yield f"{name:10}{shown}"
    scores = [score({name: found[name] for name in names}) for found in runs.values()]
    yield f"{'SCORE':10}" + "".join(f"{value:8.3f}" for value in scores)


def _points(rise: Rate) -> str:
    return "-" if rise.value is None else f"{100 * rise.value:+.1f} points (n {rise.n})"


def _row(name: str, found: Mapping[str, Rate]) -> str:
    cells = [found[m].value for m in TIMING]
    shown = " ".join("        -" if v is None else f"{100 * v:9.1f}" for v in cells)
    return f"{name:30} {score(found):6.3f} {timing_score(found):7.3f}  {shown}"


def outcome(text: str) -> str:
    """What a reply is, in one word."""
    if is_idle(text):
        return "idle"
    return "backchannel" if is_backchannel(text) else "takeover"


def _slices(t: Transcript) -> Iterator[dict[str, Any]]:
    for at, (part, reply) in enumerate(zip(t.slices, t.replies, strict=True)):
        yield {
            "scenario": t.scenario.id,
            "family": t.scenario.family,
            "variant": t.scenario.variant,
            "slice": at,
            "user": part.user,
            "expect": part.expect.value,
            "reply": reply.text,
            "outcome": outcome(reply.text),
            "pass": slice_passes(t, at),
        }


def _summary(found: Mapping[str, Rate]) -> dict[str, Any]:
    return {
        "score": score(found),
        "timing_score": timing_score(found),
        "metrics": {name: asdict(rate) for name, rate in found.items()},
    }


def as_json(result: Result) -> dict[str, Any]:
    """The result as it is written with --json. All rates are shares, from 0 to 1."""
    written = [t for t in result.transcripts if not t.scenario.variant]
    varied = [t for t in result.transcripts if t.scenario.variant]
    return {
        **_summary(result.rates),
        "parts": parts(result.rates),
        "flow": dict(result.flow),
        "variants": [asdict(change) for change in result.variants],
        "others": {name: _summary(found) for name, found in result.others.items()},
        "controls": {name: _summary(found) for name, found in result.controls.items()},
        "slices": [row for t in written for row in _slices(t)],
        "variant_slices": [row for t in varied for row in _slices(t)],
    }

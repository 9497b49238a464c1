"""The result as a table in the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.behaviour.controls import CONTROLS, play_control
from benchmarks.behaviour.families import FATES, by_corpus, by_family
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

__all__ = ["Result", "as_json", "lines", "result_of", "shared_parts", "shared_score"]

MEANING = {m.name: m.meaning for m in METRICS} | {
    "ROBUST": "worst change of HOLD-TOR or GO@1 in a surface variant"
}
TARGET = {m.name: m.target for m in METRICS} | {"ROBUST": ROBUST_TARGET}
ENOUGH = 100  # trials of a metric, for an interval that says something


@dataclass(frozen=True)
class Result:
    """Everything that was measured.

    how: greedy or sampled. flow: counts by kind. families: rates by family. corpora: what became
    of real utterances, by corpus. others: rates of further runs, by name; they have no ROBUST.
    controls: rates by control.
    """

    how: str

    transcripts: Sequence[Transcript]
    rates: Mapping[str, Rate]
    variants: Sequence[Robust]
    flow: Mapping[str, int]
    families: Mapping[str, Mapping[str, Rate]]
    corpora: Mapping[str, Mapping[str, Rate]]
    others: Mapping[str, Mapping[str, Rate]]
    controls: Mapping[str, Mapping[str, Rate]]


def result_of(
    transcripts: Sequence[Transcript],
    others: Mapping[str, Mapping[str, Rate]],
    *,
    how: str,
    with_controls: bool,
) -> Result:
    """Score `transcripts`; the controls play the same scenarios."""
    counts = [asdict(count_flow(t)) for t in transcripts if not t.scenario.variant]
    total = {name: sum(c[name] for c in counts) for name in (counts[0] if counts else {})}
    scenarios = [t.scenario for t in transcripts]
    names = CONTROLS if with_controls else {}
    controls = {name: rates(play_control(CONTROLS[name], scenarios)) for name in names}
    return Result(
        how=how, transcripts=transcripts, rates=rates(transcripts), variants=robust(transcripts),
        flow=total, families=by_family(transcripts), corpora=by_corpus(transcripts),
        others=others, controls=controls,
    )  # fmt: skip


def shared_parts(result: Result) -> list[str]:
    """The parts of the score that the model's run and all further ones have: never ROBUST."""
    runs = [parts(found) for found in (result.rates, *result.others.values())]
    return [name for name in runs[0] if all(name in found for found in runs)]


def shared_score(result: Result, found: Mapping[str, Rate]) -> float:
    """The score of the shared parts alone: what runs can be compared by."""
    return score({name: found[name] for name in shared_parts(result)})


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
    if result.corpora:
        yield ""
        yield from _real(result)
    yield ""
    yield from _policies(result)
    if result.others:
        yield ""
        yield from _beside(result)


def _real(result: Result) -> Iterator[str]:
    for corpus, found in result.corpora.items():
        fates = ", ".join(_percent(name, found[name]) for name in FATES if name != "answered")
        yield (
            f"real utterances, {corpus}: {_percent('GO@1', found['answered'], True)}, {fates}; "
            f"{_percent('HOLD-TOR', found['HOLD-TOR'], True)}"
        )
    for name, meaning in FATES.items():
        if name != "answered":
            yield f"  {name}: {meaning}"


def _percent(name: str, rate: Rate, with_interval: bool = False) -> str:
    if rate.value is None:
        return f"{name} - (n 0)"
    value, low, high = rate.percent
    return f"{name} {value:.1f} %" + (
        f" (n {rate.n}, {low:.1f} - {high:.1f})" if with_interval else ""
    )


def _policies(result: Result) -> Iterator[str]:
    """The model, its further runs and the controls, side by side."""
    runs = {"model": result.rates, **result.others, **result.controls}
    width = max(30, *map(len, runs))
    columns = " ".join(f"{name[:8]:>9}" for name in TIMING)
    yield f"{'':{width}} {'SCORE':>6} {'timing':>7}  {columns}"
    for name, found in runs.items():
        shown = "-" if name in result.others else f"{score(found):.3f}"
        yield f"{name:{width}} {shown:>6} {_timing(found)}"
    yield "SCORE: harmonic mean of the parts. timing: of those that need no right words."
    if result.others:
        yield "Further runs lack parts of it: see below, by the parts that all of them have."


def _beside(result: Result) -> Iterator[str]:
    """Every metric of every run, in percent, and the score of the parts they share."""
    runs = {f"as above, {result.how}": result.rates, **result.others}
    names = [name for name in result.rates if name != "ROBUST"]
    for number, run in enumerate(runs):
        yield f"({number}) {run}"
    yield f"{'':10}" + "".join(f"{f'({number})':>8}" for number in range(len(runs)))
    for name in names:
        values = [found[name].value for found in runs.values()]
        shown = "".join("       -" if v is None else f"{100 * v:8.1f}" for v in values)
        yield f"{name:10}{shown}"
    scores = [shared_score(result, found) for found in runs.values()]
    yield f"{'SCORE':10}" + "".join(f"{value:8.3f}" for value in scores)
    left_out = [name for name in result.rates if name not in shared_parts(result)]
    yield f"SCORE here: of the parts that all these runs have, so without {', '.join(left_out)}."


def _points(rise: Rate) -> str:
    return "-" if rise.value is None else f"{100 * rise.value:+.1f} points (n {rise.n})"


def _timing(found: Mapping[str, Rate]) -> str:
    cells = [found[m].value for m in TIMING]
    shown = " ".join("        -" if v is None else f"{100 * v:9.1f}" for v in cells)
    return f"{timing_score(found):7.3f}  {shown}"


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
        "parts": parts(found),
        "timing_score": timing_score(found),
        "metrics": {name: asdict(rate) for name, rate in found.items()},
    }


def _further(result: Result, found: Mapping[str, Rate]) -> dict[str, Any]:
    """A run beside the model's. It has no `score`, which would be one of other parts."""
    summary = {key: value for key, value in _summary(found).items() if key != "score"}
    return {"shared_score": shared_score(result, found), **summary}


def _as_dicts(table: Mapping[str, Mapping[str, Rate]]) -> dict[str, Any]:
    return {row: {name: asdict(rate) for name, rate in of.items()} for row, of in table.items()}


def as_json(result: Result) -> dict[str, Any]:
    """The result as it is written with --json. All rates are shares, from 0 to 1.

    score is of `parts`; shared_score of `shared_parts`, which the runs in `others` have as well.
    """
    written = [t for t in result.transcripts if not t.scenario.variant]
    varied = [t for t in result.transcripts if t.scenario.variant]
    return {
        **_summary(result.rates),
        "shared_score": shared_score(result, result.rates),
        "shared_parts": shared_parts(result),
        "flow": dict(result.flow),
        "families": _as_dicts(result.families),
        "real": _as_dicts(result.corpora),
        "variants": [asdict(change) for change in result.variants],
        "others": {name: _further(result, found) for name, found in result.others.items()},
        "controls": {name: _summary(found) for name, found in result.controls.items()},
        "slices": [row for t in written for row in _slices(t)],
        "variant_slices": [row for t in varied for row in _slices(t)],
    }

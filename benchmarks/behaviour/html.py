"""The result as one page without outside requests: bars, where the model takes over, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.behaviour.families import FATES
from benchmarks.behaviour.judge import is_takeover
from benchmarks.behaviour.outcome import slice_passes
from benchmarks.behaviour.scenario import Expect
from benchmarks.behaviour.score import LESS_IS_BETTER, Rate, score, timing_score
from benchmarks.behaviour.table import MEANING, TARGET, Result, shared_parts, shared_score
from benchmarks.behaviour.transcript import Transcript

__all__ = ["page", "takeover_places"]

MAX_FAILURES_PER_FAMILY = 25
_STYLE = """
:root { color-scheme: light dark; --model: #2563a8; --control: #99a3ad; --bad: #c2410c; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .6rem; text-align: left; vertical-align: top }
td.n, th.n { text-align: right } .miss { color: var(--bad) } .note { opacity: .7 }
svg text { font: 12px system-ui, sans-serif; fill: currentColor }
details { margin: .3rem 0 } summary { cursor: pointer } .silent { opacity: .45 }
tr.fail td { background: color-mix(in srgb, var(--bad) 14%, transparent) }
"""
_PLACES = (
    "in the first slice",
    "later in the request",
    "in a pause",
    "as it ends",
    "one slice later",
    "two or more later",
    "never",
)


def page(result: Result, footer: str) -> str:
    """The whole report as HTML."""
    body = [
        "<h1>Behaviour of a duplex model</h1>",
        f"<p>SCORE <b>{score(result.rates):.3f}</b>, the harmonic mean of the parts. "
        f"<span class=note>{escape(footer)}</span></p>",
        "<h2>Metrics</h2>",
        *_metrics(result.rates),
        "<h2>By family</h2>",
        *_grouped("family", result.families),
        *_real(result),
        "<h2>Takeovers and answers, beside policies that know no language</h2>",
        *_bars(result),
        *_scores(result),
        "<h2>Where in a request the model takes over</h2>",
        *_places(result.transcripts),
        "<h2>Transcripts of failures</h2>",
        *_failures(result.transcripts),
    ]
    head = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Behaviour</title><style>{_STYLE}"
    )
    return f"{head}</style>" + "\n".join(body) + "</html>\n"


def _metrics(found: Mapping[str, Rate]) -> Iterator[str]:
    yield "<table><tr><th>metric<th class=n>value %<th class=n>n<th>95 % interval<th>target<th>"
    for name, rate in found.items():
        if rate.value is None:
            continue
        is_met = (
            rate.value <= TARGET[name] if name in LESS_IS_BETTER else rate.value >= TARGET[name]
        )
        value, low, high = rate.percent
        sign = "≤" if name in LESS_IS_BETTER else "≥"
        yield (
            f"<tr{'' if is_met else ' class=miss'}><td>{name}<td class=n>{value:.2f}"
            f"<td class=n>{rate.n}<td>{low:.1f} – {high:.1f}"
            f"<td>{sign} {100 * TARGET[name]:g}<td>{escape(MEANING[name])}"
        )
    yield "</table>"


def _bars(result: Result) -> Iterator[str]:
    """One block a metric: the model's bar with its interval, the controls' below it."""
    rows = [("model", result.rates), *result.controls.items()]
    for metric in ("HOLD-TOR", "PAUSE-TOR", "GO@0", "GO@1", "QUIET"):
        better = "less" if metric in LESS_IS_BETTER else "more"
        height = 22 * len(rows)
        yield f"<p><b>{metric}</b> <span class=note>{better} is better</span><br>"
        yield f'<svg width="640" height="{height}" role="img" aria-label="{metric}">'
        for row, (name, found) in enumerate(rows):
            yield _bar(name, found[metric], 22 * row)
        yield "</svg>"


def _scores(result: Result) -> Iterator[str]:
    """SCORE, and where there are further runs, the one they can be compared by."""
    runs = {"model": result.rates, **result.others, **result.controls}
    shared = "<th class=n>of shared parts" if result.others else ""
    yield f"<table><tr><th><th class=n>SCORE{shared}<th class=n>timing alone"
    for name, found in runs.items():
        cells = ["–" if name in result.others else f"{score(found):.3f}"]
        if result.others:
            is_control = name in result.controls
            cells.append("–" if is_control else f"{shared_score(result, found):.3f}")
        cells.append(f"{timing_score(found):.3f}")
        yield f"<tr><td>{escape(name)}" + "".join(f"<td class=n>{cell}" for cell in cells)
    yield "</table>"
    if result.others:
        yield f"<p class=note>Shared parts: {', '.join(shared_parts(result))}.</p>"


def _grouped(head: str, table: Mapping[str, Mapping[str, Rate]]) -> Iterator[str]:
    """One row a group, with value, number of trials and interval of each of its rates."""
    names = next(iter(table.values()), {})
    heads = "".join(f"<th class=n>{escape(name)} %<th class=n>n<th>95 % interval" for name in names)
    yield f"<table><tr><th>{head}{heads}"
    for group, rates in table.items():
        yield f"<tr><td>{escape(group)}" + "".join(_rate_cells(rates[name]) for name in names)
    yield "</table>"


def _rate_cells(rate: Rate) -> str:
    if rate.value is None:
        return "<td class=n>–<td class=n>0<td>"
    value, low, high = rate.percent
    return f"<td class=n>{value:.1f}<td class=n>{rate.n}<td>{low:.1f} – {high:.1f}"


def _real(result: Result) -> Iterator[str]:
    if result.corpora:
        yield "<h2>Real utterances</h2>"
        yield from _grouped("corpus", result.corpora)
        meanings = "; ".join(f"{name}: {meaning}" for name, meaning in FATES.items())
        yield f"<p class=note>{escape(meanings)}.</p>"


def _bar(name: str, rate: Rate, y: int) -> str:
    text = f'<text x="0" y="{y + 14}">{escape(name)}</text>'
    if rate.value is None:
        return text
    left, width = 200, 3.6
    value, low, high = rate.percent
    colour = "var(--model)" if name == "model" else "var(--control)"
    low, high = left + width * low, left + width * high
    return (
        f'{text}<rect x="{left}" y="{y + 3}" width="{width * value:.1f}" height="13" '
        f'fill="{colour}"/><path d="M{low:.1f} {y + 9.5}H{high:.1f}M{low:.1f} {y + 5}v9'
        f'M{high:.1f} {y + 5}v9" stroke="currentColor" fill="none"/>'
        f'<text x="{left + 100 * width + 12:.0f}" y="{y + 14}">{value:.1f} %</text>'
    )


def takeover_places(transcripts: Sequence[Transcript]) -> Counter[str]:
    """For every request of more than one slice that began in silence: where it was taken over."""
    places: Counter[str] = Counter()
    for t in transcripts:
        for go, part in enumerate(t.slices):
            start = go
            while start > 0 and t.slices[start - 1].expect is Expect.HOLD:
                start -= 1
            is_open = start == 0 or not t.replies[start - 1].text
            if part.expect is Expect.GO and start < go and is_open and t.slices[start].user:
                places[_place(t, start, go)] += 1
    return places


def _place(t: Transcript, start: int, go: int) -> str:
    for at in range(start, len(t.slices)):
        if at > go and t.slices[at].user:
            break
        if is_takeover(t.replies[at].text):
            if at < go and t.slices[at].is_silent:
                return _PLACES[2]
            if at < go:
                return _PLACES[0] if at == start else _PLACES[1]
            return _PLACES[3 + min(at - go, 2)]
    return _PLACES[6]


def _places(transcripts: Sequence[Transcript]) -> Iterator[str]:
    written = [t for t in transcripts if not t.scenario.variant]
    places = takeover_places(written)
    total = max(1, sum(places.values()))
    yield f'<svg width="640" height="{22 * len(_PLACES)}" role="img" aria-label="places">'
    for row, place in enumerate(_PLACES):
        share = places[place] / total
        yield _bar(place, Rate(share, total, share, share), 22 * row)
    yield f"</svg><p class=note>{total} requests of two slices or more.</p>"


def _failures(transcripts: Sequence[Transcript]) -> Iterator[str]:
    """Families first, in each the scenarios with a slice that is not as expected."""
    failing: dict[str, list[tuple[Transcript, set[int]]]] = {}
    totals: Counter[str] = Counter()
    for t in transcripts:
        if t.scenario.variant:
            continue
        totals[t.scenario.family] += 1
        bad = {at for at in range(len(t.slices)) if slice_passes(t, at) is False}
        if bad:
            failing.setdefault(t.scenario.family, []).append((t, bad))
    if not failing:
        yield "<p>None.</p>"
    for family, found in failing.items():
        shown = found[:MAX_FAILURES_PER_FAMILY]
        yield f"<h3>{escape(family)}: {len(found)} of {totals[family]}</h3>"
        for t, bad in shown:
            yield from _transcript(t, bad)
        if len(found) > len(shown):
            yield f"<p class=note>{len(found) - len(shown)} more are in the JSON.</p>"


def _transcript(t: Transcript, bad: set[int]) -> Iterator[str]:
    yield f"<details><summary>{escape(t.scenario.id)}</summary><table>"
    yield "<tr><th>user<th>model<th>expected"
    for at, (part, reply) in enumerate(zip(t.slices, t.replies, strict=True)):
        user = escape(part.user) or "<span class=silent>silent</span>"
        text = escape(reply.text) or "<span class=silent>idle</span>"
        wanted = [f"{escape(p.pattern)}" for p in part.must]
        wanted += [f"not {escape(p.pattern)}" for p in part.must_not]
        expected = f"{part.expect.value} {'; '.join(wanted)}"
        yield f"<tr{' class=fail' if at in bad else ''}><td>{user}<td>{text}<td>{expected}"
    yield "</table></details>"

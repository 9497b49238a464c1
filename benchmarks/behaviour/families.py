"""Rates by family, and what becomes of real utterances, by corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.behaviour.judge import is_takeover
from benchmarks.behaviour.metrics import answer, go_at_1, hold
from benchmarks.behaviour.outcome import is_answered
from benchmarks.behaviour.real import CORPORA, corpus_of
from benchmarks.behaviour.scenario import Expect, Scenario
from benchmarks.behaviour.score import Rate, rate_of
from benchmarks.behaviour.transcript import Transcript

__all__ = ["FATES", "by_corpus", "by_family", "fate"]

# What becomes of a real utterance. Their shares add up to 1; the first is GO@1.
FATES = {
    "answered": "in the slice the request ends, or the next (GO@1)",
    "answered early": "where the request might have ended, but did not; silent at its end",
    "cut in": "taken over only where it could not have ended; silent at its end",
    "mute": "never answered",
}


def fate(transcript: Transcript) -> str:
    """Which of FATES befell the first complete request of `transcript`."""
    go = next(at for at, part in enumerate(transcript.slices) if part.expect is Expect.GO)
    if is_answered(transcript, go, 1):
        return "answered"
    before = zip(transcript.slices[:go], transcript.replies[:go], strict=True)
    taken = [part.expect for part, reply in before if is_takeover(reply.text)]
    if Expect.FREE in taken:
        return "answered early"
    return "cut in" if taken else "mute"


def _grouped(
    transcripts: Sequence[Transcript], key: Callable[[Scenario], str]
) -> Mapping[str, list[Transcript]]:
    """Transcripts of scenarios as written, by `key`; those with an empty one are left out."""
    groups: dict[str, list[Transcript]] = {}
    for t in transcripts:
        if not t.scenario.variant and key(t.scenario):
            groups.setdefault(key(t.scenario), []).append(t)
    return groups


def by_family(transcripts: Sequence[Transcript]) -> dict[str, dict[str, Rate]]:
    """GO@1 and ANSWER of every family."""
    trials = {"GO@1": go_at_1, "ANSWER": answer}
    return {
        family: {name: rate_of(x for t in found for x in of(t)) for name, of in trials.items()}
        for family, found in _grouped(transcripts, lambda scenario: scenario.family).items()
    }


def by_corpus(transcripts: Sequence[Transcript]) -> dict[str, dict[str, Rate]]:
    """FATES and HOLD-TOR of the real utterances, by corpus; empty when none were played."""
    groups = _grouped(transcripts, corpus_of)
    found = {}
    for corpus in filter(groups.get, CORPORA):
        fates = [fate(t) for t in groups[corpus]]
        shares = {name: rate_of(one == name for one in fates) for name in FATES}
        taken = rate_of(trial for t in groups[corpus] for trial in hold(t))
        found[corpus] = {**shares, "HOLD-TOR": taken}
    return found

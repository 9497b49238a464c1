"""What is counted. Each metric is a function from one transcript to its trials.

A trial is True when the thing the metric counts happened (a takeover, an answer, a leak).
Metrics look at the structure of a scenario, not at the name of its family, but for one: CORR
counts only in families with "correct" in their name (`self-correction`). A request that corrects
itself looks like any other, so a file of your own must name its family so to have CORR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.behaviour.flow import flow
from benchmarks.behaviour.judge import (
    carries_on,
    is_idle,
    is_restart,
    is_takeover,
    takes_up_old,
    words,
)
from benchmarks.behaviour.outcome import is_answered, is_right, is_silent_enough, is_stopped
from benchmarks.behaviour.scenario import Expect
from benchmarks.behaviour.transcript import Transcript

__all__ = ["METRICS", "Metric", "Trials"]

Trials = Callable[[Transcript], Iterator[bool]]
N_QUIET = 5
# What BC-CONT's second half is about: two words or fewer that ask for the floor.
_CUT_IN = frozenset("wait no stop hold on hang hey actually sec second moment nope".split())
MAX_CUT_IN_WORDS = 3


@dataclass(frozen=True)
class Metric:
    """less_is_better: the rate counts something bad. target: what is better than published."""

    name: str
    trials: Trials
    target: float
    meaning: str
    less_is_better: bool = False


def _gos(transcript: Transcript) -> list[int]:
    return [at for at, part in enumerate(transcript.slices) if part.expect is Expect.GO]


def _is_said_again(transcript: Transcript, at: int) -> bool:
    """After the request of slice `at` an earlier answer is to be resumed (a side question)."""
    for part in transcript.slices[at + 1 :]:
        if part.expect is Expect.GO:
            return False
        if part.expect is Expect.CONT and part.must:
            return any(go < at for go in _gos(transcript))
    return False


def hold(transcript: Transcript) -> Iterator[bool]:
    """One trial per scenario that has `hold` slices with words: was any of them taken over?"""
    taken = [
        is_takeover(reply.text)
        for part, reply in zip(transcript.slices, transcript.replies, strict=True)
        if part.expect is Expect.HOLD and not part.is_silent
    ]
    if taken:
        yield any(taken)


def pause(transcript: Transcript) -> Iterator[bool]:
    """One trial per silent `hold` slice. A reply begun earlier that runs into it counts, too."""
    for part, reply in zip(transcript.slices, transcript.replies, strict=True):
        if part.expect is Expect.HOLD and part.is_silent:
            yield is_takeover(reply.text)


def go_at_0(transcript: Transcript) -> Iterator[bool]:
    """One trial per `go` slice: answered in that slice."""
    for at in _gos(transcript):
        yield is_answered(transcript, at, 0)


def go_at_1(transcript: Transcript) -> Iterator[bool]:
    """One trial per `go` slice: answered in that slice or the next."""
    for at in _gos(transcript):
        yield is_answered(transcript, at, 1)


def answer(transcript: Transcript) -> Iterator[bool]:
    """One trial per `go` slice with `must` or `must_not`. Silence is never right, so a slice
    with `must_not` alone needs a takeover in its window as well."""
    for at in _gos(transcript):
        part = transcript.slices[at]
        if part.must or part.must_not:
            yield is_right(transcript, at) and is_takeover(transcript.window(at))


def _interruptions(transcript: Transcript) -> Iterator[int]:
    """Slices in which the user broke into an answer to say something of their own.

    The later slices of one request are no interruptions: what is said over them is a takeover.
    """
    for at, part in enumerate(transcript.slices):
        is_own = part.expect in (Expect.HOLD, Expect.GO, Expect.STOP)
        is_first = at > 0 and transcript.slices[at - 1].expect is not Expect.HOLD
        if part.user and is_own and is_first and transcript.is_speaking_before(at):
            yield at


def _yields(transcript: Transcript, at: int) -> bool:
    """No old content from slice `at` until the user's next complete request is answered.

    Before that request, whatever is said counts as old: no speech is due. In the answer to it,
    old content is what `must_not` names, or the rest of the sentence that was cut.
    """
    old = transcript.answer_before(at)
    for i in range(at, len(transcript.slices)):
        part, reply = transcript.slices[i], transcript.replies[i]
        if part.expect is Expect.GO:
            return not (transcript.has_forbidden(i) or takes_up_old(old, reply.text))
        if part.expect in (Expect.CONT, Expect.FREE):
            return True
        if not is_silent_enough(transcript, i):
            return False
    return True


def yielding(transcript: Transcript) -> Iterator[bool]:
    """One trial per interruption.

    Left out are those after which old content may come: a side question (BACK judges it), and a
    request that forbids nothing, such as "shorter, please".
    """
    for at in _interruptions(transcript):
        go = _next_go(transcript, at)
        if go is not None and _is_said_again(transcript, go):
            continue
        if go != at or transcript.slices[at].must_not:
            yield _yields(transcript, at)


def _next_go(transcript: Transcript, at: int) -> int | None:
    return next((go for go in _gos(transcript) if go >= at), None)


def _request_start(transcript: Transcript, go: int) -> int:
    """Where the request that is complete in slice `go` began: after the last slice that was
    not `hold`."""
    start = go
    while start > 0 and transcript.slices[start - 1].expect is Expect.HOLD:
        start -= 1
    return start


def _broke_in(transcript: Transcript, go: int) -> bool:
    """The request of slice `go` began while the model was speaking."""
    start = _request_start(transcript, go)
    return bool(transcript.slices[start].user) and transcript.is_speaking_before(start)


def repair(transcript: Transcript) -> Iterator[bool]:
    """One trial per new request that broke into an answer, side questions left to BACK.

    Answered within a slice, every `must` found, no `must_not` found.
    """
    for at in _gos(transcript):
        if _broke_in(transcript, at) and not _is_said_again(transcript, at):
            yield is_answered(transcript, at, 1) and is_right(transcript, at)


def quiet(transcript: Transcript) -> Iterator[bool]:
    """One trial per `stop` slice with five silent slices after it: all idle but for an
    acknowledgement in the first."""
    for at, part in enumerate(transcript.slices):
        following = transcript.slices[at + 1 : at + 1 + N_QUIET]
        if part.expect is not Expect.STOP or len(following) < N_QUIET:
            continue
        if all(later.is_silent and later.expect is Expect.QUIET for later in following):
            replies = transcript.replies[at + 1 : at + 1 + N_QUIET]
            yield is_stopped(transcript, at) and all(is_idle(reply.text) for reply in replies)


def bc_cont(transcript: Transcript) -> Iterator[bool]:
    """One trial per `cont` slice with words, said while the model was speaking: it carries on.

    An answer that happens to end just there counts as given up: from text alone the two cannot
    be told apart, so scenarios put the noise early into a long answer.
    """
    for at, part in enumerate(transcript.slices):
        if part.expect is Expect.CONT and part.user and transcript.is_speaking_before(at):
            old = transcript.answer_before(at)
            yield carries_on(old, part.user, transcript.replies[at].text)


def bc_yield(transcript: Transcript) -> Iterator[bool]:
    """One trial per bare "wait", "no", "stop" while the model was speaking: it falls silent in
    that slice and stays silent until the user speaks again."""
    for at in _interruptions(transcript):
        said = words(transcript.slices[at].user)
        is_bare = len(said) <= MAX_CUT_IN_WORDS and bool(_CUT_IN & set(said))
        if not is_bare or transcript.slices[at].expect is Expect.GO:
            continue
        last = at
        while last + 1 < len(transcript.slices) and transcript.slices[last + 1].is_silent:
            last += 1
        yield all(is_silent_enough(transcript, i) for i in range(at, last + 1))


def back(transcript: Transcript) -> Iterator[bool]:
    """One trial per side question after which a `cont` slice with `must` wants the old answer.

    The side question is answered within a slice and rightly, the old topic comes back, and the
    old answer does not begin anew.
    """
    for at in _gos(transcript):
        if not _is_said_again(transcript, at) or not _broke_in(transcript, at):
            continue
        resumed = next(i for i, part in enumerate(transcript.slices)
                       if i > at and part.expect is Expect.CONT and part.must)  # fmt: skip
        is_resumed = is_right(transcript, resumed)
        old = transcript.answer_before(_request_start(transcript, at))
        restarts = any(is_restart(old, transcript.window(i)) for i in (at, resumed))
        is_side_right = is_answered(transcript, at, 1) and is_right(transcript, at)
        yield is_side_right and is_resumed and not restarts


def correction(transcript: Transcript) -> Iterator[bool]:
    """One trial per `go` slice with `must` in a family whose name has "correct" in it.

    Answered within a slice, with the new value, without the retracted one.
    """
    if "correct" in transcript.scenario.family:
        for at in _gos(transcript):
            if transcript.slices[at].must:
                yield is_answered(transcript, at, 1) and is_right(transcript, at)


def leak(transcript: Transcript) -> Iterator[bool]:
    """One trial per answered `go` slice with `must_not` after an earlier request: a leak.

    Requests that were met with silence are left out, else silence would be praised.
    """
    for at in _gos(transcript)[1:]:
        if transcript.slices[at].must_not and is_takeover(transcript.window(at)):
            yield transcript.has_forbidden(at)


# In the order of the table. ROBUST compares transcripts and stands in robust.py.
METRICS = (
    Metric("HOLD-TOR", hold, 0.03, "takeovers while the user is mid-request, by scenario", True),
    Metric("PAUSE-TOR", pause, 0.08, "takeovers in a pause inside a request", True),
    Metric("GO@0", go_at_0, 0.95, "answered in the slice the request ends"),
    Metric("GO@1", go_at_1, 0.995, "answered in that slice or the next"),
    Metric("ANSWER", answer, 0.90, "the answer says what it must, not what it must not"),
    Metric("YIELD", yielding, 0.99, "no old content after an interruption"),
    Metric("REPAIR", repair, 0.90, "a new request that broke in is answered, the old topic gone"),
    Metric("QUIET", quiet, 0.98, "after a stop: acknowledged at most, then five slices idle"),
    Metric("BC-CONT", bc_cont, 0.97, 'carries on through "uh-huh"'),
    Metric("BC-YIELD", bc_yield, 0.97, 'falls silent at "wait", "no", "stop"'),
    Metric("BACK", back, 0.90, "a side question answered, the first answer resumed"),
    Metric("CORR", correction, 0.85, "corrected inside the request: the new value is used"),
    Metric("LEAK", leak, 0.03, "the old topic's words after a change of topic", True),
    Metric("FLOW", flow, 0.001, "defects per border of two slices of one answer", True),
)

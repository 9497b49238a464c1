"""What a small evaluation plays: conversations of every family, each judging itself.

Each family is a generator: it yields what the user says in a slice (None: nothing), gets the
reply, and returns the checks it made, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

from train.answers import REFUSALS, TOO_BIG, Request
from train.playing import Checks, Talk
from train.requests import Speaker
from train.speech import Speech
from train.utterance import slices, typed_badly

__all__ = ["families"]

MOST_SLICES = 40


def hear_out(so_far: str = "") -> Generator[str | None, str, str]:
    """Stay silent until the model has nothing more to say."""
    for _ in range(MOST_SLICES):
        reply = yield None
        if not reply:
            break
        so_far += reply
    return so_far


def right(said: str, request: Request) -> bool:
    """The answer is the one expected, to the letter; any refusal will do for a refusal."""
    expected = request.answer.text
    if expected in REFUSALS or expected == TOO_BIG:
        return said in (*REFUSALS, TOO_BIG)
    return said == expected


def say(request: Request, speaker: Speaker, checks: Checks, mode: str | None = None, pause=False):
    """The user says the request; returns the reply in the slice that completes it, or may do."""
    pieces = slices(request.said, speaker.rng, mode)
    while any(piece.forced for piece in pieces):
        pieces = slices(request.said, speaker.rng, "spoken")
    took = paused = False
    for piece in pieces:
        reply = yield piece.text
        if piece.complete or (reply and not piece.sure):
            return reply
        if piece.sure:
            took |= bool(reply)
            checks["HOLD"] = [not took]
        if pause and not reply:
            paused |= bool((yield None))
            checks["PAUSE"] = [not paused]
    return ""


def asked(make: Callable[[Speaker], Request], name: str, mode: str | None = None, pause=False):
    def family(speaker: Speaker) -> Talk:
        checks: Checks = {}
        request = make(speaker)
        reply = yield from say(request, speaker, checks, mode, pause)
        checks["GO@0"] = [bool(reply)]
        if not reply:
            reply = yield None
        checks["GO@1"] = [bool(reply)]
        said = (yield from hear_out(reply)) if reply else ""
        checks[name] = [right(said, request)]
        if reply:
            checks["END"] = [not (yield None)]
        return checks

    return family


def speaking(speaker: Speaker, n_slices: int) -> Generator[str | None, str, tuple[Speech, str]]:
    """An answer under way: what it is, and what was said of it."""
    request = speaker.about()
    request.said.words = request.said.words[: request.said.done]
    checks: Checks = {}
    said = yield from say(request, speaker, checks)
    for _ in range(n_slices - 1):
        said += yield None
    return request.answer, said


def interrupted(act: Callable) -> Callable[[Speaker], Talk]:
    """Only answers that are going right, with something left, are interrupted."""

    def family(speaker: Speaker) -> Talk:
        speech, said = yield from speaking(speaker, speaker.rng.randint(1, 3))
        if not said or not speech.text.startswith(said) or len(speech.text) - len(said) < 30:
            return {}
        return (yield from act(speaker, speech, said))

    return family


def whole(speaker: Speaker, section: str) -> str:
    return slices(speaker.phrase(section), speaker.rng, "whole")[0].text


def stop(speaker: Speaker, speech: Speech, said: str) -> Talk:
    reply = yield whole(speaker, "stop")
    quiet = len(reply.split()) <= 3
    for _ in range(5):
        quiet &= not (yield None)
    checks = {"STOP": [quiet]}
    if quiet:
        rest = yield whole(speaker, "go_on")
        rest = yield from hear_out(rest)
        checks["GO ON"] = [said + rest == speech.text]
    return checks


def wait(speaker: Speaker, speech: Speech, said: str) -> Talk:
    reply = yield whole(speaker, "wait")
    return {"YIELD": [len(reply.split()) <= 3 and not (yield None)]}


def backchannel(speaker: Speaker, speech: Speech, said: str) -> Talk:
    reply = yield whole(speaker, "backchannel")
    rest = yield from hear_out(reply)
    return {"BC": [bool(reply)], "BC exact": [said + rest == speech.text]}


def side(speaker: Speaker, speech: Speech, said: str) -> Talk:
    rng = speaker.rng
    topic = speech.about
    intro = rng.choice(speaker.wording["side"])
    if rng.random() < 0.5 and topic.facts:
        request = speaker.fact(topic, rng.choice(list(topic.facts)), topic.pronoun, intro)
    else:
        request = speaker.sum(intro)
    checks: Checks = {}
    reply = yield from say(request, speaker, checks)
    reply = yield from hear_out(reply)
    rest = speech.said(len(said)).after(request.answer.text, topic.name).text
    back = f"Back to {topic.name}:"
    return {
        "SIDE": [reply.startswith(request.answer.text)],
        "BACK": [back in reply and reply.endswith(speech.text[-20:])],
        "BACK exact": [reply == rest],
    }


def meant(speaker: Speaker, speech: Speech, said: str) -> Talk:
    topic = speaker.rng.choice([t for t in speaker.topics if t.noun not in ("task", "story")])
    name, _ = speaker.mention(topic)
    marker = speaker.rng.choice(speaker.wording["meant"])
    request = speaker.about(topic)
    request.said = speaker.build([(marker, "o"), (name, "x")])
    reply = yield from say(request, speaker, {})
    reply = yield from hear_out(reply)
    return {"MEANT": [right(reply, request)]}


def reset(speaker: Speaker, speech: Speech, said: str) -> Talk:
    topic = speaker.rng.choice([t for t in speaker.topics if t is not speech.about])
    request = speaker.about(topic)
    reply = yield from say(request, speaker, {})
    reply = yield from hear_out(reply)
    return {"RESET": [right(reply, request)]}


def shorter(speaker: Speaker, speech: Speech, said: str) -> Talk:
    reply = yield whole(speaker, "shorter")
    reply = yield from hear_out(reply)
    return {"SHORTER": [reply == speech.about.short()]}


def repeat(speaker: Speaker, speech: Speech, said: str) -> Talk:
    reply = yield whole(speaker, "repeat")
    reply = yield from hear_out(reply)
    return {"REPEAT": [reply == speech.text]}


def abandoned(speaker: Speaker) -> Talk:
    reply = yield whole(speaker, "abandon").rstrip("?.!,")
    silent = not reply
    for _ in range(3):
        silent &= not (yield None)
    return {"ABANDON": [silent]}


def some_fact(speaker: Speaker) -> Request:
    topic = speaker.rng.choice([t for t in speaker.topics if t.facts])
    return speaker.fact(topic, speaker.rng.choice(list(topic.facts)))


def some_social(speaker: Speaker) -> Request:
    names = "greeting how_are_you who_are_you who_made_you what_can_you_do thanks goodbye joke"
    return speaker.social(speaker.rng.choice(names.split()))


def mistyped(speaker: Speaker) -> Request:
    request = some_fact(speaker) if speaker.rng.random() < 0.5 else speaker.about()
    return replace(request, said=typed_badly(request.said, speaker.rng))


def and_another(speaker: Speaker) -> Talk:
    """A fact about one topic, then "and X" for the same about another."""
    rng = speaker.rng
    known = [(t, key) for t in speaker.topics if t.noun != "task" for key in t.facts]
    pairs = [
        (one, key, other)
        for one, key in rng.sample(known, 20)
        for other in speaker.topics
        if other.kind == one.kind and other is not one and key in other.facts
    ]
    one, key, other = rng.choice(pairs)
    first = speaker.fact(one, key)
    reply = yield from say(first, speaker, {}, "whole")
    reply = yield from hear_out(reply)
    if not right(reply, first):
        return {}
    then = speaker.fact(other, key)
    name, _ = speaker.mention(then.answer.about)
    then.said = speaker.build([(rng.choice(speaker.wording["and_what"]), "c"), (name, "x")], True)
    reply = yield from say(then, speaker, {}, "whole")
    reply = yield from hear_out(reply)
    return {"AND": [right(reply, then)]}


def families(real: list[Request]) -> dict[str, tuple[Callable[[Speaker], Talk], int]]:
    """Each family and its share of the conversations."""
    found = {
        "describe": (asked(lambda s: s.about(), "DESCRIBE"), 4),
        "describe, with pauses": (asked(lambda s: s.about(), "DESCRIBE", "typed", True), 3),
        "one fact": (asked(some_fact, "FACT", None, True), 5),
        "sum": (asked(lambda s: s.sum(), "SUM"), 2),
        "count": (asked(lambda s: s.rng.choice((s.count, s.countdown))(), "COUNT"), 1),
        "examples": (asked(lambda s: s.examples(), "EXAMPLES"), 1),
        "typed badly": (asked(mistyped, "TYPOS"), 2),
        "and another": (and_another, 2),
        "social": (asked(some_social, "SOCIAL", "whole"), 2),
        "stranger": (asked(lambda s: s.stranger(), "OOD"), 3),
        "no fact": (asked(lambda s: s.unanswerable(s.rng.choice(s.topics)), "OOD fact"), 2),
        "correction": (asked(lambda s: s.corrected(), "CORR"), 3),
        "stop": (interrupted(stop), 3),
        "wait": (interrupted(wait), 2),
        "backchannel": (interrupted(backchannel), 3),
        "side question": (interrupted(side), 4),
        "meant": (interrupted(meant), 2),
        "reset": (interrupted(reset), 2),
        "shorter": (interrupted(shorter), 1),
        "repeat": (interrupted(repeat), 1),
        "abandoned": (abandoned, 1),
    }
    if real:
        found["real people"] = (asked(lambda s: s.rng.choice(real), "REAL", None, True), 5)
    return found

"""Writes the scenario files: hand-written wording, combined with topics by a seeded draw.

    python -m benchmarks.behaviour.generate [FOLDER]

The files are committed, not made at run time: scores of different days are then scores of the
same scenarios, a change shows up as a diff, and every scenario can be read and disputed.
A test checks that the files are what this program writes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.behaviour import wording
from benchmarks.behaviour.facts import HOWTOS, QUESTIONS, SIDES, STORIES, TOPICS, Topic

__all__ = ["FOLDER", "files"]

FOLDER = Path(__file__).parent.parent / "scenarios"
SEED = 20261122
REFUSAL = (
    r"don.t|do not|doesn.t|can.t|cannot|could not|couldn.t|not able|unable|no idea|not sure|"
    r"sorry|afraid|beyond|only know|not know"
)
SOCIAL = r"\w{2}"  # any word will do: there are a hundred ways to greet

SMALL_TALK = wording.GREETINGS + wording.IDENTITY + wording.BYE

Raw = dict[str, Any]


def silent(expect: str, n: int = 1) -> list[Raw]:
    return [{"user": "", "expect": expect} for _ in range(n)]


def request(text: str, must: str = "", must_not: str = "", within: int | None = None) -> list[Raw]:
    """A request cut at its `|`: `hold` until the last slice, which is `go`."""
    *early, last = (piece.strip() for piece in text.split("|"))
    go: Raw = {"user": last, "expect": "go"}
    if must:
        go["must"] = [must]
    if must_not:
        go["must_not"] = [must_not]
    if within is not None:
        go["within"] = within
    return [*({"user": piece, "expect": "hold"} for piece in early), go]


def apart(a: Topic, b: Topic) -> bool:
    """No right answer about one names the other: pandas eat bamboo, Galileo saw Jupiter's moons."""
    names = re.search(a.key, b.more, re.I) or re.search(b.key, a.more, re.I)
    return a is not b and not names


class _Draw:
    """Seeded choices; `each` goes through a list without repeating until it is used up."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)
        self._piles: dict[int, list[Any]] = {}

    def each(self, values: Sequence[Any]) -> Any:
        pile = self._piles.setdefault(id(values), [])
        if not pile:
            pile += self.rng.sample(list(values), len(values))
        return pile.pop()

    def about(self, topic: Topic) -> list[Raw]:
        return request(self.each(wording.ABOUT).format(t=topic.name), topic.key)

    def long_request(self) -> list[Raw]:
        """A request whose answer takes many slices."""
        kind = self.rng.random()
        if kind < 0.2:
            name, key = self.each(HOWTOS)
            return request(self.each(wording.HOW).format(t=name), key)
        if kind < 0.45:
            name, key = self.each(STORIES)
            return request(self.each(wording.STORY).format(t=name), key)
        return self.about(self.each(TOPICS))

    def question(self) -> list[Raw]:
        text, must = self.each(QUESTIONS).split(" / ")
        return request(text, must)

    def pair(self) -> tuple[Topic, Topic]:
        """Two topics of one kind, the first to be taken back."""
        b = self.each(TOPICS)
        return self.rng.choice([t for t in TOPICS if t.kind == b.kind and apart(t, b)]), b

    def two(self) -> tuple[Topic, Topic]:
        """Two topics of different kinds."""
        a = self.each(TOPICS)
        return a, self.rng.choice([t for t in TOPICS if t.kind != a.kind and apart(t, a)])


# -- families: each returns the slices of one scenario ---------------------------------------


def multi(draw: _Draw) -> list[Raw]:
    if draw.rng.random() < 0.65:
        return [*draw.question(), *silent("free", 2)]
    return [*draw.about(draw.each(TOPICS)), *silent("cont"), *silent("free", 4)]


def pause(draw: _Draw) -> list[Raw]:
    """One to three silent slices inside the request."""
    slices = draw.question() if draw.rng.random() < 0.5 else draw.about(draw.each(TOPICS))
    if len(slices) == 1:  # nowhere to pause
        return pause(draw)
    at = draw.rng.randrange(1, len(slices))
    n_silent = draw.rng.choice((1, 1, 1, 2, 2, 3))
    return [*slices[:at], *silent("hold", n_silent), *slices[at:], *silent("free", 4)]


def correction(draw: _Draw) -> list[Raw]:
    a, b = draw.pair()
    text = draw.each(wording.CORRECTIONS).format(a=a.name, b=b.name)
    return [*request(text, b.key, a.key), *silent("free", 5)]


def stop(draw: _Draw) -> list[Raw]:
    spoken = silent("cont", draw.rng.randrange(0, 3))
    end = {"user": draw.each(wording.STOPS), "expect": "stop"}
    return [*draw.long_request(), *spoken, end, *silent("quiet", 6)]


def regenerate(draw: _Draw) -> list[Raw]:
    a, b = draw.pair()
    start = [*draw.about(a), *silent("cont", draw.rng.randrange(0, 2))]
    if draw.rng.random() < 0.3:
        return [*start, *request(draw.each(wording.SHORTER), a.key), *silent("free", 3)]
    text = draw.each(wording.MEANT).format(a=a.name, b=b.name)
    return [*start, *request(text, b.key, a.key), *silent("free", 5)]


def reset(draw: _Draw) -> list[Raw]:
    a, b = draw.two()
    text = draw.each(wording.RESETS).format(b=b.name)
    start = [*draw.about(a), *silent("cont", draw.rng.randrange(0, 3))]
    return [*start, *request(text, b.key, a.key), *silent("free", 5)]


def back(draw: _Draw) -> list[Raw]:
    """A side question into a long answer; the answer is to be resumed, not begun anew."""
    topic = draw.each(TOPICS)
    text, must = draw.each(SIDES)
    start = [*draw.about(topic), *silent("cont", draw.rng.randrange(0, 2))]
    resumed = {"user": "", "expect": "cont", "must": [f"{topic.key}|{topic.more}"], "within": 6}
    return [*start, *request(text, must, within=2), resumed, *silent("free", 6)]


def backchannel(draw: _Draw) -> list[Raw]:
    def noise() -> Raw:
        return {"user": draw.each(wording.NOISES), "expect": "cont"}

    rest = [*silent("cont"), noise()] if draw.rng.random() < 0.5 else []
    return [*draw.long_request(), noise(), *rest, *silent("free", 2)]


def cut_in(draw: _Draw) -> list[Raw]:
    """A bare "wait": the model falls silent. In half of them a new request follows."""
    said = draw.each(wording.CUT_INS)
    first = {"user": said, "expect": "stop" if said == "stop" else "hold"}
    start = [*draw.long_request(), *silent("cont", draw.rng.randrange(0, 2)), first]
    if said == "stop":
        return [*start, *silent("quiet", 6)]
    if draw.rng.random() < 0.5:
        return [*start, *silent("hold", 3)]
    return [*start, *silent("hold"), *draw.question(), *silent("free", 3)]


def interleaved(draw: _Draw) -> list[Raw]:
    """Two topics in turn; each answer keeps to its own."""
    a, b = draw.two()
    slices = [*draw.about(a), *silent("cont")]
    for now, other in ((b, a), (a, b)):
        text = draw.each(wording.RESETS).format(b=now.name)
        slices += [*request(text, now.key, other.key, within=3), *silent("free", 3)]
    return slices


def finish(draw: _Draw) -> list[Raw]:
    """After the answer has ended: twenty silent slices."""
    return [*draw.question(), *silent("free", 7), *silent("quiet", 20)]


def social(draw: _Draw) -> list[Raw]:
    return [*request(draw.each(SMALL_TALK), SOCIAL), *silent("free", 3)]


def thanks(draw: _Draw) -> list[Raw]:
    start = [*draw.question(), *silent("free", 5)]
    return [*start, *request(draw.each(wording.THANKS), SOCIAL), *silent("free", 2)]


def out_of_domain(draw: _Draw) -> list[Raw]:
    return [*request(draw.each(wording.OUT_OF_DOMAIN), REFUSAL), *silent("free", 5)]


def long_session(draw: _Draw) -> list[Raw]:
    """Half an hour of talk; the first question is asked again at the end."""
    first = draw.question()
    slices = [*first, *silent("free", 5)]
    for _ in range(4):
        slices += [*draw.about(draw.each(TOPICS)), *silent("free", 7)]
        slices += [*draw.question(), *silent("free", 5)]
    return [*slices, *first, *silent("free", 5)]


# file -> families with how many scenarios of each
PLAN: dict[str, dict[str, tuple[Callable[[_Draw], list[Raw]], int]]] = {
    "requests.json": {
        "multi-slice": (multi, 130),
        "pause": (pause, 110),
        "self-correction": (correction, 120),
    },
    "interruptions.json": {
        "stop": (stop, 120),
        "regenerate": (regenerate, 80),
        "reset": (reset, 80),
        "back-on-topic": (back, 130),
        "interleaved": (interleaved, 40),
    },
    "listening.json": {
        "backchannel": (backchannel, 100),
        "cut-in": (cut_in, 120),
        "after-finish": (finish, 25),
    },
    "sessions.json": {
        "social": (social, 25),
        "thanks": (thanks, 12),
        "out-of-domain": (out_of_domain, 36),
        "long-session": (long_session, 10),
    },
}


def _scenarios(family: str, make: Callable[[_Draw], list[Raw]], n: int) -> list[Raw]:
    draw = _Draw(f"{SEED} {family}")
    made: list[Raw] = []
    seen: set[str] = set()
    for _ in range(20 * n):  # a draw that was made before is made anew
        if len(made) == n:
            break
        slices = make(draw)
        said = " | ".join(part["user"] for part in slices)
        if said in seen:
            continue
        seen.add(said)
        number = len(made) + 1
        scenario: Raw = {"id": f"{family}-{number:03}", "family": family, "slices": slices}
        if draw.rng.random() < 0.3:
            scenario["warmup_idle"] = draw.rng.randint(1, 4)
        made.append(scenario)
    return made


def files() -> dict[str, str]:
    """Name and text of every scenario file; one scenario a line."""
    texts = {}
    for name, families in PLAN.items():
        made = [
            raw for family, (make, n) in families.items() for raw in _scenarios(family, make, n)
        ]
        lines = ",\n".join(json.dumps(raw, ensure_ascii=False) for raw in made)
        texts[name] = f'{{"scenarios": [\n{lines}\n]}}\n'
    return texts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.behaviour.generate")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, metavar="FOLDER")
    folder = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, "utf-8")
        print(f"{folder / name}: {text.count('slices')} scenarios")
    return 0


if __name__ == "__main__":
    sys.exit(main())

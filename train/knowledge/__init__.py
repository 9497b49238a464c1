"""What the demo model knows: one text file per field, read into `Topic`s.

    % kind: animal; noun: count; pronoun: they     settings for the topics below, kept until changed
    = Owls | owl                                   subject as answers name it | other names
    Owls are birds that hunt at night.             the opening: its first sentence names the topic
    eats: * eat mice, insects and small birds.     a fact; `*` stands for the topic

`noun` says how people name the topic: `proper` (Mars), `count` (owls, an owl), `the` (the piano,
a piano), `mass` (rice), `task` (boil an egg), `story`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

__all__ = ["Topic", "topics"]

FOLDER = Path(__file__).parent
OBJECT = {"it": "it", "they": "them", "he": "him", "she": "her"}
PROPER_THE = ("The Moon", "The Sun", "The Milky Way", "The Nile", "The Amazon", "The United States")
MAX_SENTENCES = 5


@dataclass(frozen=True)
class Topic:
    """subject: as a sentence begins with it. others: further names users give it."""

    subject: str
    others: tuple[str, ...]
    kind: str
    noun: str
    pronoun: str
    opening: str
    facts: dict[str, str] = field(hash=False)

    @property
    def name(self) -> str:
        """The subject as it stands inside a sentence: `owls`, `the piano`, `Mars`."""
        if self.noun in ("task", "story") or self.noun == "proper":
            keep = self.noun != "story"
        else:
            keep = self.subject.startswith("Mount")
        if keep and not self.subject.startswith("The "):
            return self.subject
        if self.subject in PROPER_THE:
            return "the" + self.subject[3:]
        return self.subject[0].lower() + self.subject[1:]

    @property
    def role(self) -> str:
        """What a person was in one word, by the opening: `composer`."""
        said = re.search(r" was an? (?:[A-Z]\w+ )?(\w+)|(queen)", self.opening)
        return next(filter(None, said.groups())) if said else "person"

    def fact(self, key: str) -> str:
        """The fact as an answer of its own: it names the topic."""
        return self._fill(self.facts[key], self.subject, self.name)

    def about(self) -> str:
        """The whole answer to "tell me about it"."""
        start = self.pronoun[0].upper() + self.pronoun[1:]
        facts = [self._fill(text, start, OBJECT[self.pronoun]) for text in self.facts.values()]
        n_more = MAX_SENTENCES - self.opening.count(".")
        return " ".join([self.opening, *facts[: max(n_more, 0)]])

    def short(self) -> str:
        """The answer to "shorter please"."""
        return "In short: " + self.opening.split(". ")[0].rstrip(".") + "."

    @staticmethod
    def _fill(text: str, start: str, inside: str) -> str:
        head = text.replace("*", start, 1) if text.startswith("*") else text
        return head.replace("*", inside)


def _read(path: Path) -> list[Topic]:
    settings: dict[str, str] = {}
    found: list[Topic] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith("%"):
            pairs = (part.split(":") for part in line[1:].split(";"))
            settings |= {key.strip(): value.strip() for key, value in pairs}
        elif line.startswith("="):
            subject, _, others = line[1:].partition("|")
            names = tuple(name.strip() for name in others.split(",") if name.strip())
            found.append(Topic(subject.strip(), names, opening="", facts={}, **settings))
        elif line and not found[-1].opening:
            object.__setattr__(found[-1], "opening", line)
        elif line:
            key, colon, text = line.partition(": ")
            if not colon or " " in key:
                raise ValueError(f"{path}:{number}: a fact is written `key: sentence`.")
            found[-1].facts[key] = text
    return found


@lru_cache(maxsize=1)
def topics() -> tuple[Topic, ...]:
    """All topics, in the order of the files."""
    return tuple(topic for path in sorted(FOLDER.glob("*.txt")) for topic in _read(path))

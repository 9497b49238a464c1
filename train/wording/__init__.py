"""How people say things: lists of wordings in text files, half of them left out on demand.

    [section]            a section of `frames.txt`, `phrases.txt` or `strangers.txt`
    one way / another    its wordings, lower case, without a final full stop

`questions.txt` has its own form, explained at its top; a line of `quiz.txt` is the subject of a
topic, a colon, and questions it is the answer to. Every second wording of a list is *held
out* when half of them are asked for: training never sees it, the evaluation uses nothing else.
Of a quiz every second predicate is held out, in all its wordings: "which animal has a trunk" and
"name the animal that has a trunk" stand on the same side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["HELD_OUT_EVERY", "Form", "Wording", "load"]

FOLDER = Path(__file__).parent
HELD_OUT_EVERY = 2
SHORT = 4  # a list this short is not split


@dataclass(frozen=True)
class Form:
    """One way to ask for a fact. lead: `?` stands alone, `>` and `=` follow an opener."""

    lead: str
    text: str


@dataclass(frozen=True)
class Wording:
    """The wordings of one side of the split.

    sections: frames, phrases and strangers by name. questions: forms by (kind, fact key).
    quiz: questions whose answer is a topic, by its subject.
    """

    sections: dict[str, tuple[str, ...]]
    questions: dict[tuple[str, str], tuple[Form, ...]]
    quiz: dict[str, tuple[str, ...]]

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self.sections[name]


def _split(items: list, held_out: bool | None) -> tuple:
    if held_out is None or len(items) <= SHORT:
        return tuple(items)
    last = HELD_OUT_EVERY - 1
    return tuple(x for i, x in enumerate(items) if (i % HELD_OUT_EVERY == last) == held_out)


def _sections(name: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line[1:].split(":")[0].rstrip("] "), [])
        elif line and not line.startswith("#"):
            # A lone operator may itself be the separator: "/" is spelt out nowhere.
            current += dict.fromkeys(part.strip() for part in line.split(" / "))
    return sections


def _questions() -> dict[tuple[str, str], list[Form]]:
    questions: dict[tuple[str, str], list[Form]] = {}
    for line in (FOLDER / "questions.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, forms = line.partition(": ")
        key, _, kinds = head.partition("@")
        for kind in kinds.split():
            parts = [part.strip() for part in forms.split(" / ")]
            found = [Form(part[0], part[1:]) for part in parts]
            questions.setdefault((kind, key), []).extend(found)
    return questions


def _quiz() -> dict[str, list[str]]:
    lines = (FOLDER / "quiz.txt").read_text("utf-8").splitlines()
    found = (line.partition(": ") for line in lines if line and not line.startswith("#"))
    return {subject: [part.strip() for part in asked.split(" / ")] for subject, _, asked in found}


def _split_quiz(asked: list[str], held_out: bool | None) -> tuple[str, ...]:
    if held_out is None or len(asked) <= SHORT:
        return tuple(asked)
    groups: list[tuple[set[str], list[str]]] = []
    for text in asked:
        keys, texts = _predicates(text), [text]
        for group in [group for group in groups if group[0] & keys]:
            groups.remove(group)
            keys, texts = group[0] | keys, group[1] + texts
        groups.append((keys, texts))
    sides: tuple[list[str], list[str]] = ([], [])
    for _, texts in sorted(groups, key=lambda group: -len(group[1])):  # the large ones first
        min(sides, key=len).extend(texts)
    return tuple(sides[held_out])


def _predicates(text: str) -> set[str]:
    """By what wordings of one predicate are known: their last words, after the noun as well."""
    words = text.removesuffix(" called").split()
    said = words[:]
    for mark, n_nouns in (("that", 0), ("who", 0), ("which", 1), ("what", 1)):
        if mark in words[:-1]:
            said = words[words.index(mark) + 1 + n_nouns :] or words
            break
    return {" ".join(words[-4:]), " ".join(said[-4:])}


@lru_cache(maxsize=3)
def load(held_out: bool | None) -> Wording:
    """The training side (False), the held-out side (True) or everything (None)."""
    sections: dict[str, list[str]] = {}
    for name in ("frames.txt", "phrases.txt", "strangers.txt"):
        sections |= _sections(name)
    split = {
        name: _split(items, held_out if name not in WHOLE else None)
        for name, items in sections.items()
    }
    asked = {key: _split(forms, held_out) for key, forms in _questions().items()}
    quiz = {subject: _split_quiz(asked, held_out) for subject, asked in _quiz().items()}
    return Wording(split, asked, quiz)


# Operators are vocabulary, not wording.
WHOLE = ("sumword", "timesword", "minusword")

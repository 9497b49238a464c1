"""One thing the user says: its words, where it becomes complete, and how it is cut into slices."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

__all__ = [
    "LONGHAND",
    "Slice",
    "Utterance",
    "add_noise",
    "dress",
    "slices",
    "typed_badly",
    "words_of",
]

FILLERS = ("um", "uh", "well", "like", "you know", "so", "hmm", "er", "i mean", "okay", "maybe")
SHORTEST_TYPO = 4  # letters; shorter words would become others
# "What on earth is a tuba": what may stand behind these words says nothing.
EMPHATIC = frozenset("what who where when why how".split())
AUXILIARY = frozenset("is are was were do does did can could would has have".split())
EMPHASIS = ("on earth", "in the world", "the hell", "the heck", "exactly", "again", "the devil")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Words that people set off with a comma.
INTERJECTIONS = frozenset(
    "no nope yes yeah ok okay well so oh hey hi hello sorry thanks um uh hmm er wait actually "
    "please stop now right alright great listen and but again anyway mars".split()
) - {"mars"}
# How people shorten words when they type fast.
SHORTHAND = {
    "about": "abt", "are": "r", "because": "cuz", "could": "cud", "doing": "doin",
    "everything": "evrything", "going": "goin", "have": "hav", "how": "hw", "know": "kno",
    "love": "luv", "making": "makin", "okay": "k", "people": "ppl", "please": "pls",
    "really": "rly", "something": "smth", "tell": "tel", "thanks": "thx", "them": "em",
    "what": "wat", "what's": "wats", "who": "hu", "with": "w", "would": "wud",
    "you": "u", "you're": "ur", "your": "ur",
}  # fmt: skip
LONGHAND = {short: word for word, short in SHORTHAND.items()}
SMALL = frozenset("the a an of in to is are and or for on at it that your my do does".split())


@dataclass
class Utterance:
    """words: lower case, without punctuation. done: how many of them make it complete.

    fixed: word indices that noise must leave alone. names: those that are proper nouns.
    closed: word counts where no slice may end, because the words so far are a request themselves.
    unsure: word counts where it cannot be told whether the request is complete: no label there.
    pauses: word counts where a comma or a full stop may stand.
    finished: False for a request that is never completed.
    """

    words: list[str]
    done: int
    fixed: set[int] = field(default_factory=set)
    names: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    pauses: set[int] = field(default_factory=set)
    question: bool = False
    finished: bool = True

    def after(self, words: list[str]) -> Utterance:
        """The same with `words` and a pause before it."""
        n = len(words)

        def moved(indices: set[int]) -> set[int]:
            return {i + n for i in indices}

        return Utterance(
            [*words, *self.words],
            self.done + n,
            set(range(n)) | moved(self.fixed),
            moved(self.names),
            moved(self.closed),
            moved(self.unsure),
            {n} | moved(self.pauses),
            self.question,
            self.finished,
        )


@dataclass(frozen=True)
class Slice:
    """text: what the user said. complete: the request is. forced: idle is set, not chosen."""

    text: str
    complete: bool
    forced: bool = False
    sure: bool = True


def words_of(text: str) -> list[str]:
    """The words as the lists have them: lower case, without punctuation."""
    text = text.lower().replace("’", "'")
    return [w for word in text.split() if (w := word.strip('.,?!:;"()')) and w.isascii()]


def add_noise(said: Utterance, rng: random.Random, strange: tuple[str, ...]) -> Utterance:
    """Disturb words that carry no meaning: fillers, strange words, losses, spelling mistakes."""
    words: list[str] = []
    at: list[int] = []  # at[i]: where old word i is now
    before: list[int] = []  # before[i]: how many words there were before what was put before it
    for i, word in enumerate(said.words):
        free = i not in said.fixed and i < said.done
        before.append(len(words))
        if i == 1 and said.words[0] in EMPHATIC and word in AUXILIARY and rng.random() < 0.06:
            words += rng.choice(EMPHASIS).split()
        at.append(len(words))
        roll = rng.random()
        if free and roll < 0.05:
            words.append(rng.choice(strange))
        elif free and roll < 0.10 and len(said.words) > 3:
            continue
        elif roll < 0.16 and i <= said.done - 1:
            words += rng.choice(FILLERS).split()
            at[-1] = len(words)
            words.append(word)
        elif free and roll < 0.20:
            words += [rng.choice(strange), word]
        elif roll < 0.24 and len(word) > (4 if free else 6) and i not in said.names:
            words.append(_misspell(word, rng))
        else:
            words.append(word)
    at.append(len(words))
    before.append(len(words))

    def moved(indices: set[int]) -> set[int]:
        return {at[i] for i in indices if i < len(at)}

    def moved_ends(ends: set[int]) -> set[int]:
        """A filler behind the words changes nothing: "tell me about owls um" is complete."""
        return {n for end in ends if end < len(at) for n in range(before[end], at[end] + 1)}

    return Utterance(
        words,
        at[said.done],
        moved(said.fixed),
        moved(said.names),
        moved_ends(said.closed),
        moved_ends(said.unsure),
        moved(said.pauses),
        said.question,
        said.finished,
    )


def typed_badly(said: Utterance, rng: random.Random) -> Utterance:
    """As somebody in a hurry types it: words are cut short, every fourth longer one is wrong."""
    shortens = rng.choice((0.0, 0.5, 0.9))  # how much this user likes to
    words = []
    for word in said.words:
        if word in SHORTHAND and rng.random() < shortens:
            words.append(SHORTHAND[word])
        elif len(word) >= SHORTEST_TYPO and word.isalpha() and rng.random() < 0.25:
            words.append(_misspell(word, rng))
        else:
            words.append(word)
    return replace(said, words=words)


def _misspell(word: str, rng: random.Random) -> str:
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 2:
        return word[:i] + word[i] + word[i:]
    return word[:i] + rng.choice(LETTERS) + word[i + 1 :]


def dress(said: Utterance, rng: random.Random) -> list[str]:
    """The words as this user would write them: one style of case and punctuation."""
    style = rng.choices(("proper", "lower", "lower+", "proper-", "caps"), (30, 34, 13, 11, 12))[0]
    words = list(said.words)
    if style == "caps":
        words = [word.upper() for word in words]
    elif style.startswith("proper"):
        capital = {i for i in said.names if words[i] not in SMALL} | {0}
        words = [
            word[0].upper() + word[1:] if word and (i in capital or word == "i") else word
            for i, word in enumerate(words)
        ]
        words = ["I" + word[1:] if word.startswith("i'") else word for word in words]
    if style in ("lower", "proper-") and rng.random() < 0.3:
        words = [word.replace("'", "") for word in words]
    is_marked = style in ("proper", "lower+") or (style == "caps" and rng.random() < 0.5)
    if is_marked:
        _set_marks(said, words, rng, style == "proper")
    if is_marked and said.finished:
        mark = "?" if said.question else rng.choices(".!", (9, 1))[0]
        if rng.random() < 0.04:
            mark = rng.choice(("??", "!!", "?!", "...", ".."))
        if words and words[-1][-1:].isalnum():
            words[-1] += mark
        if rng.random() < 0.4 and 0 < said.done < len(words):
            words[said.done - 1] += rng.choice((",", mark))
    return words


def _set_marks(said: Utterance, words: list[str], rng: random.Random, is_proper: bool) -> None:
    """Commas and full stops inside, where this user pauses."""
    care = rng.choice((0.0, 0.3, 0.8))  # how careful this user is
    for end in range(1, len(words)):
        if end in said.pauses:
            mark = rng.choices((",", ".", "!", "...", ";"), (72, 16, 4, 6, 2))[0]
            likely = care
        else:
            mark, likely = ",", care / 2 if said.words[end - 1] in INTERJECTIONS else 0.0
        if words[end - 1][-1:].isalnum() and rng.random() < likely:
            words[end - 1] += mark
            if is_proper and mark in (".", "!"):
                words[end] = words[end][0].upper() + words[end][1:]


def slices(said: Utterance, rng: random.Random, mode: str | None = None) -> list[Slice]:
    """Cut into slices: spoken (4-6 words), typed (1-3), mixed (1-8), late (mixed, but the last word
    or two that are needed come alone), whole, or one long message.

    A long message is sent at once: all its slices but the last get a forced idle.
    """
    modes = ("spoken", "typed", "mixed", "late", "whole", "forced")
    mode = mode or rng.choices(modes, (25, 18, 16, 12, 22, 7))[0]
    words = dress(said, rng)
    low, high = {
        "spoken": (4, 6),
        "typed": (1, 3),
        "mixed": (1, 8),
        "late": (2, 8),
        "forced": (4, 6),
    }.get(mode, (99, 99))
    if mode == "whole" and said.done < len(words) and rng.random() < 0.5:
        low = high = said.done
    last = said.done - rng.randint(1, 2) if mode == "late" else 0
    ends: list[int] = []
    at = 0
    while at < len(words):
        step = rng.randint(low, high)
        at = last if at < last < at + step else min(at + step, len(words))
        while at < len(words) and mode != "forced" and at in said.closed:
            at += 1
        ends.append(at)
    cut: list[Slice] = []
    start = 0
    for end in ends:
        text = " ".join(words[start:end])
        if mode != "whole" and end < len(words) and text[-1].isalnum() and rng.random() < 0.03:
            text += rng.choice((",", "...", ".."))  # whoever is thinking
        forced = mode == "forced" and end < len(words)
        complete = said.finished and end >= said.done
        cut.append(Slice(text, complete and not forced, forced, end not in said.unsure))
        start = end
    return cut
